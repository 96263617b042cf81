"""That a request was seen is stored with what comes of it, or nothing comes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
from functools import partial

import pytest

from roommate.features.mesh.envelope import Request, new_nonce
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_mesh_answering import POLICY, Meeting, meet
from tests.patience import until

AGAIN = "DROP TRIGGER unseen"
FULL = "CREATE TRIGGER unseen BEFORE INSERT ON mesh_nonces BEGIN SELECT RAISE(ABORT, 'no room for it'); END"


@pytest.fixture
async def met(daemon: MakeDaemon, person: MakePerson) -> Meeting:
    bot = await daemon()
    (bot.state / "policy.toml").write_text(POLICY)
    return await meet(bot, person)


def change(met: Meeting, statement: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(met.bot.state / "roommate.db") as c:
        found = c.execute(statement).fetchall()
    c.close()
    return found


def dealt_with(met: Meeting, taken: int) -> bool:
    """So many were taken, and nothing waits or runs."""
    done = change(met, "SELECT count(*) FROM mesh_requests WHERE state != 'done'")
    return len(met.states()) >= taken and change(met, "SELECT count(*) FROM mesh_events") == done == [(0,)]


async def test_the_same_nonce_in_two_rooms_at_once_counts_once(met: Meeting) -> None:
    other = await met.bot.room_with(met.alice, met.peer.person)
    for _ in range(5):
        nonce, before = new_nonce(), len(met.states())
        asked = [
            dataclasses.replace(met.peer.request(room, "exec", argv=["true"]), nonce=nonce)
            for room in (met.room, other)
        ]
        await asyncio.gather(*(met.peer.send(one.room_id, met.peer.signed(one)) for one in asked))
        await until(partial(dealt_with, met, before + 1), "both are dealt with")
        assert len(met.states()) == before + 1
    refused = change(met, "SELECT detail FROM audit WHERE what='mesh.request' AND outcome='refused'")
    assert len(refused) == 5


async def test_where_it_cannot_be_stored_as_seen_nothing_runs_and_nothing_is_answered(met: Meeting) -> None:
    """Neither what would run, nor what is answered at once, nor a refusal; all of it when there is room again."""
    change(met, FULL)
    asked: list[Request] = [
        await met.exec("sh", "-c", "echo ran >>ran"),
        await met.peer.ask(met.room),
        await met.peer.ask(met.room, "exec", argv=["true"], env={"OTHER": "x"}),
    ]
    await until(lambda: "no room for it" in met.bot.log_text(), "what could not be stored")
    assert met.states() == []
    assert change(met, "SELECT count(*) FROM mesh_events") == [(3,)]
    assert not any(met.kinds(one) for one in asked)
    change(met, AGAIN)
    assert [(await met.ended(one)).get("code") for one in asked] == [None, None, "policy"]
    assert [path.read_text() for path in met.bot.state.rglob("ran")] == ["ran\n"]
    assert change(met, "SELECT count(*) FROM mesh_nonces") == [(3,)]
    for one in asked:  # a copy of each, as another event
        await met.peer.send(met.room, met.peer.signed(one))
    await until(
        lambda: sum("replay" in detail or not detail for _, detail in met.audited("refused")) >= 3, "the copies"
    )
    assert [len(met.kinds(one)) for one in asked] == [1, 1, 1]
    assert len(met.states()) == 1
