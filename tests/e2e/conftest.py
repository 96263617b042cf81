"""What tests of whole rooms can ask for besides."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, register, settings_of
from tests.e2e.noise import TwoRooms
from tests.harness import Daemon
from tests.nursery import Nursery
from tests.person import Person
from tests.scripted_model import ScriptedModel


@pytest.fixture(scope="session")
async def _two_rooms(
    homeserver: Synapse, image: str, model: ScriptedModel, learned: Path, nursery: Nursery
) -> AsyncIterator[TwoRooms]:
    bot, alice, mallory = [await register(homeserver, name) for name in ("bot", "alice", "mallory")]
    deaf = socket.create_server(("127.0.0.1", 0), backlog=100)  # a provider that never accepts what the kernel takes
    base = f"http://127.0.0.1:{deaf.getsockname()[1]}"
    settings = settings_of(image, model) | {"ANTHROPIC_API_KEY": "a-key", "ANTHROPIC_API_BASE": base}
    daemon = Daemon(homeserver.url, bot, PASSWORD, settings, learned, nursery)
    try:
        async with (
            await Person.at(homeserver.url, alice, PASSWORD) as quiet,
            await Person.at(homeserver.url, mallory, PASSWORD) as noisy,
        ):
            yield await TwoRooms.of(await daemon.start(), quiet, noisy, deaf)
    finally:
        await daemon.discard()
        deaf.close()


@pytest.fixture
def two_rooms(_two_rooms: TwoRooms) -> Iterator[TwoRooms]:
    """One noisy and one quiet room of a daemon that attacks share, one after another. Do not kill it."""
    read_before = len(_two_rooms.bot.log_text())
    yield _two_rooms
    print(f"── {_two_rooms.bot.user_id} ──\n{_two_rooms.bot.log_text()[read_before:][-20_000:]}")
