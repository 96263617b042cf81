"""What a peer asks of a release that is on trial: nothing is begun or said before it stays."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3

from roommate.domain import Update, UpdateStep
from roommate.features.mesh.envelope import REPLY, Request
from roommate.updates.journal import Journal
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_mesh_answering import POLICY, Meeting, meet
from tests.patience import until

TOO_LATE_MS = 200_000
"""A request may be two minutes under way."""


async def old(met: Meeting) -> Request:
    """One that was issued too long ago to begin now."""
    now = met.peer.request(met.room)
    asked = dataclasses.replace(now, issued=now.issued - TOO_LATE_MS)
    await met.peer.send(met.room, met.peer.signed(asked))
    return asked


async def test_on_trial_it_waits_and_what_is_too_old_by_then_is_to_be_asked_again(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    bot = await daemon()
    (bot.state / "policy.toml").write_text(POLICY)
    met = await meet(bot, person)
    await bot.term()
    journal = Journal(bot.state)
    bot.trial = update = Update("u", "0" * 12, "1" * 12, "1" * 40, "an operator", 0.0, UpdateStep.TRIAL, told=True)
    journal.begin(update)
    starting = asyncio.create_task(bot.start())
    await until(lambda: journal.reported(update) == "", "a release that could work")

    waiting, late = await met.peer.ask(met.room), await old(met)
    await until(lambda: count(met) == 2, "both, stored")
    assert not starting.done()
    assert not [one for one in met.alice.seen if one.type == REPLY]

    journal.go_on(update, UpdateStep.CONFIRMED)
    await starting
    assert (await met.ended(waiting))["kind"] == "result"
    assert await met.peer.refusal(late) == "try-again"
    assert await met.peer.refusal(await old(met)) == "expired"


def count(met: Meeting) -> int:
    """Of requests that nobody has dealt with."""
    with sqlite3.connect(met.bot.state / "roommate.db") as c:
        [found] = c.execute("SELECT count(*) FROM mesh_events").fetchone()
    c.close()
    return int(found)
