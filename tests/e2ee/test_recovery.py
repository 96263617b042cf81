"""Secret storage and key backup: what another client makes the bot can use, what the bot makes another client can."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3

from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from tests import program
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon
from tests.e2ee import strict
from tests.e2ee.conftest import MakeStrict
from tests.e2ee.strict import Node, Seen, StrictPerson
from tests.e2ee.test_encrypted_rooms import device_of
from tests.front import Front
from tests.harness import Daemon
from tests.scripted_model import ScriptedModel

KEY = re.compile(r"Es[1-9A-HJ-NP-Za-km-z]{2}( [1-9A-HJ-NP-Za-km-z]{4}){11}")


async def recovery(bot: Daemon, *words: str, typed: str = "") -> tuple[int, str, str]:
    environment = {"HOME": str(bot.folder), "PATH": program.PATH, **bot.settings}
    command = ("recovery", *words)
    code, out, err = await program.run(*command, cwd=bot.folder, environment=environment, stdin=typed.encode())
    return code, out.decode().strip(), err.decode()


async def standing(bot: Daemon) -> dict[str, object]:
    code, out, err = await recovery(bot, "status", "--json")
    assert code == 0, err
    found: dict[str, object] = json.loads(out)
    return found


async def backed_up(bot: Daemon) -> dict[str, object]:
    while (found := await standing(bot))["waiting"]:
        await asyncio.sleep(0.1)
    return found


async def set_up(bot: Daemon, *words: str) -> str:
    code, out, err = await recovery(bot, "setup", *words)
    assert code == 0, err
    assert KEY.fullmatch(out)
    return out


async def reply(ann: StrictPerson, room: str, to: str, text: str) -> str:
    return await ann.say(room, text, **{"m.relates_to": {"m.in_reply_to": {"event_id": to}}})


async def seen_by(person: StrictPerson, room: str, words: str) -> Seen:
    """Whoever wrote it."""

    def found() -> Seen | None:
        here = [one for one in person.seen if one.room_id == room and not one.failure]
        return next((one for one in here if words in one.body), None)

    seen: Seen = await person.node.wait(found, f"{words!r}, read")
    return seen


async def test_what_the_bot_backs_up_another_client_reads_and_so_does_the_bot_when_its_state_is_lost(
    homeserver: Synapse, node: Node, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    bot, ann = await daemon(model=model), await strict_person("ann")
    room = await ann.room_with(bot.user_id)
    first = await ann.say(room, "SAY first-words")
    await ann.answer(room, "first-words")
    assert (await standing(bot))["key_id"] == ""
    key = await set_up(bot)
    code, _, err = await recovery(bot, "setup")
    assert (code, "is set up already" in err) == (1, True)
    await ann.do("discardSession", room=room)
    await ann.say(room, "SAY later-words")
    await ann.answer(room, "later-words")
    assert (await backed_up(bot))["keys"] == 3, "two sessions of ann's, and the bot's own"

    # Element, logged in as the bot, reads all of it.
    twin = await strict.person(node, homeserver.url, bot.user_id, PASSWORD, strict=False, crossSign=False)
    found = await twin.do("recover", key=key)
    assert (found["imported"], found["trusted"], found["crossSigned"]) == (3, True, True)
    for words in ("SAY first-words", "first-words", "SAY later-words"):
        session = (await seen_by(twin, room, words)).wire["session_id"]
    await twin.do("stop")

    # A key that is only in the backup is had from there, before anybody is told that it is missing.
    asked = len(ann.messages(room))
    await bot.term()
    with sqlite3.connect(bot.state / "crypto.db") as c:
        c.execute("DELETE FROM records WHERE kind='inbound' AND key=?", (f"{room} {session}",))
        why = json.dumps({"code": "m.unverified", "by": ann.user_id})
        c.execute("INSERT INTO records VALUES ('withheld', ?, ?, 0)", (f"{room} {session}", why))
    await ann.say(room, "SAY read-with-the-backup")
    await bot.start()
    await ann.answer(room, "read-with-the-backup")
    assert not [one.body for one in ann.messages(room)[asked:] if "cannot read" in one.body]

    # Nothing is left but the recovery key.
    identity = await ann.do("masterKey", user=bot.user_id)
    code, file, err = await roommate(bot.folder, "backup", "--to", str(bot.folder / "backups"), **bot.settings)
    assert code == 0, err
    await bot.term()
    shutil.rmtree(bot.state)
    bot.log.write_text("")
    await bot.start()
    assert "`roommate recovery restore`" in bot.log_text()
    code, _, err = await recovery(bot, "restore", typed=key[:-1] + ("a" if key[-1] != "a" else "b"))
    assert (code, "mistyped" in err) == (1, True)
    code, out, err = await recovery(bot, "restore", typed=key)
    assert (code, "3 room keys" in out) == (0, True), (out, err)
    assert await ann.do("masterKey", user=bot.user_id) == identity
    assert (await ann.do("trust", user=bot.user_id, device=device_of(bot)))["signed"]
    await reply(ann, room, first, "what was that?")
    assert "first-words" in (await ann.answer(room, "what was that?")).body

    # A backup from before that, on a host that has nothing: its database is older, its device another.
    await bot.term()
    shutil.rmtree(bot.state)
    code, _, err = await roommate(bot.folder, "restore", file.strip(), **bot.settings)
    assert code == 0, err
    await bot.start()
    code, out, err = await recovery(bot, "restore", typed=key)
    assert (code, "room keys" in out) == (0, True), err
    await ann.say(room, "SAY on-another-host")
    await ann.answer(room, "on-another-host")
    await reply(ann, room, first, "and what was that?")
    assert "first-words" in (await ann.answer(room, "and what was that?")).body
    assert len([one for one in ann.finals(room) if one.body == "later-words"]) == 1, "nothing is answered twice"
    assert ann.failures(room) == []
    assert {one.shield for one in ann.messages(room)} == {0}
    assert not [part for part in key.split() if part in bot.log_text()], "the key is in no log"
    await bot.term()


async def test_an_identity_and_a_backup_that_another_client_made(
    homeserver: Synapse, node: Node, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    ann, bot = await strict_person("ann"), await daemon(model=model, start=False)
    # Strict, it reads nothing of who has signed a device after it looked.
    owner = await strict.person(node, homeserver.url, bot.user_id, PASSWORD, strict=False)
    written = await owner.do("makeRecovery", passphrase="correct horse battery")
    room = await ann.do("createRoom", invite=[bot.user_id])
    await owner.do("join", room=room)
    await ann.do("waitFor", room=room, user=bot.user_id)
    old = await ann.say(room, "said-to-another-client")
    await seen_by(owner, room, "said-to-another-client")
    await owner.do("backUp", count=1)
    await owner.do("stop")
    identity = await ann.do("masterKey", user=bot.user_id)

    await bot.start()
    assert "has an identity (cross-signing keys) that another client made" in bot.log_text()
    code, _, err = await recovery(bot, "setup")
    assert (code, "`roommate recovery restore` takes over" in err) == (1, True), err
    code, _, err = await recovery(bot, "restore", typed="wrong horse battery")
    assert (code, "is not the recovery key or passphrase" in err) == (1, True), err
    for typed in ("correct horse battery", written):
        code, _, err = await recovery(bot, "restore", typed=typed)
        assert code == 0, err
    assert await ann.do("masterKey", user=bot.user_id) == identity, "it is who it was"
    assert (await ann.do("trust", user=bot.user_id, device=device_of(bot)))["signed"]
    await reply(ann, room, old, "and this?")
    assert "said-to-another-client" in (await ann.answer(room, "and this?")).body
    await backed_up(bot)

    # Another recovery key: that of before opens nothing any more, what is backed up stays. The identity, too.
    key = await set_up(bot, "--replace")
    code, _, err = await recovery(bot, "restore", typed=written)
    assert (code, "mistyped" in err) == (1, True)
    assert await ann.do("masterKey", user=bot.user_id) == identity
    twin = await strict.person(node, homeserver.url, bot.user_id, PASSWORD, strict=False, crossSign=False)
    assert (await twin.do("recover", key=key))["imported"] >= 2
    await seen_by(twin, room, "said-to-another-client")

    # Somebody else makes another backup: the bot notices, and says what to do.
    await twin.do("makeRecovery", passphrase="x")
    await ann.do("discardSession", room=room)
    await ann.say(room, "SAY one more")
    await ann.answer(room, "one more")
    await bot.wait_for_log("replaced by another client")
    assert "replaced by another client" in str((await standing(bot))["problem"])
    await twin.do("stop")
    await bot.term()


async def test_killed_anywhere_setup_leaves_a_key_that_works_and_goes_on(
    homeserver: Synapse, node: Node, daemon: MakeDaemon, strict_person: MakeStrict
) -> None:
    steps = re.compile(r"/room_keys/version|/account_data/|/device_signing/upload|/signatures/upload")
    count = 0

    async with Front(homeserver.url) as front:
        bot = await daemon(MATRIX_HOMESERVER=front.url)

        async def hit(request: web.Request) -> None:
            nonlocal count
            if request.method != "GET" and steps.search(request.path):
                count -= 1
                if count == 0:
                    await bot.kill9()

        async def before(request: web.Request) -> None:
            await hit(request)

        async def after(request: web.Request, answer: bytes) -> None:
            await hit(request)

        key = ""
        # Made: the backup, the key's description, four secrets, the key in use; then the four secrets alone.
        for point, first in ((1, False), (4, True), (7, False), (7, True), (9, True)):
            count, front.before, front.after = point, before if first else None, None if first else after
            code, _, err = await recovery(bot, "setup", *(["--replace"] if key else []))
            assert code != 0, (point, err)
            front.before = front.after = None
            await bot.spawn()
            await bot.start() if not bot.running else await bot.wait_for_log("ready after")
            if key and (point, first) != (7, False) and point < 7:
                code, _, err = await recovery(bot, "restore", typed=key)
                assert code == 0, "the key of before is in use still"
            key = await set_up(bot, *(["--replace"] if (await standing(bot))["shown"] else []))
            assert (await standing(bot))["shown"]
        twin = await strict.person(node, homeserver.url, bot.user_id, PASSWORD, strict=False, crossSign=False)
        found = await twin.do("recover", key=key)
        assert (found["trusted"], found["crossSigned"]) == (True, True)
        await twin.do("stop")
        await bot.term()
