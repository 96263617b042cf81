"""What every test can ask for: a real homeserver, people at their clients, the real daemon."""

from __future__ import annotations

import contextlib
import gc
import itertools
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import settings as hypothesis

from roommate.demo.embedded_synapse import Synapse
from roommate.domain import JsonObject
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes
from tests.harness import Daemon
from tests.nursery import Nursery
from tests.parallel import (
    locked,
    pytest_addoption,
    pytest_collection_modifyitems,
    pytest_configure,
    pytest_configure_node,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
    shared_folder,
)
from tests.patience import OF_DAEMONS
from tests.person import Person
from tests.sandbox_image import agents_image, image
from tests.scripted_model import ScriptedModel

__all__ = [
    "agents_image",
    "image",
    "pytest_addoption",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_xdist_auto_num_workers",
    "pytest_xdist_make_scheduler",
    "shared_folder",
]  # fixtures and hooks

# How long an example takes says something of what else the machine does, and nothing of us.
hypothesis.register_profile("busy machine", deadline=None)
hypothesis.load_profile("busy machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in whatever a shell starts in the background: so would all be that the tests start.
    signal.signal(signal.SIGINT, signal.default_int_handler)

_numbers = itertools.count(1)
_MEMORY = Path("/dev/shm")
_VM = Path(__file__).parent / "vm"
PASSWORD = "a test's password"
_UNASKED = {
    "push": {"enabled": False},
    "federation_sender_instances": ["nobody"],
    "update_user_directory_from_worker": "nobody",
}
"""What Synapse does at each event for phones, for other servers and for who searches people: a fifth of its processor
time."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What takes a virtual machine runs when it is asked for by name alone, as scripts/test --vm does."""
    asked = any(Path(name.partition("::")[0]).resolve().is_relative_to(_VM) for name in config.args)
    return True if collection_path == _VM and not asked else None


def pytest_collection() -> None:
    """What is loaded with the tests is no garbage: to look for some takes as long as to load it."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """pytest's own, but short: sockets live below it, whose paths may have 107 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="t-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextlib.asynccontextmanager
async def served(more: JsonObject) -> AsyncIterator[Synapse]:
    """A Synapse with its default limit on messages; `more` is of its configuration."""
    fits = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 2 << 30
    folder = Path(tempfile.mkdtemp(prefix="hs-", dir=_MEMORY if fits else None))
    synapse = Synapse(folder, more=more)
    try:
        await synapse.start()
        yield synapse
    finally:
        await synapse.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def homeserver() -> AsyncIterator[Synapse]:
    """One Synapse for all tests of this worker. Nobody is notified by it: see `ringing`."""
    async with served(_UNASKED) as synapse:
        yield synapse


@pytest.fixture(scope="module")
async def ringing() -> AsyncIterator[Synapse]:
    """A Synapse that notifies people at the push rules that everybody has: `homeserver` of the modules that look what
    rings."""
    async with served({}) as synapse:
        yield synapse


async def register(homeserver: Synapse, name: str, *, limited: bool = False) -> str:
    """A new account; returns its user id. Unless `limited` it may send as fast as it likes."""
    account = await homeserver.register(f"{name}-{next(_numbers)}", PASSWORD)
    if not limited:
        await homeserver.lift_limit(account.user_id)
    return account.user_id


MakePerson = Callable[[str], Awaitable[Person]]


@pytest.fixture
async def person(homeserver: Synapse) -> AsyncIterator[MakePerson]:
    """``await person("alice")``: a new person, logged in and looking."""
    people: list[Person] = []

    async def make(name: str) -> Person:
        user_id = await register(homeserver, name)
        one = await Person.at(homeserver.url, user_id, PASSWORD)
        one.looks_at_typing = False
        people.append(one)
        return one

    yield make
    for one in people:
        await one.close()


class MakeDaemon(Protocol):
    async def __call__(
        self, *, limited: bool = False, start: bool = True, model: ScriptedModel | None = None, **settings: str
    ) -> Daemon: ...


def settings_of(image: str, model: ScriptedModel | None) -> dict[str, str]:
    settings = {"SANDBOX_IMAGE": image}
    if model is not None:
        settings |= {"LLM_MODEL": "openai/scripted", "LLM_API_BASE": model.url, "LLM_API_KEY": "scripted"}
    return settings


@pytest.fixture(scope="session")
async def learned(image: str, shared_folder: Path) -> Path:
    """What there is to find out about this machine, as a daemon keeps it: found out once, by the first who asks."""
    found = shared_folder / "learned" / "host.json"
    with locked(shared_folder / "learned.lock"):
        if not found.exists():
            with tempfile.TemporaryDirectory(prefix="rs-") as folder:
                place = Path(folder)
                first = RoomSandboxes(
                    state=place / "state",
                    run=place / "run",
                    image=image,
                    daemon="@probe:example.org",
                    limits=Limits(),
                    idle_seconds=60,
                    patience=OF_DAEMONS,
                )
                try:
                    assert [check for check in await first.check() if check.needed and not check.ok] == []
                finally:
                    await first.close()
                shutil.copytree(place / "state", found.parent, ignore=lambda _, names: set(names) - {found.name})
    return found


@pytest.fixture(scope="session")
async def nursery() -> Nursery:
    """Where daemons are born."""
    return await Nursery.shared()


@pytest.fixture(scope="session", autouse=True)
async def _end_the_nursery() -> AsyncIterator[None]:
    yield
    await Nursery.close_shared()


@pytest.fixture
async def daemon(homeserver: Synapse, image: str, learned: Path, nursery: Nursery) -> AsyncIterator[MakeDaemon]:
    """``await daemon(MAX_AGENT_TURNS="3")``: a daemon of this test's own, with a new bot account.

    It has the rehearsal model unless a `model` is given; `limited` leaves the homeserver's limit on its messages;
    ``start=False`` gives it before its first start.
    """
    daemons: list[Daemon] = []

    async def make(
        *, limited: bool = False, start: bool = True, model: ScriptedModel | None = None, **settings: str
    ) -> Daemon:
        user_id = await register(homeserver, "bot", limited=limited)
        one = Daemon(homeserver.url, user_id, PASSWORD, settings_of(image, model) | settings, learned, nursery)
        daemons.append(one)
        return await one.start() if start else one

    yield make
    for one in daemons:
        if one.log.exists():
            print(f"── {one.user_id} ──\n{one.log.read_text(errors='replace')[-20_000:]}")
    for one in daemons:
        await one.discard()


@pytest.fixture(scope="session")
async def model() -> AsyncIterator[ScriptedModel]:
    """One model for all tests of this worker: it does what the chat message says (see tests/scripted_model.py)."""
    async with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture(scope="session")
async def _shared_daemon(
    homeserver: Synapse, image: str, model: ScriptedModel, learned: Path, nursery: Nursery
) -> AsyncIterator[Daemon]:
    bot = await register(homeserver, "bot")
    one = Daemon(homeserver.url, bot, PASSWORD, settings_of(image, model), learned, nursery)
    try:
        yield await one.start()
    finally:
        await one.discard()


@pytest.fixture
def bot(_shared_daemon: Daemon) -> Iterator[Daemon]:
    """The daemon that ordinary tests share, with the scripted model. Do not kill it."""
    read_before = len(_shared_daemon.log_text())
    yield _shared_daemon
    print(f"── {_shared_daemon.user_id} ──\n{_shared_daemon.log_text()[read_before:][-20_000:]}")
