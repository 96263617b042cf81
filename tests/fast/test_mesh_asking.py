"""A daemon asks: what it sends, what counts of a peer's reply, and who hears of it. The peer is a person with a
key, who signs whatever the test likes."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from signedjson.sign import sign_json

from roommate.cli.streamed_input import streamed
from roommate.control import NAME
from roommate.control.server import MOST_CONNECTIONS
from roommate.domain import SentFile, UserId
from roommate.errors import ControlError, PeerLost
from roommate.features.mesh.envelope import INPUT, REPLY
from roommate.features.mesh.reply_output import ReplyOutput
from roommate.store import Database, Peer, PeerState, reading
from roommate.store.mesh_peers import keeping
from tests.fakes.daemon import MemoryDaemon
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_operations import found, typed
from tests.mesh.answerer import Answerer, ended, output
from tests.mesh.peer import new_key
from tests.patience import PATIENCE, until

STARTED = {"kind": "started"}


async def trust(bot: MemoryDaemon, answerer: Answerer, name: str = "builder") -> None:
    """As an operator does it, while the daemon does not run."""
    await bot.term()
    database = Database.open(bot.state)
    user = UserId(answerer.person.user_id)
    await database.run(keeping(Peer(answerer.public, user, name, PeerState.PINNED)))
    await database.close()
    await bot.start()


@dataclass
class Stream:
    """What `roommate exec` and the like see of the daemon."""

    bot: MemoryDaemon
    out: bytearray = field(default_factory=bytearray)
    errors: bytearray = field(default_factory=bytearray)
    told: list[str] = field(default_factory=list)
    task: asyncio.Task[Any] | None = None

    def ask(self, method: str, read: Callable[[int], bytes] | None = None, **params: Any) -> Stream:
        path = self.bot.state / "ipc" / NAME
        self.task = asyncio.create_task(streamed(path, method, params, read, self._take))
        return self

    async def result(self) -> Any:
        assert self.task is not None
        async with asyncio.timeout(PATIENCE):
            return await self.task

    def _take(self, item: Any) -> None:
        if isinstance(item, str):
            self.out += base64.b64decode(item)
        elif "errors" in item:
            self.errors += base64.b64decode(item["errors"])
        elif "told" in item:
            self.told.append(item["told"])


@dataclass
class Pair:
    bot: MemoryDaemon
    builder: Answerer
    room: str
    asked: int = 0

    def exec(self, *argv: str, **more: Any) -> Stream:
        return Stream(self.bot).ask("mesh.exec", peer="builder", argv=list(argv), **more)

    async def next(self) -> Any:
        self.asked += 1
        return await self.builder.asked(self.room, self.asked - 1)


@pytest.fixture
async def pair(daemon: MakeDaemon, person: MakePerson) -> Pair:
    """A daemon that trusts a peer, in one room with it."""
    bot, builder = await daemon(), Answerer(await person("builder"))
    room = await bot.room_with(builder.person)
    await trust(bot, builder)
    return Pair(bot, builder, room)


async def test_a_program_runs_there_and_its_end_is_ours(pair: Pair) -> None:
    stream = pair.exec("make", "test", cwd="/workspace/x", env={"CI": "1"}, timeout=60)
    request = await pair.next()
    assert audited(pair.bot).count(("mesh.exec", "done")) == 1, "it is asked, whoever is killed from now on"
    assert request.method == "exec"
    assert request.params == {"argv": ["make", "test"], "cwd": "/workspace/x", "env": {"CI": "1"}, "timeout": 60}
    assert request.expires - request.issued == 3_600_000
    bodies = [STARTED, output(b"one\n"), output(b"bad\n", "err"), ended(b"one\nbad\n", exit=3)]
    await pair.builder.answer(request, *bodies)
    result = await stream.result()
    assert (result["code"], result["timed_out"], result["request"]) == (3, False, request.id)
    assert (bytes(stream.out), bytes(stream.errors)) == (b"one\n", b"bad\n")
    alice = pair.builder.person
    await alice.wait(
        lambda: any("make test" in m.body and "exit code 3" in m.body for m in pair.bot.said(alice, pair.room)),
        what="the message in the room",
    )
    assert audited(pair.bot).count(("mesh.exec", "done")) == 1

    [listed] = await found(pair.bot, "requests", "ls")
    assert (listed["id"], listed["direction"], listed["outcome"]) == (request.id, "out", "result")
    for name in (request.id, request.id[-8:].lower(), request.id[:12]):
        assert (await found(pair.bot, "requests", "show", name))["result"]["exit"] == 3
    assert "make test" in (await typed(pair.bot, "requests", "show", request.id))["text"]
    stream = pair.exec("sleep", "1000")
    request = await pair.next()
    await pair.builder.answer(request, STARTED)
    assert "is told to end" in str(await typed(pair.bot, "requests", "cancel", request.id))
    await alice.wait(lambda: pair.builder.inputs(request) == [{"kind": "cancel"}], what="what takes it back")
    await pair.builder.send(*pair.builder.reply(request, STARTED, {"kind": "refused", "code": "cancelled"})[1:])
    with pytest.raises(ControlError, match="took it back"):
        await stream.result()
    with pytest.raises(ControlError, match="is over already"):
        await typed(pair.bot, "requests", "cancel", request.id)


def audited(bot: MemoryDaemon) -> list[tuple[str, str]]:
    """What was done, and with what outcome."""
    with reading(bot.state) as c:
        return list(c.execute("SELECT what, outcome FROM audit ORDER BY number"))


async def test_who_has_left_is_not_asked_and_who_is_back_is(pair: Pair, person: MakePerson) -> None:
    """As soon as a sync has told so."""
    alice, peer = await person("alice"), pair.builder.person
    await peer.invite(pair.room, alice.user_id)
    await alice.join(pair.room)
    stream = pair.exec("true")
    await pair.builder.answer(await pair.next(), ended(b""))
    await stream.result()

    def joined() -> int:
        with reading(pair.bot.state) as c:
            return int(c.execute("SELECT joined FROM rooms WHERE room_id=?", (pair.room,)).fetchone()[0])

    await peer.leave(pair.room)
    await until(lambda: joined() == 2, "that the peer has left")
    with pytest.raises(ControlError, match="is in no room with this bot"):
        await pair.exec("true").result()
    await alice.invite(pair.room, peer.user_id)
    await peer.join(pair.room)
    await until(lambda: joined() == 3, "that the peer is back")
    stream = pair.exec("true")
    await pair.builder.answer(await pair.next(), ended(b""))
    assert (await stream.result())["code"] == 0


async def test_pieces_that_are_doubled_reordered_or_of_others_change_nothing(pair: Pair) -> None:
    stream = pair.exec("true")
    request = await pair.next()
    pieces = [STARTED, *(output(f"{n}\n".encode()) for n in range(6))]
    printed = b"".join(f"{n}\n".encode() for n in range(6))
    whole = pair.builder.reply(request, *pieces, ended(printed))
    wrong = replace(whole[1], body=output(b"forged\n"))
    await pair.builder.send(wrong, key=new_key())  # not its key
    await pair.builder.send(replace(whole[1], digest="0" * 64), replace(whole[1], sender="@other:x"))
    await pair.builder.send(replace(whole[1], type=INPUT), kind=INPUT)  # of the other direction
    await pair.builder.send(whole[3], whole[0], whole[0], whole[2], whole[1], *whole[:4], *reversed(whole[4:]))
    assert (await stream.result())["code"] == 0
    assert bytes(stream.out) == printed
    assert [one for one in audited(pair.bot) if one[0] == "mesh.reply"] == [("mesh.reply", "refused")] * 3


@pytest.mark.parametrize("how", ["another body", "another hash", "another hash of what was cut", "no base64"])
async def test_a_reply_that_was_changed_does_not_count(pair: Pair, how: str) -> None:
    stream = pair.exec("true")
    request = await pair.next()
    whole = pair.builder.reply(request, STARTED, output(b"right\n"), ended(b"right\n"))
    if how == "another body":  # signed by the peer, and not what its chain says
        whole[1] = replace(whole[1], body=output(b"else\n"))
    elif how.startswith("another hash"):
        last = ended(b"else\n", truncated=how.endswith("cut"))
        whole = pair.builder.reply(request, STARTED, output(b"right\n"), last)
    else:
        whole = pair.builder.reply(request, STARTED, {"kind": "output", "stream": "out", "data": "?"}, ended())
    await pair.builder.send(*whole)
    with pytest.raises(ControlError) as lost:
        await stream.result()
    assert lost.value.exit_code == 255


async def test_a_piece_that_is_too_large_is_none(pair: Pair) -> None:
    """An event can carry more than a piece may have."""
    stream = pair.exec("true")
    request = await pair.next()
    small, large = b"right\n", output(b"x" * 40_000)
    [piece] = pair.builder.reply(request, large)
    content = sign_json(dataclasses.asdict(piece), piece.sender, pair.builder.key)
    await pair.builder.person.send(pair.room, REPLY, content)
    await pair.builder.answer(request, output(small), ended(small))
    assert (await stream.result())["code"] == 0
    assert bytes(stream.out) == small
    assert [one for one in audited(pair.bot) if one[0] == "mesh.reply"] == [("mesh.reply", "refused")]


async def test_more_than_is_taken_of_a_peer_ends_it() -> None:
    class Endless:
        async def pieces(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]:
            while True:
                yield b"x" * 1000

    for body in (output(b"x" * 4001), {"kind": "file", "stream": "out", "url": "mxc://x/y", "size": 1}):
        taken, reply = 0, ReplyOutput(Endless(), 4000)
        with pytest.raises(PeerLost, match="more than is taken"):
            async for _, piece in reply.pieces(body):
                taken += len(piece)
        assert taken <= 4000


async def test_a_peer_can_not_put_its_end_off_for_ever(pair: Pair) -> None:
    """What it asks its people ends with the request, and its time begins once."""
    stream, asked = pair.exec("true", timeout=60), time.time()
    request = await pair.next()
    late, held = {"kind": "held", "until": 2**53 - 1}, 86_400 + 60
    messages = pair.builder.reply(request, late, late, STARTED, late, STARTED, output(b"x"), ended(b"x"))

    def known() -> tuple[int, float]:
        with reading(pair.bot.state) as c:
            [seq, end] = c.execute("SELECT seq, until FROM mesh_asked").fetchone()
            return seq, end

    for count, most in ((1, held), (2, held), (3, 600), (4, 600)):
        await pair.builder.send(messages[count - 1])
        await until(lambda count=count: known()[0] == count, "that it is heard")  # type: ignore[misc]
        assert known()[1] <= asked + most + PATIENCE
    begun = known()[1]
    await pair.builder.send(messages[4])
    await until(lambda: known()[0] == 5, "that it is heard")
    assert known()[1] == begun
    await pair.builder.send(*messages[5:])
    assert (await stream.result())["code"] == 0


async def test_refused_held_and_cancelled(pair: Pair) -> None:
    stream = pair.exec("rm", "x")
    request = await pair.next()
    until = int(time.time() * 1000) + 60_000
    await pair.builder.answer(request, {"kind": "held", "until": until}, {"kind": "refused", "code": "not-approved"})
    with pytest.raises(ControlError, match="people said no") as refused:
        await stream.result()
    assert refused.value.exit_code == 77
    assert "people at builder are asked first, until" in stream.told[0]

    stream = pair.exec("sleep", "60")
    request = await pair.next()
    whole = pair.builder.reply(request, STARTED, ended(exit=None, signal=15))
    await pair.builder.send(whole[0])
    assert stream.task is not None
    stream.task.cancel()  # Ctrl-C
    await pair.builder.person.wait(lambda: {"kind": "cancel"} in pair.builder.inputs(request), what="the cancel")
    await pair.builder.send(whole[1])
    alice = pair.builder.person
    await alice.wait(
        lambda: any("signal 15" in m.body for m in pair.bot.said(alice, pair.room)), what="how it ended there"
    )


async def test_input_goes_in_order_and_ends(pair: Pair) -> None:
    given = iter([b"a" * 40_000, b"b", b""])
    stream = Stream(pair.bot).ask("mesh.exec", lambda _: next(given), peer="builder", argv=["cat"], stdin=True)
    request = await pair.next()
    assert request.params["stdin"] is True
    await pair.builder.send(pair.builder.reply(request, STARTED)[0])

    def whole() -> list[dict[str, Any]] | None:
        said = pair.builder.inputs(request)
        return said if said and said[-1]["kind"] == "end" else None

    bodies = await pair.builder.person.wait(whole, what="input")
    assert bodies is not None
    assert b"".join(base64.b64decode(one.get("data", "")) for one in bodies) == b"a" * 40_000 + b"b"
    await pair.builder.send(*pair.builder.reply(request, STARTED, ended())[1:])
    assert (await stream.result())["code"] == 0


async def test_what_was_asked_before_a_restart_is_answered_after_it(pair: Pair) -> None:
    stream = pair.exec("make")
    request = await pair.next()
    whole = pair.builder.reply(request, STARTED, output(b"half\n"), ended(b"half\n"))
    await pair.builder.send(*whole[:2])
    alice = pair.builder.person
    await alice.wait(lambda: any("half" in m.body for m in pair.bot.said(alice, pair.room)), what="the live message")
    await pair.bot.term()
    with pytest.raises(ControlError):
        await stream.result()
    await pair.builder.send(whole[2])
    await pair.bot.start()
    await alice.wait(
        lambda: any("exit code 0" in m.body and "half" in m.body for m in pair.bot.said(alice, pair.room)),
        what="how it ended, where it stood",
    )
    assert not pair.builder.inputs(request)  # who ends with the daemon takes nothing back


async def test_ping_who_call_and_peers(pair: Pair) -> None:
    asking = asyncio.create_task(found(pair.bot, "ping", "builder"))
    await pair.builder.answer(await pair.next(), {"kind": "result", "version": "9.9", "load": 2})
    pong = await asking
    assert (pong["peer"], pong["version"], pong["load"]) == ("builder", "9.9", 2)
    asking = asyncio.create_task(typed(pair.bot, "who", "builder"))
    offers = {"version": "9.9", "methods": ["exec"], "tools": [{"name": "run_tests", "description": "*Runs* them"}]}
    await pair.builder.answer(await pair.next(), {"kind": "result", **offers})
    assert "`run_tests`: \\*Runs\\* them" in (await asking)["markdown"]
    stream = Stream(pair.bot).ask("mesh.call", peer="builder", tool="run_tests", arguments={"path": "x"})
    request = await pair.next()
    assert request.params == {"tool": "run_tests", "arguments": {"path": "x"}}
    await pair.builder.answer(request, STARTED, {"kind": "result", "ok": True, "text": "3 passed"})
    assert (await stream.result())["text"] == "3 passed"
    [peer] = await found(pair.bot, "peers")
    assert (peer["name"], peer["room"]) == ("builder", pair.room)
    for name, wrong in (("nobody", "no trusted peer is called nobody .there is builder."),):
        with pytest.raises(ControlError, match=wrong):
            await found(pair.bot, "ping", name)


async def test_a_file_goes_in_parts_and_what_comes_back_is_checked(pair: Pair) -> None:
    given = iter([b"x" * 1000, b"y" * 24, b""])
    stream = Stream(pair.bot).ask("mesh.share_put", lambda _: next(given), peer="builder", path="a/b.bin")
    request = await pair.next()
    [part] = request.params["parts"]
    content = b"x" * 1000 + b"y" * 24
    assert await pair.builder.person.download(part["url"]) == content
    sums = {"size": 1024, "sha256": part["sha256"]}
    assert {name: request.params[name] for name in ("path", *sums)} == {"path": "a/b.bin", **sums}
    await pair.builder.answer(request, STARTED, {"kind": "result", "path": "/w/a/b.bin", "bytes": 1024, **sums})
    assert (await stream.result())["path"] == "/w/a/b.bin"
    [open_room] = stream.told
    assert "not encrypted" in open_room
    alice = pair.builder.person
    await alice.wait(lambda: any("not encrypted" in m.body for m in pair.bot.said(alice, pair.room)))

    for swapped in (False, True):
        stream = Stream(pair.bot).ask("mesh.share_get", peer="builder", path="a/b.bin")
        request = await pair.next()
        file = {"kind": "file", "stream": "file", **part, "sha256": "0" * 64 if swapped else part["sha256"]}
        last = {"sha256": part["sha256"], "bytes": 1024, "encrypted": False}
        await pair.builder.answer(request, STARTED, file, {"kind": "result", **last})
        if swapped:
            with pytest.raises(ControlError, match="its hash is another") as lost:
                await stream.result()
            assert lost.value.exit_code == 255
        else:
            await stream.result()
            assert bytes(stream.out) == content
            assert "not encrypted" in stream.told[-1]


async def test_a_socket_that_takes_no_more_says_so(pair: Pair) -> None:
    path = pair.bot.state / "ipc" / NAME
    parked = [await asyncio.open_unix_connection(path) for _ in range(MOST_CONNECTIONS)]
    with pytest.raises(ControlError, match="connections are open: try again"):
        await pair.exec("true").result()
    for _, writer in parked:
        writer.close()
