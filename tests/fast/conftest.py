"""The fixtures of tests/conftest.py, for tests whose claim is not about Synapse, Podman, HTTP or a crash: the daemon in
this process, at a homeserver in this process, with rooms that are processes. An answer takes milliseconds."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.conftest import PASSWORD
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.homeserver import MemoryHomeserver
from tests.fakes.model import MemoryModel
from tests.matrix.line import Line
from tests.person import Person

_numbers = itertools.count(1)

MakePerson = Callable[[str], Awaitable[Person]]


@pytest.fixture(scope="session")
def homeserver() -> MemoryHomeserver:
    return MemoryHomeserver()


@pytest.fixture
async def person(homeserver: MemoryHomeserver) -> AsyncIterator[MakePerson]:
    """``await person("alice")``: a new person, logged in and looking."""
    people: list[Person] = []

    async def make(name: str) -> Person:
        user_id = homeserver.register(f"{name}-{next(_numbers)}", PASSWORD)
        http: Any = homeserver.session()
        people.append(await Person.at(homeserver.url, user_id, PASSWORD, http))
        return people[-1]

    yield make
    for one in people:
        await one.close()


class MakeDaemon(Protocol):
    async def __call__(
        self, *, limited: bool = False, start: bool = True, model: MemoryModel | None = None, **settings: str
    ) -> MemoryDaemon: ...


@pytest.fixture
async def daemon(homeserver: MemoryHomeserver) -> AsyncIterator[MakeDaemon]:
    """``await daemon(MAX_AGENT_TURNS="3")``: a daemon of this test's own, with a new bot account."""
    daemons: list[MemoryDaemon] = []

    async def make(
        *, limited: bool = False, start: bool = True, model: MemoryModel | None = None, **settings: str
    ) -> MemoryDaemon:
        user_id = homeserver.register(f"bot-{next(_numbers)}", PASSWORD, limited=limited)
        daemons.append(one := MemoryDaemon(homeserver, user_id, settings, model))
        return await one.start() if start else one

    yield make
    for one in daemons:
        print(f"── {one.user_id} ──\n{one.log_text()[-20_000:]}")
    for one in daemons:
        await one.discard()


class MakeLine(Protocol):
    async def __call__(self, *, connect: bool = True) -> Line: ...


@pytest.fixture
async def line(homeserver: MemoryHomeserver, tmp_path: Path) -> AsyncIterator[MakeLine]:
    """``await line()``: intake and sender without a bot, of an account of its own, connected."""
    lines: list[Line] = []

    async def make(*, connect: bool = True) -> Line:
        user_id = homeserver.register(f"bot-{next(_numbers)}", PASSWORD)
        session: Any = homeserver.session
        folder = tmp_path / f"line{len(lines)}"
        lines.append(Line(homeserver.url, user_id, PASSWORD, folder, session, homeserver.account(user_id)))
        return await lines[-1].connect() if connect else lines[-1]

    yield make
    for one in lines:
        await one.crash()


@pytest.fixture(scope="session")
def model() -> MemoryModel:
    """One model for all tests of this worker: it does what the chat message says (see tests/scripted_model.py)."""
    return MemoryModel()


@pytest.fixture(scope="session")
async def _shared_daemon(homeserver: MemoryHomeserver, model: MemoryModel) -> AsyncIterator[MemoryDaemon]:
    one = MemoryDaemon(homeserver, homeserver.register(f"bot-{next(_numbers)}", PASSWORD), {}, model)
    try:
        yield await one.start()
    finally:
        await one.discard()


@pytest.fixture
def bot(_shared_daemon: MemoryDaemon) -> Iterator[MemoryDaemon]:
    """The daemon that ordinary tests share, with the scripted model."""
    read_before = len(_shared_daemon.log_text())
    yield _shared_daemon
    print(f"── {_shared_daemon.user_id} ──\n{_shared_daemon.log_text()[read_before:][-20_000:]}")
