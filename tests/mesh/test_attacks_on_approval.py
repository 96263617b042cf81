"""A yes to another daemon's request, in a real room: of who may not give it, of who asks, late, twice, by two doors at
once, and to something else than was shown."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace

import pytest

from roommate.features.mesh.envelope import Request
from roommate.store import reading
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import notice
from tests.mesh.attacked import ALL, Attacked
from tests.mesh.pair import roommate
from tests.person import Person, Shown

PEOPLE = (
    ALL.replace('arguments = ["*"]', 'arguments = ["*"]\nnot_arguments = ["*>>*"]')
    + '\n[[allow]]\npeers = ["eve"]\nrooms = ["*"]\nmethods = ["exec"]\ncommands = ["*"]\narguments = ["*"]\n'
    + 'approval = "people"\n'
)
"""What writes is held."""
OPERATORS = PEOPLE.replace('"people"', '"operators"')
NOBODY = ALL.replace('arguments = ["*"]', 'arguments = ["*"]\nnot_arguments = ["*>>*"]')


@dataclass
class Held(Attacked):
    """Alice is an operator, Bob may answer the bot, Mallory is nobody to it."""

    alice: Person
    bob: Person
    mallory: Person
    room: str

    def policy(self, text: str) -> None:
        (self.bot.state / "policy.toml").write_text(text)

    async def held(self, word: str, seconds: float = 60) -> tuple[Request, Shown]:
        """What waits for people, so long, and its card."""
        asked = self.asks(self.room, word)
        asked = replace(asked, expires=asked.issued + int(seconds * 1000))
        await self.peer.send(self.room, self.peer.signed(asked))
        await self.peer.reply(asked, lambda one: one.kind == "held")
        return asked, await notice(self.bot, self.bob, self.room, f"echo {word} ")

    async def heard_all(self) -> None:
        """The bot has dealt with all that was said before."""
        before = sum("Pong" in one.body for one in self.bot.said(self.bob, self.room))
        await self.bob.say(self.room, "!ping")
        await self.bob.wait(
            lambda: sum("Pong" in one.body for one in self.bot.said(self.bob, self.room)) > before, what="the pong"
        )

    def kinds(self, asked: Request) -> list[str]:
        return [str(one.body.get("code", one.kind)) for one in self.peer.replies(asked)]

    def denied(self) -> list[str]:
        """Whose choice at a card did not count, oldest first."""
        with reading(self.bot.state) as c:
            query = "SELECT who FROM audit WHERE what='card.mesh-request' AND outcome='refused' ORDER BY number"
            return [str(who) for (who,) in c.execute(query)]

    def number(self, asked: Request) -> str:
        """Of the question that is put to people, as `roommate approvals` takes it."""
        with reading(self.bot.state) as c:
            [number] = c.execute("SELECT card FROM mesh_requests WHERE request=?", (asked.id,)).fetchone()
        return str(number)


@pytest.fixture
async def held(daemon: MakeDaemon, person: MakePerson) -> Held:
    alice, bob, eve, mallory = [await person(name) for name in ("alice", "bob", "eve", "mallory")]
    bot = await daemon(OPERATORS=alice.user_id, ALLOWED_USERS=f"{bob.user_id},{eve.user_id}")
    attacked = await Attacked.at(bot, eve, PEOPLE)
    room = await bot.room_with(alice, bob, eve, mallory)
    return Held(bot, eve, attacked.peer, alice, bob, mallory, room)


async def test_a_yes_of_who_may_not_give_it_runs_nothing(held: Held) -> None:
    alice, bob, eve, mallory, room = held.alice, held.bob, held.eve, held.mallory, held.room
    asked, card = await held.held("people")
    for stranger in (mallory, eve):  # who asks is none of the people that are asked
        await stranger.say(room, "yes")
        await stranger.say(room, "✅", reply_to=card.event_id)
        await stranger.react(room, card.event_id, "✅")
    await bob.react(room, await bob.say(room, "shall we have lunch?"), "✅")
    await held.heard_all()
    assert held.kinds(asked) == ["held"]
    assert held.denied() == [mallory.user_id, eve.user_id]
    assert await held.ran(room) == 0

    held.policy(OPERATORS)
    by_operators, its_card = await held.held("operators")
    await bob.react(room, its_card.event_id, "✅")
    await bob.react(room, card.event_id, "✅")  # which was put up when people could decide
    await notice(held.bot, bob, room, "operators alone decide")
    assert [held.kinds(one) for one in (asked, by_operators)] == [["held"]] * 2
    assert held.denied() == [mallory.user_id, eve.user_id, bob.user_id]
    assert await held.ran(room) == 0
    await alice.react(room, its_card.event_id, "✅")
    assert (await held.ended(by_operators))["exit"] == 0

    held.policy(NOBODY)
    await alice.react(room, card.event_id, "✅")
    assert (await held.ended(asked))["code"] == "policy"
    assert await held.ran(room) == len("operators\n")


async def test_a_yes_counts_once_in_time_and_for_what_was_shown(held: Held) -> None:
    alice, bob, eve, room = held.alice, held.bob, held.eve, held.room
    late, late_card = await held.held("late", seconds=6)
    asked, card = await held.held("doors")
    number = held.number(asked)
    typing = asyncio.create_task(roommate(held.bot, "approvals", "approve", number))
    await asyncio.gather(
        *(one.react(room, card.event_id, "✅") for one in (alice, bob)),
        alice.say(room, "yes", reply_to=card.event_id),
    )
    typed = await typing
    assert (await held.ended(asked))["exit"] == 0
    assert typed.code == 0 or f"question {number}" in typed.errors, typed
    again = await roommate(held.bot, "approvals", "approve", number)
    assert (again.code, f"no open question {number}" in again.errors) == (1, True), again
    await bob.react(room, card.event_id, "👍")
    await held.heard_all()
    assert held.kinds(asked) == ["held", "result"]
    assert await held.ran(room) == len("doors\n")

    asked, card = await held.held("shown")
    evil = replace(held.asks(room, "evil"), id=asked.id)
    [event] = [seen.event_id for seen in bob.seen if seen.content.get("id") == asked.id]
    edit = {"m.new_content": held.peer.signed(evil), "m.relates_to": {"rel_type": "m.replace", "event_id": event}}
    await held.refuses(room, {"its id": held.peer.signed(evil)}, "replay")
    await held.refuses(room, {"an edit": held.peer.signed(evil) | edit}, "malformed")
    await bob.react(room, card.event_id, "✅")
    assert (await held.ended(asked))["exit"] == 0
    assert await held.ran(room) == len("doors\nshown\n")

    asked, card = await held.held("swapped")
    other = json.dumps(held.peer.signed(replace(held.asks(room, "evil"), id=asked.id)))
    held.change("UPDATE mesh_requests SET content=? WHERE request=?", other, asked.id)
    await bob.react(room, card.event_id, "✅")
    assert (await held.ended(asked))["code"] == "signature"

    assert (await held.ended(late))["code"] == "approval-expired"
    await bob.react(room, late_card.event_id, "✅")
    again = await roommate(held.bot, "approvals", "approve", held.number(late))
    assert (again.code, "no open question" in again.errors) == (1, True), again
    await held.heard_all()
    assert held.kinds(late) == ["held", "approval-expired"]

    asked, card = await held.held("revoked")
    assert (await roommate(held.bot, "trust", "revoke", "eve")).code == 0
    await bob.react(room, card.event_id, "✅")
    assert (await held.ended(asked))["code"] == "revoked"
    added = await roommate(held.bot, "trust", "add", held.peer.public, eve.user_id, room, "--name", "eve")
    assert added.code == 0, added
    await bob.react(room, card.event_id, "👍")
    await held.heard_all()
    assert held.kinds(asked) == ["held", "revoked"]
    assert await held.ran(room) == len("doors\nshown\n")
    assert held.denied() == []
    with reading(held.bot.state) as c:
        [decided] = c.execute("SELECT count(*) FROM audit WHERE what='mesh.approve'").fetchone()
    assert decided == len(("doors", "shown"))
