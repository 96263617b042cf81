"""Encrypted rooms, with people whose clients give keys to signed devices alone, and read these alone."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3

from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon, MakePerson
from tests.e2ee import crash, long, strict
from tests.e2ee.conftest import MakeStrict
from tests.e2ee.strict import StrictPerson
from tests.front import Front
from tests.harness import Daemon, run, tool
from tests.scripted_model import ScriptedModel

SECRET = "quetzalcoatl"
"""Part of every message in the conversation, of every file and its name, of what commands print."""


def react_to(event: str, key: str) -> dict[str, object]:
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": event, "key": key}}


def device_of(bot: Daemon) -> str:
    with sqlite3.connect(bot.state / "roommate.db") as c:
        return str(c.execute("SELECT device_id FROM sync").fetchone()[0])


async def test_a_conversation(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    """Both ways, with all that a conversation has, in rooms of both versions; nothing of it can be read on the way."""
    said: list[tuple[str, bytes]] = []

    async def record(request: web.Request) -> None:
        said.append((f"{request.method} {request.raw_path}", await request.read()))

    async def hear(request: web.Request, answer: bytes) -> None:
        said.append((request.path, answer))

    async with Front(homeserver.url) as front:
        front.before, front.after = record, hear
        ann = await strict_person("ann")
        bot = await daemon(model=model, MATRIX_HOMESERVER=front.url, OPERATORS=ann.user_id)
        for version in ("11", "12"):
            room = await ann.room_with(bot.user_id, version)
            await _talk(ann, room)
            code, out, err = await roommate(bot.folder, "send", room, f"SAY six {SECRET}", "--wait", **bot.settings)
            assert (code, out) == (0, f"six {SECRET}\n"), err
            code, out, _ = await roommate(bot.folder, "doctor", "--json", **bot.settings)
            assert "is signed" in out
            assert ann.failures(room) == []
            assert {seen.shield for seen in ann.messages(room)} == {0}, "neither grey nor red"
            assert all(seen.encrypted for seen in ann.messages(room))
        assert (await ann.do("trust", user=bot.user_id, device=device_of(bot)))["signed"]
        assert [what for what, body in said if SECRET.encode() in body or SECRET in what] == []
        sent = [path for path, _ in said if path.startswith("PUT") and "/send/" in path]
        assert {path.split("/send/")[1].split("/")[0] for path in sent} == {"m.room.encrypted"}
        assert SECRET not in bot.log_text()
        assert [path.stat().st_mode & 0o777 for path in bot.state.glob("c*") if path.is_file()] == [0o600] * 5
        await bot.term()


async def _talk(ann: StrictPerson, room: str) -> None:
    asked = await ann.say(room, f"SAY one {SECRET}")
    await ann.answer(room, f"one {SECRET}")
    await ann.say(room, run(f"echo two {SECRET}; sleep 0.3; echo three"))
    shown = await ann.answer(room, f"two {SECRET}")
    assert shown.relation.get("rel_type") == "m.replace", "a live message that was edited"
    thread = {"rel_type": "m.thread", "event_id": asked, "is_falling_back": True, "m.in_reply_to": {"event_id": asked}}
    await ann.say(room, f"SAY four {SECRET}", **{"m.relates_to": thread})
    answer = await ann.answer(room, f"four {SECRET}")
    [begun] = [one for one in ann.messages(room) if one.event_id == answer.message]
    assert begun.relation["event_id"] == asked
    write = tool("write_file", path=f"{SECRET}.txt", content=f"five {SECRET}\n")
    await ann.say(room, f"{write}\n---\n{tool('send_file', path=f'{SECRET}.txt')}\n---\nSAY there it is")
    await ann.answer(room, "there it is")
    [file] = [one for one in ann.messages(room) if one.content.get("msgtype") == "m.file"]
    assert "url" not in file.content
    assert await ann.do("openFile", file=file.content["file"]) == f"five {SECRET}\n"
    await ann.do("sendFile", room=room, name=f"{SECRET}.csv", text=f"seven {SECRET}\n")
    await ann.say(room, run("cat files/*.csv || find . -name '*.csv' -exec cat {} +"))
    await ann.answer(room, f"seven {SECRET}")
    await ann.say(room, "!reset workspace")
    card = await ann.notice(room, "workspace")
    await ann.do("send", room=room, type="m.reaction", content=react_to(card.message, "✅"))
    await ann.notice(room, "is empty now")
    await ann.say(room, "SAY " + f"{SECRET} " * 3000)
    await ann.answer(room, f"{SECRET} {SECRET}")


async def test_kill_9_around_commits_and_requests(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    """A short run; `python -m tests.e2ee.crash --points 100` is the long one."""
    seed = int.from_bytes(os.urandom(3))
    async with Front(homeserver.url) as front:
        bot = await daemon(model=model, start=False, MATRIX_HOMESERVER=front.url)
        verdict = await crash.run(bot, front, await strict_person("ann"), points=8, seed=seed)
        await bot.term()
    assert verdict.kept, (seed, verdict)


async def test_keys_that_change_all_the_time_and_a_second_device(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    """A short run; `python -m tests.e2ee.long --messages 1000` is the long one."""
    bot, ann = await daemon(model=model), await strict_person("ann")
    phone = await strict.person(
        ann.node, homeserver.url, ann.user_id, PASSWORD, called="phone", strict=False, crossSign=False
    )
    verdict = await long.run(bot, ann, phone, messages=12, rotation=4)
    assert verdict.kept, verdict
    await phone.do("stop")
    await bot.term()


async def test_keys_that_are_missing_members_that_change_and_states_that_are_lost(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    held: list[str] = []

    def hold_keys_back(path: str, answer: dict[str, object]) -> None:
        if path.endswith("/sync") and held and "to_device" in answer:
            answer["to_device"] = {"events": []}

    async def asked(request: web.Request) -> None:
        if "m.room_key_request" in request.path:
            held.clear()

    async with Front(homeserver.url) as front:
        front.change, front.before = hold_keys_back, asked
        bot, ann, ben = await daemon(model=model, MATRIX_HOMESERVER=front.url), await strict_person("ann"), None
        room = await ann.room_with(bot.user_id)
        await ann.say(room, "SAY first")
        await ann.answer(room, "first")

        # A key that never came is asked for; its sender gives it again, and the messages are answered once, in order,
        # but for one that was removed meanwhile.
        held.append("the key")
        await ann.do("discardSession", room=room)
        await ann.do("redact", room=room, event=await ann.say(room, "SAY nothing"))
        await ann.say(room, "SAY late one")
        await ann.say(room, "SAY late two")
        await ann.notice(room, "cannot read a message")
        await ann.answer(room, "late two")
        assert [one.body for one in ann.finals(room)] == ["first", "late one", "late two"]
        assert sum("cannot read" in one.body for one in ann.messages(room)) == 1

        # What is read late answers a question that it replies to, and no other: it may be older than that.
        prompt = await ann.say(room, 'TOOL ask_person {"question": "Which database?"}\n---\nECHO')
        card = await ann.answer(room, "Which database?")
        held.append("the key")
        await ann.do("discardSession", room=room)
        await ann.say(room, "SAY whatever it was about")
        await ann.say(room, "Postgres", **{"m.relates_to": {"m.in_reply_to": {"event_id": card.event_id}}})
        answer = await ann.answer(room, f"{ann.user_id} answers: Postgres")
        assert not held, "the key was asked for, so it was late"
        assert answer.shown["io.roommate.turn"]["prompt"] == prompt
        await ann.answer(room, "whatever it was about")

        # Who comes later reads what comes later; who was put out reads nothing more.
        ben = await strict_person("ben")
        await ann.invite(room, ben, bot.user_id)
        await ann.say(room, f"{bot.user_id}: SAY welcome ben")
        await ben.answer(room, "welcome ben", bot.user_id)
        before = {one.wire["session_id"] for one in ann.messages(room) if one.sender == bot.user_id}
        await ann.do("kick", room=room, user=ben.user_id)
        await ann.say(room, "SAY we are two again")
        seen = await ann.answer(room, "two again")
        assert seen.wire["session_id"] not in before, "a new session, whose key ben never had"

        # The database goes back in time, what encryption knows does not.
        await bot.term()
        shutil.copy(bot.state / "roommate.db", bot.state / "older.db")
        await bot.start()
        await ann.say(room, "SAY before it goes back")
        await ann.answer(room, "before it goes back")
        await bot.term()
        (bot.state / "older.db").replace(bot.state / "roommate.db")
        await bot.start()
        await ann.say(room, "SAY after it went back")
        await ann.answer(room, "after it went back")

        # What encryption knew is gone: another device, signed at once, and the old one does not exist any more.
        old = device_of(bot)
        await bot.term()
        for file in bot.state.glob("crypto.*"):
            file.unlink()
        await bot.start()
        assert "logging in as a new device" in bot.log_text()
        assert device_of(bot) != old
        await ann.say(room, "SAY as a new device")
        await ann.answer(room, "as a new device")
        assert ann.failures(room) == []
        assert {one.shield for one in ann.messages(room)} == {0}
        await bot.term()


async def test_nothing_is_sent_in_plain_where_it_is_not_known_whether_a_room_is_encrypted(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    sent: list[str] = []

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        if "/state/m.room.encryption" in request.path:
            return web.json_response({"errcode": "M_UNKNOWN", "error": "not now"}, status=500)
        if "/send/" in request.path:
            sent.append(request.path)
        return None

    def hide(path: str, answer: dict[str, object]) -> None:
        if path.endswith("/sync"):
            for section in answer.get("rooms", {}).get("join", {}).values():  # type: ignore[attr-defined]
                for part in ("state", "timeline"):
                    events = section.get(part, {}).get("events", [])
                    section.get(part, {})["events"] = [one for one in events if one["type"] != "m.room.encryption"]

    async with Front(homeserver.url) as front:
        front.before, front.change = refuse, hide
        bot, ann = await daemon(model=model, MATRIX_HOMESERVER=front.url), await strict_person("ann")
        room = await ann.room_with(bot.user_id)
        await ann.say(room, "SAY hello")
        while "tell whether a room is encrypted" not in bot.log_text():
            await asyncio.sleep(0.05)
        assert sent == []
        front.before = None
        await ann.answer(room, "hello")
        assert all(one.encrypted for one in ann.messages(room))
        await bot.term()


async def test_without_a_password_a_device_that_lost_its_keys_is_there_for_other_rooms_alone(
    daemon: MakeDaemon, strict_person: MakeStrict, person: MakePerson, model: ScriptedModel
) -> None:
    bot, ann, alice = await daemon(model=model), await strict_person("ann"), await person("alice")
    room, plain = await ann.room_with(bot.user_id), await bot.room_with(alice)
    await ann.say(room, "SAY read")
    await ann.answer(room, "read")
    await bot.term()
    for file in bot.state.glob("crypto.*"):
        file.unlink()
    bot.settings["MATRIX_PASSWORD"] = ""
    await bot.start()
    assert "run `roommate auth login`, which makes a new device" in bot.log_text()
    before = len(ann.messages(room))
    await ann.say(room, "SAY not read")
    assert (await alice.ask(plain, "SAY hello")).body == "hello"
    assert len(ann.messages(room)) == before, "and nothing in plain"
    bot.settings["E2EE"] = "required"
    await bot.term()
    await bot.spawn()
    assert await bot.wait_for_exit() == 78
