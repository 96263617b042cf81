"""The chat and `send`, as a person uses them: in a terminal, and in a pipe."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import pytest

from roommate.demo.embedded_synapse import Synapse
from roommate.domain import Account
from tests import program
from tests.conftest import PASSWORD, MakePerson
from tests.harness import ROOMMATE
from tests.person import JsonObject, Person
from tests.terminal import Terminal

TURN = "io.roommate.turn"
CARD = "io.roommate.card"
ANSWERS = "io.roommate.answers"


@pytest.fixture
async def bot(person: MakePerson) -> Person:
    """Somebody who acts as the bot does, step by step."""
    return await person("roommate")


async def room_of(bot: Person, person: MakePerson) -> tuple[Person, str]:
    me = await person("me")
    room = await me.create_room([bot.user_id])
    await bot.join(room)
    return me, room


def live(body: str) -> JsonObject:
    return {"msgtype": "m.notice", "body": body, TURN: {"id": 1, "state": "running"}}


def card(body: str, hidden: str = "") -> dict[str, object]:
    content: dict[str, object] = {"msgtype": "m.notice", "body": body, CARD: {"what": "a test"}}
    if not hidden:
        return content
    rich = f"<p>{body}</p><details><summary>The whole command</summary><pre><code>{hidden}</code></pre></details>"
    return content | {"body": f"{body}\n\nThe whole command", "formatted_body": rich}


def final(body: str, state: str = "done") -> JsonObject:
    failed = "" if state == "done" else ", **1 failed**"
    summary = f"1 step{failed.replace('**1 failed**', '<b>1 failed</b>')} · 2.0 s"
    rich = f"<p>{body}</p><details><summary>{summary}</summary><p>✔ <b>run_command</b></p></details>"
    whole = f"{body}\n\n1 step{failed} · 2.0 s"
    return {"msgtype": "m.text", "body": whole, "formatted_body": rich, TURN: {"id": 1, "state": state}}


async def show(bot: Person, room: str, event_id: str, content: JsonObject) -> None:
    relation = {"rel_type": "m.replace", "event_id": event_id}
    edit = content | {"body": f"* {content['body']}", "m.new_content": content, "m.relates_to": relation}
    await bot.send(room, "m.room.message", edit)


async def test_a_chat_in_a_terminal(homeserver: Synapse, bot: Person, person: MakePerson, tmp_path: Path) -> None:
    me, room = await room_of(bot, person)
    await bot.say(room, "Hello, I am a **bot**.", msgtype="m.notice")
    command = [str(ROOMMATE), "chat", room, "--homeserver", homeserver.url, "--user", me.user_id]
    async with Terminal(*command, environment={"HOME": str(tmp_path)}) as terminal:
        await terminal.see("Password")
        await terminal.until_hidden()
        terminal.type(f"{PASSWORD}\r")
        await terminal.see("Hello, I am a bot.")
        terminal.type("count to two\r")
        asked = await bot.wait(lambda: [m for m in bot.messages(room, me.user_id) if m.body == "count to two"])
        assert len(asked) == 1
        await bot.call("PUT", f"rooms/{room}/typing/{bot.user_id}", {"typing": True, "timeout": 30_000})
        await terminal.see("at work")
        running = await bot.send(room, "m.room.message", live("one …"))
        await terminal.see("one …")
        await show(bot, room, running, live("one, two …"))
        terminal.type("half a thought")
        await terminal.see("one, two …")
        await show(bot, room, running, final("One and **two**, \x1b]0;hidden\x07done."))
        await terminal.see("✔ run_command")
        await terminal.see("One and two, ]0;hiddendone.")
        await terminal.see("1 step · 2.0 s")
        await terminal.see("› half a thought")
        assert "one, two" not in terminal.screen.text
        terminal.type("\x15")
        question = await bot.send(room, "m.room.message", card("Delete it? ✅ deletes, ❌ keeps.", "rm -r /\nrm again"))
        await terminal.see("✅ deletes")
        await terminal.see("rm again")
        terminal.type("/no\r")
        await bot.wait(lambda: bot.reactions(room, question) == [(me.user_id, "❌")])
        terminal.type("/always\r")
        await bot.wait(lambda: (me.user_id, "♾️") in bot.reactions(room, question))
        await bot.upload(room, "plot.png", b"\0" * 2500)
        await terminal.see("plot.png (2.4 KiB)")
        terminal.type("/quit\r")
        assert await terminal.ended() == 0
    assert terminal.screen.text.count("One and two") == 1
    assert terminal.screen.text.count("count to two") == 1
    assert "Ctrl-C leaves" not in terminal.screen.text
    assert PASSWORD not in terminal.screen.text
    [kept] = (tmp_path / ".local/state/roommate-chat").iterdir()
    assert kept.stat().st_mode & 0o077 == 0
    assert PASSWORD not in kept.read_text()

    async with Terminal(str(ROOMMATE), "chat", room, environment={"HOME": str(tmp_path)}) as terminal:
        await terminal.see("count to two")
        await terminal.see("One and two")
        running = await bot.send(room, "m.room.message", live("one …"))
        await terminal.see("at work   Ctrl-C or !stop stops")
        lines = "\n".join(f"- line {number} is a long one, and is folded in a narrow terminal" for number in range(9))
        await show(bot, room, running, live(lines))
        await terminal.see("line 8")
        for columns in (50, 60, 30, 100):
            terminal.resize(40, columns)
            await asyncio.sleep(0.3)  # nothing is to come that could be waited for
        await show(bot, room, running, live(f"{lines}\n- the end"))
        await terminal.see("the end")
        assert all(terminal.screen.text.count(f"line {number}") == 1 for number in range(9)), terminal.screen.text
        terminal.type("half a thought\x03")
        await bot.wait(lambda: [m for m in bot.messages(room, me.user_id) if m.body == "!stop"])
        await terminal.see("Ctrl-C once more leaves, and so does Ctrl-D")
        await show(bot, room, running, final("Stopped by me.", "stopped"))
        await terminal.see("Stopped by me.")
        await terminal.see("Enter sends")
        assert "half a thought" not in terminal.screen.text
        terminal.type("\x03")
        await terminal.see("Ctrl-C once more leaves")
        assert len([m for m in bot.messages(room, me.user_id) if m.body == "!stop"]) == 1
        terminal.type("\x03")
        assert await terminal.ended() == 0


async def roommate(home: Path, *arguments: str, said: str = "") -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `roommate` in a pipe."""
    environment = {"HOME": str(home), "PATH": program.PATH}
    code, out, err = await program.run(*arguments, cwd=home, environment=environment, stdin=said.encode())
    return code, out.decode(), err.decode()


async def log_in(home: Path, homeserver: Synapse, me: Person) -> Account:
    """On a new device, as the first `roommate chat` leaves it."""
    account = await homeserver.register(me.user_id[1:].partition(":")[0], PASSWORD)
    folder = home / ".local/state/roommate-chat"
    folder.mkdir(parents=True)
    (folder / f"{quote(account.user_id, safe='')}.json").write_text(json.dumps(asdict(account)))
    return account


def password_of(me: Person) -> JsonObject:
    return {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": me.user_id}, "password": PASSWORD}


async def answer(bot: Person, room: str, asker: str, *contents: JsonObject) -> None:
    """To the next message of `asker`: a live message, and then what it becomes."""
    before = len(bot.messages(room, asker))
    await bot.wait(lambda: len(bot.messages(room, asker)) > before)
    event_id = await bot.send(room, "m.room.message", live("working …"))
    for content in contents:
        await show(bot, room, event_id, content)


async def test_send_waits_for_the_answer(homeserver: Synapse, bot: Person, person: MakePerson, tmp_path: Path) -> None:
    me, room = await room_of(bot, person)
    await log_in(tmp_path, homeserver, me)
    await bot.say(room, "an old answer")
    (code, out, _), _ = await asyncio.gather(
        roommate(tmp_path, "send", room, "-", "--wait", said="two\nlines"),
        answer(bot, room, me.user_id, live("more …"), final("Done: two lines")),
    )
    assert (code, out) == (0, "Done: two lines\n")
    (code, out, _), _ = await asyncio.gather(
        roommate(tmp_path, "send", room, "fail", "--wait", "--json"),
        answer(bot, room, me.user_id, final("It broke", "failed")),
    )
    assert code == 1
    assert json.loads(out)["body"] == "It broke"


async def test_send_prints_the_answer_to_what_it_said_and_nothing_else(
    homeserver: Synapse, bot: Person, person: MakePerson, tmp_path: Path
) -> None:
    me, room = await room_of(bot, person)
    bob = await person("bob")
    await me.invite(room, bob.user_id)
    await bob.join(room)
    await log_in(tmp_path, homeserver, me)

    async def act() -> None:
        await bot.wait(lambda: bot.messages(room, me.user_id))
        [asked] = [message.event_id for message in bot.messages(room, me.user_id)]
        await bot.send(room, "m.room.message", {"msgtype": "m.notice", "body": "Hello", ANSWERS: "$an-invitation"})
        await bob.say(room, "what does it say?")
        for said, also in (("to bob", ["$another"]), ("to both", ["$another", asked])):
            turn = {"id": 1, "state": "done", "prompt": "$of-bob", "also": also}
            await bot.send(room, "m.room.message", final(said) | {TURN: turn})

    (code, out, _), _ = await asyncio.gather(roommate(tmp_path, "send", room, "and mine?", "--wait"), act())
    assert (code, out) == (0, "to both\n")


async def test_a_chat_in_a_pipe(homeserver: Synapse, bot: Person, person: MakePerson, tmp_path: Path) -> None:
    me, room = await room_of(bot, person)
    await log_in(tmp_path, homeserver, me)

    async def act() -> None:
        await answer(bot, room, me.user_id, final("first answer"))
        before = len(bot.messages(room, me.user_id))
        await bot.wait(lambda: len(bot.messages(room, me.user_id)) > before)
        asked = await bot.send(room, "m.room.message", card("Sure? ✅ or ❌", "a &lt; b"))
        await bot.wait(lambda: bot.reactions(room, asked) == [(me.user_id, "✅")])
        await bot.say(room, "It is done.", msgtype="m.notice")

    (code, out, err), _ = await asyncio.gather(
        roommate(tmp_path, "chat", room, said="first\n\n!reset workspace\n✅\n/quit\nnever said\n"), act()
    )
    assert (code, out, err) == (0, "first answer\nSure? ✅ or ❌\n\nThe whole command\n\na < b\nIt is done.\n", "")


async def test_what_goes_wrong_is_one_line(
    homeserver: Synapse, bot: Person, person: MakePerson, tmp_path: Path
) -> None:
    me, room = await room_of(bot, person)
    code, out, err = await roommate(tmp_path, "send", room, "hello")
    assert (code, out) == (78, "")
    assert err == "roommate: who are you? Pass --homeserver and --user\n"

    account = await log_in(tmp_path, homeserver, me)
    code, _, err = await roommate(tmp_path, "send", "!nowhere", "hello")
    assert code == 1
    assert err.startswith("roommate: the homeserver refused")
    assert err.count("\n") == 1

    await me.call("POST", "delete_devices", {"devices": [account.device_id], "auth": password_of(me)})
    code, _, err = await roommate(tmp_path, "send", room, "hello")
    assert code == 77
    assert err.count("\n") == 1
    assert not list((tmp_path / ".local/state/roommate-chat").iterdir())
