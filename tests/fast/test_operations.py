"""What operators do in chat and at the command line's door, against rooms with a person in them.

The command line itself, its texts and its exit codes are in tests/cli.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any

import pytest

from roommate.control import NAME
from roommate.control.client import Client
from roommate.doors import command_line
from roommate.errors import ControlError
from roommate.store import DATABASE
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.person import Person, Shown


async def typed(bot: MemoryDaemon, *arguments: str) -> Any:
    """What ``roommate …`` is told to print. Raises ControlError."""

    def ask() -> Any:
        with Client(bot.state / "ipc" / NAME) as client:
            return client.call(command_line.NAME, arguments=arguments)

    return await asyncio.to_thread(ask)


async def found(bot: MemoryDaemon, *arguments: str) -> Any:
    return (await typed(bot, *arguments, "--json"))["result"]


def notices(bot: MemoryDaemon, person: Person, room: str) -> list[Shown]:
    return [one for one in bot.said(person, room) if "Paused by" in one.body and "wait" in one.body]


async def test_rooms_turns_and_questions(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room, other = await bot.room_with(alice, name="Workshop"), await bot.known_room_with(alice)
    assert (await alice.ask(room, "SAY hello")).body.startswith("hello")
    assert {one["room_id"] for one in await found(bot, "rooms", "ls")} == {room, other}
    await typed(bot, "rooms", "pause", "Workshop")
    asked = await alice.say(room, "SAY later")
    await alice.wait(lambda: any("Paused by root" in m.body for m in bot.said(alice, room)), what="to be told")
    assert {one["room_id"]: one["waiting"] for one in await found(bot, "rooms", "ls")} == {room: 1, other: 0}
    await typed(bot, "rooms", "resume", room)
    assert (await alice.answer_to(asked)).body.startswith("later")

    asked = await alice.say(room, "SAY at-work\nDELAY 60\nSAY never")
    await alice.wait(lambda: any("at-work" in m.body for m in bot.said(alice, room)), what="the turn")
    [turn, *_] = turns = await found(bot, "turns", "ls", "Workshop")
    assert [one["state"] for one in turns] == ["running", "done", "done"]
    assert turn["asked_by"] == alice.user_id
    await typed(bot, "turns", "cancel", str(turn["id"]))
    assert "Stopped by root on the host" in (await alice.answer_to(asked)).body
    for arguments, wrong in (
        (("turns", "cancel", str(turn["id"])), "does not run"),
        (("turns", "show", "999"), "there is no turn 999"),
        (("rooms", "pause", "Nowhere"), "the bot is in no room 'Nowhere'"),
        (("rooms", "pause", room, other), "one argument too many"),
        (("rooms", "pause", "--loud"), r"no such option: --loud \(usage: roommate rooms pause \[ROOM\] \[--json\]\)"),
    ):
        with pytest.raises(ControlError, match=wrong):
            await typed(bot, *arguments)
    told = (await typed(bot, "turns", "show", str(turn["id"])))["text"]
    assert f"── prompt {alice.user_id}\nSAY at-work" in told

    # A question, answered from here as a reaction answers it.
    await alice.say(room, "!reset workspace")
    await alice.wait(lambda: any("every file" in m.body for m in bot.said(alice, room)), what="the card")
    [question] = await found(bot, "approvals", "ls")
    assert (question["room_id"], question["what"]) == (room, "reset-workspace")
    assert (await typed(bot, "approvals", "deny", str(question["id"])))["markdown"].endswith(", nothing was deleted")
    await alice.wait(lambda: any("nothing was deleted" in m.body for m in bot.said(alice, room)), what="the word")
    with pytest.raises(ControlError, match="no open question"):
        await typed(bot, "approvals", "approve", str(question["id"]))

    used = {one["room_id"]: one for one in await found(bot, "usage")}
    assert used[room]["turns"] == 3
    assert used[room]["output_tokens"] > 0
    await typed(bot, "rooms", "leave", other)
    await alice.wait_for_member(other, bot.user_id, "leave")


async def test_operators_pause_and_look_around_in_chat(
    daemon: MakeDaemon, person: MakePerson, model: MemoryModel
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(model=model, OPERATORS=alice.user_id, LLM_CONTEXT_TOKENS="1234", LLM_API_KEY="scripted")
    room = await bot.room_with(alice, bob, name="A [shared] room")
    mine = await bot.room_with(alice)
    await alice.wait(lambda: bot.said(alice, room) and bot.said(alice, mine), what="both greetings")

    async def told(who: Person, text: str, place: str = room) -> str:
        """What the bot answers to a command."""
        before = max(len(bot.said(one, place)) for one in (alice, bob))  # one may see things before the other
        await who.say(place, text)
        return (await who.wait(lambda: bot.said(who, place)[before:], what=text))[0].body

    for command in ("rooms", "pause", "pause all", "resume", "settings"):
        refusal = f"Only an operator can use `!{command.split()[0]}`: ask `{alice.user_id}`."
        assert await told(bob, f"!{command}") == refusal
    assert await told(alice, "!pause for lunch") == (
        "- `!pause`, `!pause all` holds back what is said in a room, or in all, until it is resumed (operators)"
    )
    assert f"operators: `{alice.user_id}`" in await told(bob, "!who")
    assert "you are one of those who may ask; 3 members here" in await told(bob, "!who")
    assert "you are an operator" in await told(alice, "!who")
    assert "**For operators**: `!rooms`" in await told(alice, "!help")
    assert "`!redeploy [REF]`" in await told(alice, "!help all")
    listed = await told(alice, "!rooms")
    assert f"(`{room}`): 3 members" in listed
    assert f"(`{mine}`): 2 members" in listed
    assert "`LLM_CONTEXT_TOKENS` `1234`" in (settings := await told(alice, "!settings"))
    assert "`LLM_API_KEY` `*" in settings
    assert "scripted" not in settings.partition("LLM_API_KEY")[2].splitlines()[0]

    assert "This room is paused" in await told(alice, "!pause")
    asked = await alice.say(room, f"{bot.user_id} SAY one")
    [notice] = await alice.wait(lambda: notices(bot, alice, room), what="to be told")
    assert f"Paused by {alice.user_id[1:].partition(':')[0]}: 1 message waits" in notice.body
    assert (await alice.ask(mine, "SAY here")).body.startswith("here")
    assert "All rooms are paused" in await told(alice, "!pause all", mine)
    assert "still paused" in await told(alice, "!resume")
    await bot.term()
    await bot.start()
    assert not [m for m in alice.finals(room) if "one" in m.body]
    assert "Resumed." in await told(alice, "!resume all", mine)
    assert (await alice.answer_to(asked)).body.startswith("one")
    assert "not paused" in await told(alice, "!resume")


async def test_who_may_not_have_others_verified_is_refused(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(), await person("alice")
    room = await bot.known_room_with(alice)
    await alice.say(room, "!verify @else:localhost")
    await alice.wait(lambda: any("only operators" in m.body for m in bot.said(alice, room)), what="to be told")
    with contextlib.closing(sqlite3.connect(bot.state / DATABASE)) as database:
        written = database.execute("SELECT who, outcome FROM audit WHERE what='verify'").fetchall()
    assert written == [(alice.user_id, "refused")]
