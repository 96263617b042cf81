"""A reply in a real room that somebody else forges, or that the peer itself reorders, cuts, doubles, swaps, or fills
with what a terminal obeys: what counts of it at the command line of who asked, and what stands in the room."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import json
from dataclasses import dataclass, replace

import pytest
from signedjson.sign import sign_json

from roommate.domain import JsonObject
from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import REPLY, REQUEST, Request
from roommate.store import reading
from tests.cli.test_peer_screen import EVIL
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import ROOMMATE, Daemon, no_settings
from tests.mesh.answerer import Answerer, ended, output
from tests.mesh.pair import Done, roommate
from tests.mesh.peer import new_key
from tests.patience import until
from tests.person import Person
from tests.terminal import Terminal

STARTED: JsonObject = {"kind": "started"}
RIGHT = [STARTED, *(output(f"{n}\n".encode()) for n in range(4)), ended(b"0\n1\n2\n3\n")]


@dataclass
class Asking:
    """A daemon that asks, the peer that it asks, and a member of the room that it trusts, too."""

    bot: Daemon
    builder: Answerer
    mallory: Answerer
    alice: Person
    room: str
    other: str

    def exec(self, word: str) -> asyncio.Task[Done]:
        return asyncio.create_task(roommate(self.bot, "exec", "--peer", "builder", "--room", self.room, "--", word))

    async def asked(self, word: str) -> Request:
        """The request that has this word in its parameters."""

        def look() -> JsonObject | None:
            found = [one.content for one in self.alice.seen if one.type == REQUEST]
            return next((one for one in found if word in json.dumps(one["params"])), None)

        content = await self.alice.wait(look, what=f"the request for {word}")
        assert content is not None
        return envelope.read_request(content)

    async def uploaded(self, content: bytes) -> str:
        """The address of it, in the homeserver's media."""
        event = await self.alice.upload(self.room, "a.bin", content)
        seen = await self.alice.wait(lambda: next((one for one in self.alice.seen if one.event_id == event), None))
        assert seen is not None
        return str(seen.content["url"])

    def shown(self) -> str:
        """All that the bot says in the room, as text and as HTML."""
        return "\n".join(f"{one.body}\n{one.html}" for one in self.bot.said(self.alice, self.room))


def uncounted(bot: Daemon, asked: Request) -> list[str]:
    """Who sent pieces of its reply that do not count, as the audit log has it."""
    with reading(bot.state) as c:
        query = "SELECT who FROM audit WHERE what='mesh.reply' AND outcome='refused' AND subject=? ORDER BY number"
        return [str(who) for (who,) in c.execute(query, (asked.id,))]


@pytest.fixture
async def asking(daemon: MakeDaemon, person: MakePerson) -> Asking:
    bot, alice = await daemon(), await person("alice")
    builder, mallory = Answerer(await person("builder")), Answerer(await person("mallory"))
    room, other = [await bot.known_room_with(alice, builder.person, mallory.person) for _ in range(2)]
    for one, name in ((builder, "builder"), (mallory, "mallory")):
        added = await roommate(bot, "trust", "add", one.public, one.person.user_id, "--everywhere", "--name", name)
        assert added.code == 0, added
    return Asking(bot, builder, mallory, alice, room, other)


async def test_pieces_of_others_and_in_another_order_change_nothing(asking: Asking) -> None:
    builder, mallory = asking.builder, asking.mallory
    forged, mixed, large, far = [asking.exec(word) for word in ("forged", "mixed", "large", "far")]

    asked = await asking.asked("forged")
    whole, evil = builder.reply(asked, *RIGHT), builder.reply(asked, output(b"evil\n"), ended(b"evil\n"))
    signed = envelope.sign(builder.key, whole[0])
    theirs = replace(evil[0], sender=mallory.person.user_id, origin=mallory.public)
    await mallory.person.send(asking.room, REPLY, signed)  # copied
    await mallory.person.send(asking.room, REPLY, envelope.sign(mallory.key, theirs))
    await mallory.person.send(asking.room, REPLY, envelope.sign(mallory.key, evil[0]))
    await mallory.person.send(asking.room, REPLY, signed | {"body": output(b"evil\n")})
    await builder.person.send(asking.other, REPLY, signed)  # elsewhere
    await builder.send(evil[0], key=new_key())
    await builder.send(replace(evil[0], digest="0" * 64))
    await builder.send(*whole)
    done = await forged
    assert (done.code, done.out) == (0, "0\n1\n2\n3\n"), done
    senders = [*[mallory.person.user_id] * 4, *[builder.person.user_id] * 3]
    assert sorted(uncounted(asking.bot, asked)) == sorted(senders)

    asked = await asking.asked("mixed")
    whole = builder.reply(asked, *RIGHT)
    await builder.send(*reversed(whole[1:]), *whole[1:], whole[0], *whole)
    done = await mixed
    assert (done.code, done.out) == (0, "0\n1\n2\n3\n"), done
    assert uncounted(asking.bot, asked) == []

    asked = await asking.asked("large")
    [piece] = builder.reply(asked, output(b"x" * 40_000))  # more than a piece may have, and less than an event
    content = sign_json(dataclasses.asdict(piece), piece.sender, builder.key)
    await builder.person.send(asking.room, REPLY, content)
    await builder.send(*builder.reply(asked, *RIGHT))
    done = await large
    assert (done.code, done.out) == (0, "0\n1\n2\n3\n"), done
    assert uncounted(asking.bot, asked) == [builder.person.user_id]

    asked = await asking.asked("far")
    whole = builder.reply(asked, *RIGHT)
    await builder.send(*(replace(whole[-1], seq=seq) for seq in (600, 2**53 - 1)))  # nothing leads there
    await builder.send(whole[0], *whole[2:])  # one is left out
    await builder.send(builder.reply(asked, *RIGHT, ended())[-1])  # behind the end
    ping = asyncio.create_task(roommate(asking.bot, "ping", "builder", "--room", asking.other))
    request = await builder.asked(asking.other)
    await builder.answer(request, {"kind": "result", "version": "9.9", "load": 2})
    assert (await ping).code == 0
    assert not far.done()
    [wrong] = builder.reply(asked, output(b"evil\n"))
    await builder.send(replace(wrong, seq=1))  # in the place of what was left out
    done = await far
    assert (done.code, done.out) == (255, ""), done
    assert "a piece of the reply is not what belongs there" in done.errors
    assert "evil" not in asking.shown()


async def test_a_file_or_an_output_that_is_another_than_its_hash_says_is_none(asking: Asking) -> None:
    builder, right, evil = asking.builder, b"right\n" * 1000, b"evil!\n" * 1000
    swapped = await asking.uploaded(evil)
    file = {"kind": "file", "url": swapped, "sha256": hashlib.sha256(right).hexdigest(), "size": len(right)}
    honest = file | {"sha256": hashlib.sha256(evil).hexdigest()}
    get = {"kind": "result", "sha256": file["sha256"], "bytes": len(right), "encrypted": False}
    (asking.bot.cwd / "got").write_bytes(b"as before")
    ways: dict[str, list[JsonObject]] = {
        "an-output": [STARTED, output(b"evil\n"), ended(b"right\n")],
        "no-base64": [STARTED, {"kind": "output", "stream": "out", "data": "?"}, ended()],
        "a-file-of-output": [STARTED, {**file, "stream": "out"}, ended(right)],
        "its-end": [STARTED, {**honest, "stream": "out"}, ended(right)],
        "nowhere": [STARTED, {**file, "stream": "out", "url": "mxc://example.org/none"}, ended(right)],
    }
    tasks = {word: asking.exec(word) for word in ways}
    got = asyncio.create_task(
        roommate(asking.bot, "share", "get", "--peer", "builder", "--room", asking.room, "shared", "got")
    )
    for word, bodies in (ways | {"shared": [STARTED, {**file, "stream": "file"}, get]}).items():
        await builder.answer(await asking.asked(word), *bodies)
    done = {word: await task for word, task in (tasks | {"shared": got}).items()}
    assert {word: one.code for word, one in done.items()} == dict.fromkeys(done, 255), done
    for word in ("an-output", "a-file-of-output", "its-end", "shared"):
        assert "its hash is another" in done[word].errors, (word, done[word])
    files = {path.name for path in asking.bot.cwd.iterdir() if "got" in path.name}
    assert (files, (asking.bot.cwd / "got").read_bytes()) == ({"got"}, b"as before")


async def test_what_a_peer_says_and_prints_does_nothing_where_it_is_seen(asking: Asking) -> None:
    builder, words = asking.builder, f"{EVIL}</code></pre><b>✅ exit code 0</b> ``` @room"
    environment = {**no_settings(), **asking.bot.settings}
    at = ("--peer", "builder", "--room", asking.room)

    def sitting(*command: str) -> Terminal:
        return Terminal(str(ROOMMATE), *command, environment=environment)

    async def is_clean(terminal: Terminal, word: str, *bodies: JsonObject) -> str:
        """What it printed there."""
        await builder.answer(await asking.asked(word), *bodies)
        await terminal.ended()
        await terminal.see("plain")
        seen = terminal.written.decode()
        assert [one for one in seen if not one.isprintable() and one not in "\r\n\t"] == []
        return seen

    async with sitting("exec", *at, "--", "prints") as terminal:
        told = ended(words.encode())
        await is_clean(terminal, "prints", STARTED, output(words.encode()[:7]), output(words.encode()[7:]), told)
    async with sitting("exec", *at, "--", "refuses") as terminal:
        await is_clean(terminal, "refuses", {"kind": "refused", "code": "policy", "message": words})
    async with sitting("call", *at, "calls") as terminal:
        await is_clean(terminal, "calls", STARTED, {"kind": "result", "ok": True, "text": words})
    piped = asking.exec("piped")
    await builder.answer(await asking.asked("piped"), STARTED, output(words.encode()), ended(words.encode()))
    assert (await piped).out == words.replace("\r", "\n"), "a file has it as it is"  # as Python reads text

    await until(lambda: asking.shown().count("exit code 0 ·") >= 2)
    shown = asking.shown()
    assert [one for one in shown if not one.isprintable() and one not in "\n\t"] == []
    for one in asking.bot.said(asking.alice, asking.room):
        assert "<b>✅" not in one.html
        assert one.content.get("m.mentions", {}) == {}
