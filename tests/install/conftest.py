"""Machines to install things on, and what tests of installations look for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.machine import Machine
from tests.origin import make
from tests.person import Person, Shown
from tests.shell import HOME

ALIEN = (f"{HOME}/clone", f"{HOME}/.cache", f"{HOME}/.local/share/containers", "/var/lib/systemd/timers")
"""The clone, and what uv and Podman keep for all who use them."""


@pytest.fixture(scope="package")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("origin") / "roommate")


@pytest.fixture(scope="package")
async def machine(origin: Path) -> AsyncIterator[Machine]:
    """The ordinary user's. What was installed before is away, and so are the images, but not what uv keeps."""
    async for one in _booted(origin):
        yield one


@pytest.fixture(scope="module")
async def machine_of_root(origin: Path) -> AsyncIterator[Machine]:
    async for one in _booted(origin, cgroups=True):
        yield one


async def _booted(origin: Path, *, cgroups: bool = False) -> AsyncIterator[Machine]:
    one = await Machine.boot(f"{origin}:/srv/roommate:ro", cgroups=cgroups)
    await one.run("git config --system --add safe.directory '*'", user="root")
    await one.run("git clone --quiet /srv/roommate clone")
    yield one
    await one.try_to("journalctl --no-pager --lines=300", user="root")
    one.discard()


async def sees(who: Person, room: str, bot: str, *words: str) -> Shown:
    """The bot's message with all these words in it, as soon as it is there."""

    def look() -> Shown | None:
        return next((one for one in who.messages(room, bot) if all(word in one.body for word in words)), None)

    found = await who.wait(look, what=f"a message with {words}")
    assert found is not None
    return found
