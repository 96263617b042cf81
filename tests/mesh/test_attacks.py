"""What a malicious member of a real room sends: copied, changed, unsigned, edited and repeated events. Nothing runs."""

from __future__ import annotations

import sqlite3
from typing import Any

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Request
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon
from tests.mesh.pair import key_of, roommate
from tests.mesh.peer import RawPeer
from tests.patience import until

POLICY = """\
version = 1

[[allow]]
peers = ["eve"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
arguments = ["*"]
approval = "none"
"""


def refused(bot: Daemon) -> list[str]:
    """The codes that the audit log has, oldest first."""
    with sqlite3.connect(f"file:{bot.state}/roommate.db?mode=ro", uri=True) as c:
        query = "SELECT subject FROM audit WHERE what='mesh.request' AND outcome='refused' ORDER BY number"
        codes = [str(code) for (code,) in c.execute(query)]
    c.close()
    return codes


async def ended(peer: RawPeer, asked: Request) -> dict[str, Any]:
    return (await peer.reply(asked, lambda one: one.kind in ("result", "refused"))).body


async def test_what_is_not_asked_by_a_trusted_peer_for_this_room_does_not_run(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    bot, eve, mallory = await daemon(), await person("eve"), await person("mallory")
    room, other = await bot.room_with(eve, mallory), await bot.room_with(eve, mallory)
    (bot.state / "policy.toml").write_text(POLICY)
    key = await key_of(bot)
    peer, stranger = RawPeer(eve, key), RawPeer(mallory, key)
    added = await roommate(bot, "trust", "add", peer.public, eve.user_id, "--everywhere", "--name", "eve")
    assert added.code == 0, added.errors

    def asks(word: str) -> Request:
        return peer.request(room, "exec", argv=["sh", "-c", f"echo {word} >>/workspace/ran"])

    asked = asks("once")
    content = peer.signed(asked)
    await peer.send(room, content)
    assert (await ended(peer, asked))["kind"] == "result"

    await peer.send(room, content)  # again, at once
    await stranger.send(room, content)  # by somebody else
    fresh = peer.signed(asks("copied"))
    await stranger.send(room, fresh)  # by somebody else, before it was ever seen
    await peer.send(other, fresh)  # in another room
    await peer.send(room, {**fresh, "signatures": {}})
    await peer.send(room, {**fresh, "params": {"argv": ["sh", "-c", "echo changed >>/workspace/ran"]}})
    first = next(seen.event_id for seen in eve.seen if seen.type == envelope.REQUEST)
    edit = {"rel_type": "m.replace", "event_id": first}
    await peer.send(room, {**fresh, "m.new_content": fresh, "m.relates_to": edit})
    await peer.send(room, {"m.new_content": fresh, "m.relates_to": edit})
    asked = await stranger.ask(room, "exec", argv=["sh", "-c", "echo stranger >>/workspace/ran"])
    assert await stranger.refusal(asked) == "unknown-peer"

    wanted = ["malformed"] * 2 + ["replay", "room", "sender", "sender", "unknown-peer"] + ["signature"] * 2
    await until(lambda: len(refused(bot)) >= len(wanted), "the audit log")
    assert sorted(refused(bot)) == sorted(wanted)
    for where, had in ((room, "once\n"), (other, "")):
        end = await peer.ask(where, "exec", argv=["sh", "-c", "cat /workspace/ran 2>/dev/null || true"])
        assert (await ended(peer, end))["bytes"] == len(had)
