"""Redeploying from chat, as an operator sees it: what works takes over, what does not leaves no trace."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.demo.homeserver import Synapse
from tests.conftest import PASSWORD, _settings_of, register
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel
from tests.updates.installed import Installed, Remote, installed_in

ENDED = re.compile("✅ `|❌ `")


@pytest.fixture(scope="module")
async def remote(tmp_path_factory: pytest.TempPathFactory) -> Remote:
    return Remote(tmp_path_factory.mktemp("remote") / "roommate")


@pytest.fixture(scope="module")
async def alice(homeserver: Synapse) -> AsyncIterator[Person]:
    """The operator."""
    async with await Person.at(homeserver.url, await register(homeserver, "operator"), PASSWORD) as person:
        yield person


@pytest.fixture(scope="module")
async def bot(
    homeserver: Synapse, image: str, model: ScriptedModel, learned: Path, remote: Remote, alice: Person
) -> AsyncIterator[Installed]:
    with tempfile.TemporaryDirectory(prefix="root-") as folder:
        root = await asyncio.to_thread(installed_in, Path(folder), remote)
        settings = _settings_of(image, model) | {"OPERATORS": alice.user_id}
        user_id = await register(homeserver, "bot")
        installed = Installed(homeserver.url, user_id, PASSWORD, settings, learned)
        installed.cwd = root
        try:
            yield await installed.start()
        finally:
            await installed.end()
            print(installed.log.read_text()[-20_000:])
            print((installed.state / "update.log").read_text()[-20_000:])
            await installed.discard()


@pytest.fixture(scope="module")
async def room(bot: Installed, alice: Person) -> str:
    return await bot.room_with(alice)


async def card(bot: Installed, person: Person, room: str, command: str = "!redeploy") -> Shown:
    """Say the command; the card that comes."""
    known = {message.event_id for message in bot.said(person, room)}
    await person.say(room, command)

    def found() -> Shown | None:
        return next((m for m in bot.said(person, room) if m.event_id not in known), None)

    shown = await person.wait(found, 30, "a card")
    assert shown is not None
    return shown


async def ended(bot: Installed, person: Person, room: str, asked: Shown, timeout: float = 60) -> Shown:
    """The card's message, once it tells how the update ended."""

    def look() -> Shown | None:
        shown = next(m for m in bot.said(person, room) if m.event_id == asked.event_id)
        return shown if ENDED.search(shown.body) else None

    found = await person.wait(look, timeout, "the end of the update")
    assert found is not None
    return found


async def redeploy(bot: Installed, person: Person, room: str, command: str = "!redeploy") -> Shown:
    asked = await card(bot, person, room, command)
    await person.react(room, asked.event_id, "✅")
    return await ended(bot, person, room, asked)


async def test_a_good_release_takes_over(bot: Installed, remote: Remote, alice: Person, room: str) -> None:
    assert (await alice.ask(room, "SAY before")).body == "before"
    old, pid = bot.release, bot.pid
    remote.commit("A <b>bold</b> `change`")
    new = remote.commit("And *another* one")
    asked = await card(bot, alice, room)
    assert f"`{old}` → `{new}`" in asked.body
    assert "bold" in asked.body
    assert "<b>bold" not in asked.html
    began = time.monotonic()
    await alice.react(room, asked.event_id, "✅")
    shown = await ended(bot, alice, room, asked)
    print(f"redeployed in {time.monotonic() - began:.1f} s: {shown.body}")
    assert f"✅ `{old}` → `{new}`" in shown.body
    assert (bot.release, bot.pid) == (new, pid)
    assert any("making the release" in look for look in shown.looks)
    assert any("on trial" in look for look in shown.looks)
    assert (await alice.ask(room, "SAY after")).body == "after"
    version = await card(bot, alice, room, "!version")
    assert new in version.body
