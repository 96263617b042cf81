"""A homeserver that says "not now": odd answers of it neither make the bot deaf nor slow for good."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from roommate import errors
from roommate.demo.embedded_synapse import Synapse
from roommate.host.sd_notify import STALLED_SECONDS
from tests.conftest import PASSWORD, MakePerson, register
from tests.front import Front, limited
from tests.matrix.line import Line, texts
from tests.matrix.test_sender import all_said, room_of
from tests.patience import PATIENCE

YEAR_MS = 365 * 86_400_000


@pytest.fixture
async def front(homeserver: Synapse) -> AsyncIterator[Front]:
    async with Front(homeserver.url) as one:
        yield one


@pytest.fixture
async def bot(homeserver: Synapse, front: Front, tmp_path: Path) -> AsyncIterator[Line]:
    one = Line(front.url, await register(homeserver, "bot"), PASSWORD, tmp_path)
    yield await one.connect()
    await one.crash()


def once(front: Front, path: str, *answers: web.Response) -> list[web.Response]:
    """The next requests of this path get these answers; gives those that are left."""
    left = list(answers)

    async def instead(request: web.Request) -> web.Response | None:
        return left.pop(0) if left and path in request.path else None

    front.before = instead
    return left


async def test_who_is_told_to_come_back_in_a_year_is_not_deaf(
    bot: Line, front: Front, person: MakePerson, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert errors.LONGEST_RETRY < STALLED_SECONDS, "a wait is not taken for a sync that hangs"
    monkeypatch.setattr(errors, "LONGEST_RETRY", 2.0)
    alice = await person("alice")
    room = await room_of(bot, alice)
    left = once(front, "/sync", limited(retry_after_ms=YEAR_MS), limited(header=YEAR_MS // 1000))
    began = time.monotonic()
    await alice.say(room, "to end the sync that waits")
    async with asyncio.timeout(PATIENCE):
        while left:
            await asyncio.sleep(0.05)
            assert bot.intake.stalled_seconds >= 0, "what waits counts for the watchdog from its beginning on"
    await alice.say(room, "are you there?")
    await bot.wait_kept(room, lambda found: "are you there?" in texts(found))
    assert time.monotonic() - began < 15
    assert sum("trying again in 2.0 s" in record.message for record in caplog.records) == 2


async def test_one_odd_refusal_teaches_nothing(bot: Line, front: Front, person: MakePerson) -> None:
    alice = await person("alice")
    room = await room_of(bot, alice)
    left = once(front, "/send/", limited(retry_after_ms=1500))
    said = [str(number) for number in range(30)]
    await bot.say(room, *said)
    await all_said(alice, room, bot.user_id, said)
    assert not left
    assert await bot.outbox.pace() == 0


async def test_two_refusals_in_a_row_teach_a_pace_and_say_so(
    bot: Line, front: Front, person: MakePerson, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    alice = await person("alice")
    room = await room_of(bot, alice)
    once(front, "/send/", limited(header=1), limited(retry_after_ms=1000))
    await bot.say(room, "one")
    await all_said(alice, room, bot.user_id, ["one"])
    async with asyncio.timeout(PATIENCE):
        while not await bot.outbox.pace():
            await asyncio.sleep(0.05)
    assert 0.9 < await bot.outbox.pace() < 2.5
    assert any("one event every" in record.message for record in caplog.records)
