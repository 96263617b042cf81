"""A daemon, and the malicious member of its rooms whose key it trusts."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

import pytest

from roommate.features.mesh.envelope import Request
from roommate.store import reading
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon
from tests.mesh.pair import key_of, roommate
from tests.mesh.peer import AMember, RawPeer
from tests.patience import until

JsonObject = dict[str, Any]

ALL = """\
version = 1

[limits]
per_minute = 1000

[[allow]]
peers = ["eve"]
rooms = ["*"]
methods = ["ping", "exec"]
commands = ["*"]
arguments = ["*"]
approval = "none"
"""


@dataclass
class Attacked(Generic[AMember]):
    """A daemon that trusts the key of a member of its rooms."""

    bot: Daemon
    eve: AMember
    peer: RawPeer[AMember]

    @staticmethod
    async def at(bot: Daemon, eve: AMember, policy: str = ALL) -> Attacked[AMember]:
        (bot.state / "policy.toml").write_text(policy)
        peer = RawPeer(eve, await key_of(bot))
        added = await roommate(bot, "trust", "add", peer.public, eve.user_id, "--everywhere", "--name", "eve")
        assert added.code == 0, added.errors
        return Attacked(bot, eve, peer)

    def asks(self, room: str, word: str = "evil") -> Request:
        return self.peer.request(room, "exec", argv=["sh", "-c", f"echo {word} >>/workspace/ran"])

    async def codes(self, events: Mapping[str, str]) -> dict[str, str]:
        """What the audit log says of each of these events, by its name."""

        def found() -> dict[str, str]:
            with reading(self.bot.state) as c:
                rows = c.execute("SELECT via, subject FROM audit WHERE what='mesh.request' AND outcome='refused'")
                codes = dict(rows.fetchall())
            return {name: codes[event] for name, event in events.items() if event in codes}

        with contextlib.suppress(AssertionError):
            await until(lambda: len(found()) == len(events), "the audit log")
        return found()

    async def refuses(self, room: str, contents: Mapping[str, JsonObject], code: str) -> None:
        events = {name: await self.peer.send(room, content) for name, content in contents.items()}
        assert await self.codes(events) == dict.fromkeys(contents, code)

    async def ended(self, asked: Request) -> JsonObject:
        return (await self.peer.reply(asked, lambda one: one.kind in ("result", "refused"))).body

    async def ran(self, room: str) -> int:
        """How many bytes all that ran there has written."""
        asked = await self.peer.ask(room, "exec", argv=["sh", "-c", "cat /workspace/ran 2>/dev/null || true"])
        return int((await self.ended(asked))["bytes"])

    def change(self, query: str, *values: object) -> None:
        with contextlib.closing(sqlite3.connect(self.bot.state / "roommate.db")) as c:
            assert c.execute(query, values).rowcount == 1
            c.commit()


@pytest.fixture
async def attacked(daemon: MakeDaemon, person: MakePerson) -> Attacked:
    return await Attacked.at(await daemon(), await person("eve"))
