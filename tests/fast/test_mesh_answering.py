"""A peer asks and this daemon answers: run once, shown to people, decided by those who may, and told to the end."""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from dataclasses import dataclass, replace
from typing import Any

import pytest

from roommate.domain import UserId
from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Message, Request
from roommate.features.mesh.identity_key import Identity, rotation, words
from roommate.store import Peer, PeerState
from roommate.store.mesh_peers import keeping
from tests.fakes.daemon import MemoryDaemon
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.harness import notice
from tests.mesh.peer import RawPeer
from tests.patience import until
from tests.person import Person, Shown

POLICY = """
version = 1
[limits]
seconds = 60
output_bytes = 1000000
at_once = 3
per_minute = 500
[[allow]]
peers = ["builder"]
rooms = ["*"]
methods = ["ping", "who"]
approval = "none"
[[allow]]
peers = ["builder"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
not_arguments = ["held*"]
arguments = ["*"]
folders = ["*"]
environment = ["GREETING"]
pty = true
stdin = true
approval = "none"
[[allow]]
peers = ["builder"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
arguments = ["*"]
folders = ["*"]
approval = "people"
[[allow]]
peers = ["builder"]
rooms = ["*"]
methods = ["call", "share.put", "share.get", "share.ls"]
tools = ["run_command"]
paths = ["*"]
approval = "none"
"""


@dataclass
class Meeting:
    """A daemon, a person and a peer that is trusted, in a room."""

    bot: MemoryDaemon
    alice: Person
    peer: RawPeer
    room: str

    async def exec(self, *argv: str, **more: Any) -> Request:
        return await self.peer.ask(self.room, "exec", argv=list(argv), **more)

    async def ended(self, asked: Request) -> dict[str, Any]:
        return (await self.peer.reply(asked, lambda one: one.kind in ("result", "refused"))).body

    async def given(self, asked: Request) -> bytes:
        """All that it printed, when it has ended."""
        await self.ended(asked)
        return order_of(self.peer.replies(asked), envelope.digest(asked))

    def policy(self, text: str) -> None:
        (self.bot.state / "policy.toml").write_text(text)

    def kinds(self, asked: Request) -> list[str]:
        return [one.kind for one in self.peer.replies(asked)]

    async def card(self, words: str) -> Shown:
        found = await self.alice.wait(
            lambda: next((one for one in self.bot.said(self.alice, self.room) if words in one.body), None)
        )
        assert found is not None
        return found

    def shown(self) -> list[str]:
        return [one.body for one in self.bot.said(self.alice, self.room)]

    def states(self) -> list[tuple[Any, ...]]:
        with sqlite3.connect(self.bot.state / "roommate.db") as c:
            found = c.execute("SELECT state, outcome FROM mesh_requests ORDER BY id").fetchall()
        c.close()
        return found

    def audited(self, outcome: str) -> list[tuple[str, str]]:
        with sqlite3.connect(self.bot.state / "roommate.db") as c:
            query = "SELECT what, detail FROM audit WHERE outcome=? AND what LIKE 'mesh%' AND room_id=? ORDER BY number"
            found = c.execute(query, (outcome, self.room)).fetchall()
        c.close()
        return found


def trust(bot: MemoryDaemon, peer: RawPeer, state: PeerState = PeerState.PINNED) -> None:
    with sqlite3.connect(bot.state / "roommate.db") as c:
        keeping(Peer(peer.public, UserId(peer.person.user_id), "builder", state))(c)
        c.execute("UPDATE mesh_floor SET issued=0")  # a new state refuses what was asked before it was made
    c.close()


def order_of(pieces: list[Message], digest: str) -> bytes:
    """What the pieces of a reply give, whose chain has to be whole."""
    chain, found = digest, b""
    for number, piece in enumerate(pieces):
        assert piece.seq == number
        assert piece.chain == (chain := envelope.next_chain(chain, piece.body))
        if piece.kind == "output":
            found += base64.b64decode(piece.body["data"])
    return found


async def cancel(met: Meeting, asked: Request) -> None:
    of = envelope.digest(asked)
    await met.peer.send(met.room, met.peer.signed(met.peer.input(asked, 0, of, kind="cancel")), envelope.INPUT)


@pytest.fixture
async def met(bot: MemoryDaemon, person: MakePerson) -> Meeting:
    (bot.state / "policy.toml").write_text(POLICY)
    return await meet(bot, person)


async def meet(bot: MemoryDaemon, person: MakePerson, alice: Person | None = None) -> Meeting:
    alice, builder = alice or await person("alice"), await person("builder")
    room = await bot.room_with(alice, builder)
    await notice(bot, alice, room, "Hello")
    peer = RawPeer(builder, Identity.load(bot.state).public)
    trust(bot, peer)
    return Meeting(bot, alice, peer, room)


async def test_ping_and_who_are_one_event_each_and_no_message(met: Meeting) -> None:
    said = len(met.shown())
    ping = await met.peer.ask(met.room)
    assert (await met.ended(ping))["kind"] == "result"
    asked = await met.peer.ask(met.room, "who")
    assert set((await met.ended(asked))["methods"]) >= {"ping", "who", "exec"}
    assert [met.kinds(one) for one in (ping, asked)] == [["result"], ["result"]]
    assert len(met.shown()) == said


async def test_a_program_runs_its_output_and_its_end_are_told_and_people_see_it(met: Meeting) -> None:
    asked = await met.exec("sh", "-c", 'echo "$GREETING"; echo oops >&2; exit 3', env={"GREETING": "hello"})
    end = await met.ended(asked)
    given = order_of(met.peer.replies(asked), envelope.digest(asked))
    assert sorted(given.split()) == [b"hello", b"oops"]
    assert (end["exit"], end["signal"], end["timed_out"], end["truncated"]) == (3, None, False, False)
    assert (end["bytes"], end["sha256"]) == (len(given), hashlib.sha256(given).hexdigest())
    streams = {one.body["stream"] for one in met.peer.replies(asked) if one.kind == "output"}
    assert streams == {"out", "err"}
    shown = await met.card("exit 3")
    assert "GREETING" in shown.body
    assert words(met.peer.public) in shown.body
    assert ("mesh.exec", f"exit=3 ms={end['ms']} bytes={len(given)} sha256={end['sha256']}") in met.audited("done")


async def test_a_long_one_says_that_it_began_shows_what_it_prints_and_is_cancelled(met: Meeting) -> None:
    asked = await met.exec("sh", "-c", "echo working; exec sleep 1000")
    await met.peer.reply(asked, lambda one: one.kind == "output")
    assert met.kinds(asked)[0] == "started"
    await until(lambda: any("runs" in one and "working" in one for one in met.shown()))
    await cancel(met, asked)
    assert (await met.ended(asked))["code"] == "cancelled"
    await until(lambda: any("took it back" in one for one in met.shown()))


async def test_a_cancel_that_comes_with_the_request_or_right_behind_it_counts(met: Meeting) -> None:
    for _ in range(2):
        asked = met.peer.request(met.room, "exec", argv=["sleep", "1000"])
        cancel = met.peer.input(asked, 0, envelope.digest(asked), kind="cancel")
        await met.peer.send(met.room, met.peer.signed(asked))
        await met.peer.send(met.room, met.peer.signed(cancel), envelope.INPUT)
        assert (await met.ended(asked))["code"] == "cancelled"


async def test_input_goes_in_as_it_was_sent_and_its_end_too(met: Meeting) -> None:
    asked = await met.exec("cat", stdin=True)
    chain = envelope.digest(asked)
    bodies: list[dict[str, Any]] = [{"kind": "data", "data": base64.b64encode(b"one two").decode()}]
    for seq, body in enumerate([*bodies, {"kind": "end"}]):
        piece = met.peer.input(asked, seq, chain, **body)
        chain = piece.chain
        await met.peer.send(met.room, met.peer.signed(piece), envelope.INPUT)
    assert (await met.ended(asked))["exit"] == 0
    assert order_of(met.peer.replies(asked), envelope.digest(asked)) == b"one two"


async def test_input_that_is_forged_changes_nothing_and_input_that_is_missing_ends_it(met: Meeting) -> None:
    asked = await met.exec("cat", stdin=True)
    of = envelope.digest(asked)
    data = {"kind": "data", "data": base64.b64encode(b"evil").decode()}
    mallory = RawPeer(met.peer.person, met.peer.target)
    forged = replace(met.peer.input(asked, 0, of, **data), origin=mallory.public)
    await met.peer.send(met.room, mallory.signed(forged), envelope.INPUT)
    await met.peer.send(met.room, mallory.signed(met.peer.input(asked, 0, of, **data)), envelope.INPUT)
    skipped = met.peer.input(asked, 5, of, kind="data", data="")
    await met.peer.send(met.room, met.peer.signed(skipped), envelope.INPUT)
    assert (await met.ended(asked))["code"] == "failed"
    assert order_of(met.peer.replies(asked), of) == b""


async def test_a_terminal_has_the_size_it_is_given(met: Meeting) -> None:
    asked = await met.exec("sh", "-c", "stty size; read line; stty size", pty={"rows": 11, "columns": 44})
    await met.peer.reply(asked, lambda one: one.kind == "output")
    chain = envelope.digest(asked)
    typed = {"kind": "data", "data": base64.b64encode(b"\n").decode()}
    resize: dict[str, Any] = {"kind": "resize", "rows": 22, "columns": 88}
    for seq, body in enumerate([resize, typed]):
        piece = met.peer.input(asked, seq, chain, **body)
        chain = piece.chain
        await met.peer.send(met.room, met.peer.signed(piece), envelope.INPUT)
    assert (await met.ended(asked))["exit"] == 0
    given = order_of(met.peer.replies(asked), envelope.digest(asked))
    assert given.split() == [b"11", b"44", b"22", b"88"]


async def test_more_output_than_pieces_carry_is_a_file_and_more_than_is_granted_is_cut(met: Meeting) -> None:
    asked = await met.exec("sh", "-c", "yes | head -c 700000")
    end = await met.ended(asked)
    [file] = [one.body for one in met.peer.replies(asked) if one.kind == "file"]
    content = await met.alice.download(file["url"])
    inline = order_of(met.peer.replies(asked), envelope.digest(asked))
    assert (hashlib.sha256(content).hexdigest(), len(content)) == (file["sha256"], file["size"])
    whole = inline + content
    assert whole == b"y\n" * 350_000
    assert (end["sha256"], end["bytes"], end["truncated"]) == (hashlib.sha256(whole).hexdigest(), 700_000, False)
    cut = await met.ended(await met.exec("sh", "-c", "yes | head -c 3000000"))
    assert (cut["bytes"], cut["truncated"], cut["exit"]) == (1_000_000, True, 0)


async def test_time_is_the_lower_of_what_is_asked_and_granted(met: Meeting) -> None:
    end = await met.ended(await met.exec("sleep", "1000", timeout=1))
    assert (end["timed_out"], end["exit"]) == (True, None)


async def test_what_is_held_runs_when_people_say_yes_and_not_when_they_say_no_or_nothing(met: Meeting) -> None:
    yes = await met.exec("sh", "-c", "echo ran", "held-yes")
    held = await met.peer.reply(yes, lambda one: one.kind == "held")
    assert held.body["until"] == yes.expires
    card = await met.card("held-yes")
    await met.alice.react(met.room, card.event_id, "✅")
    assert (await met.ended(yes))["exit"] == 0
    assert met.kinds(yes)[0] == "held"
    await until(lambda: any("exit code 0" in one and "Allowed by" in one and "held-yes" in one for one in met.shown()))

    no = await met.exec("sh", "-c", "echo ran", "held-no")
    card = await met.card("held-no")
    await met.alice.react(met.room, card.event_id, "❌")
    assert (await met.ended(no))["code"] == "not-approved"

    now = met.peer.request(met.room, "exec", argv=["true", "held-late"])
    late = replace(now, expires=now.issued + 2000)
    await met.peer.send(met.room, met.peer.signed(late))
    assert (await met.ended(late))["code"] == "approval-expired"
    assert [kind for one in (no, late) for kind in met.kinds(one)] == ["held", "refused"] * 2


async def test_a_held_request_is_checked_again_when_it_is_released(met: Meeting) -> None:
    asked = await met.exec("sh", "-c", "echo ran", "held-revoked")
    card = await met.card("held-rev")
    trust(met.bot, met.peer, PeerState.REVOKED)
    await met.alice.react(met.room, card.event_id, "✅")
    assert (await met.ended(asked))["code"] == "revoked"
    assert met.kinds(asked) == ["held", "refused"]


async def test_what_is_removed_while_people_decide_is_taken_back(met: Meeting) -> None:
    asked = met.peer.request(met.room, "exec", argv=["true", "held-removed"])
    event = await met.peer.send(met.room, met.peer.signed(asked))
    await met.peer.reply(asked, lambda one: one.kind == "held")
    await met.peer.person.redact(met.room, event)
    assert (await met.ended(asked))["code"] == "cancelled"


async def test_a_copy_edited_or_sent_again_runs_nothing_more(met: Meeting) -> None:
    asked = met.peer.request(met.room, "exec", argv=["sh", "-c", "echo x >> ran.txt"])
    content = met.peer.signed(asked)
    await met.peer.send(met.room, content)
    await met.ended(asked)
    await met.peer.send(met.room, content)
    await met.peer.send(met.room, {"m.new_content": content, "m.relates_to": {"rel_type": "m.replace"}, **content})
    await met.alice.send(met.room, envelope.REQUEST, content)
    end = await met.exec("cat", "ran.txt")
    await met.ended(end)
    assert order_of(met.peer.replies(end), envelope.digest(end)) == b"x\n"
    await until(lambda: len(met.audited("refused")) == 3)


async def test_what_no_rule_grants_is_refused_with_its_code_and_shown(met: Meeting) -> None:
    asked = await met.peer.ask(met.room, "call", tool="write_file", arguments={})
    assert (await met.ended(asked))["code"] == "policy"
    wrong = await met.exec("true", env={"LD_PRELOAD": "x"})
    assert (await met.ended(wrong))["code"] == "policy"
    await until(lambda: any("⛔" in one and "policy" in one for one in met.shown()))
    stranger = RawPeer(met.alice, met.peer.target)
    asked = await stranger.ask(met.room, "exec", argv=["true"])
    assert await stranger.refusal(asked) == "unknown-peer"


async def test_a_file_is_put_listed_and_given_back_and_one_that_was_exchanged_is_not(met: Meeting) -> None:
    content = bytes(range(256)) * 2048
    elsewhere = await met.alice.create_room([])
    event = await met.alice.upload(elsewhere, "a.bin", content)
    sent = await met.alice.wait(lambda: next((one for one in met.alice.seen if one.event_id == event), None))
    assert sent is not None
    url = sent.content["url"]
    sha256 = hashlib.sha256(content).hexdigest()
    part = {"url": url, "sha256": sha256, "size": len(content)}
    asked = await met.peer.ask(met.room, "share.put", path="in/a.bin", size=len(content), sha256=sha256, parts=[part])
    assert (await met.ended(asked))["bytes"] == len(content)
    listed = await met.ended(await met.peer.ask(met.room, "share.ls", path="in"))
    assert listed["entries"] == [{"name": "a.bin", "kind": "file", "size": len(content)}]
    asked = await met.peer.ask(met.room, "share.get", path="in/a.bin")
    end = await met.ended(asked)
    [file] = [one.body for one in met.peer.replies(asked) if one.kind == "file"]
    assert (end["sha256"], await met.alice.download(file["url"])) == (sha256, content)
    assert end["encrypted"] is False
    await until(lambda: sum("not encrypted" in one for one in met.shown()) == 2)
    wrong = {**part, "sha256": "0" * 64}
    asked = await met.peer.ask(
        met.room, "share.put", path="in/b.bin", size=len(content), sha256="0" * 64, parts=[wrong]
    )
    assert (await met.ended(asked))["code"] == "failed"
    assert (await met.ended(await met.peer.ask(met.room, "share.ls", path="in")))["total"] == 1


async def test_a_tool_is_called_as_the_policy_grants(met: Meeting) -> None:
    asked = await met.peer.ask(met.room, "call", tool="run_command", arguments={"command": "echo from-the-tool"})
    end = await met.ended(asked)
    assert end["ok"]
    assert "from-the-tool" in end["text"]


async def test_paused_says_so(daemon: MakeDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    bot = await daemon(OPERATORS=alice.user_id)
    (bot.state / "policy.toml").write_text(POLICY)
    met = await meet(bot, person, alice)
    await met.alice.say(met.room, "!pause")
    await until(lambda: any("aused" in one for one in met.shown()))
    assert (await met.ended(await met.exec("true")))["code"] == "paused"


async def test_no_more_run_at_once_than_is_granted(met: Meeting) -> None:
    running = [await met.exec("sleep", "1000") for _ in range(3)]
    for one in running:
        await met.peer.reply(one, lambda piece: piece.kind == "started")
    assert (await met.ended(await met.exec("true")))["code"] == "busy"
    for one in running:
        await cancel(met, one)
    assert {(await met.ended(one))["code"] for one in running} == {"cancelled"}


async def test_what_runs_ends_when_its_peer_goes_over_to_another_key(met: Meeting) -> None:
    """Nothing could end it any more, since the peer signs by the other key from then on."""
    running = await met.exec("sleep", "1000")
    await met.peer.reply(running, lambda one: one.kind == "started")
    after = RawPeer(met.peer.person, met.peer.target)
    await after.introduce(met.room, rotations=[rotation(met.peer.key, after.key, 1)])
    assert (await met.ended(running))["code"] == "revoked"
    ping = await after.ask(met.room)
    assert (await after.reply(ping, lambda one: one.kind in ("result", "refused"))).kind == "result"


async def test_what_ran_when_the_daemon_ended_is_unknown_and_what_is_held_waits_on(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    bot = await daemon()
    (bot.state / "policy.toml").write_text(POLICY)
    met = await meet(bot, person)
    running = await met.exec("sh", "-c", "echo x >> ran.txt; exec sleep 1000")
    held = await met.exec("sh", "-c", "echo ran", "held-over")
    await met.peer.reply(running, lambda one: one.kind == "started")
    await met.peer.reply(held, lambda one: one.kind == "held")
    await bot.term()
    await bot.start()
    assert (await met.ended(running))["code"] == "unknown"
    card = await met.card("held-over")
    await met.alice.react(met.room, card.event_id, "✅")
    assert (await met.ended(held))["exit"] == 0
    end = await met.exec("cat", "ran.txt")
    await met.ended(end)
    assert order_of(met.peer.replies(end), envelope.digest(end)) == b"x\n"
    assert met.states()[0] == ("done", "unknown")
