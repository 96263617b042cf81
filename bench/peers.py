"""What a program at another daemon costs beside its events alone, sent and seen by two bare clients; and how fast what
it prints comes, with Synapse's default limits and without any."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.stage import PASSWORD, Figure, Stage, beside, figure
from roommate.cli.streamed_input import streamed
from roommate.control import NAME
from roommate.demo.embedded_synapse import Synapse
from roommate.domain import PEER_REQUEST
from roommate.features.mesh.envelope import REPLY, REQUEST
from tests.harness import Daemon
from tests.mesh.pair import trusts, with_both
from tests.person import JsonObject, Person, Shown

POLICY = """\
version = 1

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
arguments = ["*"]
per_minute = 1000
approval = "none"
"""
MIB = 1 << 20
AT_ONCE = ["seq", "165668"]
"""Prints 1 MiB, but for four bytes."""
SLOWLY = ["sh", "-c", "for n in $(seq 64); do head -c 16384 /dev/zero; sleep 0.1; done"]
"""Prints 1 MiB in 6.4 s and a little."""
PAUSE = 0.1
"""Seconds between two, in which nobody has anything to do."""


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    async with _Pair.at(stage) as pair:
        figures = await _round_trips(stage, pair, rounds)
        figures += await _streams(pair, "no limits")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with Synapse(Path(folder)) as limited:
            account = await limited.register("person", PASSWORD)
            async with (
                await Person.at(limited.url, account.user_id, PASSWORD) as person,
                _Pair.at(replace(stage, synapse=limited, person=person, daemons=[])) as pair,
            ):
                return [*figures, *await _streams(pair, "default limits")]


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two daemons that trust each other, in a room with a person, and where the second one's container runs."""

    laptop: Daemon
    person: Person
    room: str

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, stage: Stage) -> AsyncIterator[_Pair]:
        async with contextlib.AsyncExitStack() as ends:
            laptop, builder = [await stage.daemon(scripted=False) for _ in range(2)]
            for one in (laptop, builder):
                stage.daemons.remove(one)
                ends.push_async_callback(one.discard)
            (builder.state / "policy.toml").write_text(POLICY)
            await asyncio.gather(trusts(laptop, builder, "builder"), trusts(builder, laptop, "laptop"))
            room = await with_both(stage.person, laptop, builder, encrypted=False)
            pair = cls(laptop, stage.person, room)
            await pair.exec(["true"])
            yield pair

    async def exec(self, argv: Sequence[str]) -> _Ran:
        """As the command line asks for it; gives it when people have seen how it ended, too: that comes behind."""
        came: list[tuple[float, int]] = []
        shown = self._shown()

        def take(item: Any) -> None:
            if isinstance(item, str):
                came.append((time.monotonic() - began, len(base64.b64decode(item))))

        params = {"peer": "builder", "room": self.room, "argv": list(argv), "timeout": 100}
        began = time.monotonic()
        ended = await streamed(self.laptop.state / "ipc" / NAME, "mesh.exec", params, None, take)
        seconds = time.monotonic() - began
        assert ended["code"] == 0, ended
        await self.person.wait(lambda: self._shown() == shown + 2, what="what both daemons say of its end")
        await asyncio.sleep(PAUSE)
        return _Ran(seconds, came, ended["request"])

    def sent(self, request: str) -> tuple[list[JsonObject], JsonObject]:
        """The request and all that was replied, as the room has them; and what people were told right behind that."""
        events = [one.content for one in self.person.seen if one.type in (REQUEST, REPLY)]
        told = [one.content for one in self._told() if one.sender != self.laptop.user_id]
        return [one for one in events if request in (one.get("id"), one.get("request"))], told[-1]

    def _shown(self) -> int:
        """How many messages say that something has ended: one of who asked and one of who was asked."""
        return len(self._told())

    def _told(self) -> list[Shown]:
        messages = self.person.messages(self.room)
        return [one for one in messages if one.content.get(PEER_REQUEST, {}).get("state") == "done"]


@dataclass(frozen=True, slots=True)
class _Ran:
    seconds: float
    came: Sequence[tuple[float, int]]
    """When how many bytes came."""
    request: str


async def _round_trips(stage: Stage, pair: _Pair, rounds: int) -> list[Figure]:
    figures: list[Figure] = []
    async with _bare(stage, "asker") as asker, _bare(stage, "answerer") as answerer:
        room = await stage.person.create_room([asker.user_id, answerer.user_id])
        for one in (asker, answerer):
            await one.join(room)
        for argv in (["true"], ["echo", "hello"]):
            what, samples, events = f"`{' '.join(argv)}`", list[list[float]]([[], []]), list[float]()
            for _ in range(rounds):
                ran = await pair.exec(argv)
                sent, told = pair.sent(ran.request)
                samples[0].append(await _sent_and_seen(asker, answerer, room, sent, told))
                samples[1].append(ran.seconds)
                events.append(len(sent))
                await asyncio.sleep(PAUSE)
            baseline = figure(f"the events of {what} alone", samples[0])
            figures += [
                figure(f"events of {what} at another daemon", events, "events"),
                baseline,
                beside(figure(f"{what} at another daemon", samples[1]), baseline, most=1.3),
            ]
    return figures


@contextlib.asynccontextmanager
async def _bare(stage: Stage, name: str) -> AsyncIterator[Person]:
    async with await Person.at(stage.synapse.url, await stage.account(name), PASSWORD) as person:
        yield person


async def _sent_and_seen(
    asker: Person, answerer: Person, room: str, sent: Sequence[JsonObject], told: JsonObject
) -> float:
    """Seconds until the request has gone there by a sync, and what is replied has come back, one after the other. What
    people are told goes right behind that, and nobody waits for it, but the homeserver."""
    request, *replies = sent
    heard, got = len(answerer.seen), len(asker.seen)

    async def answer() -> None:
        await answerer.wait(lambda: any(seen.type == REQUEST for seen in answerer.seen[heard:]))
        for reply in replies:
            await answerer.send(room, REPLY, reply)
        await answerer.send(room, "m.room.message", told)

    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(answer())
        tasks.create_task(asker.send(room, REQUEST, request))
        await asker.wait(lambda: sum(seen.type == REPLY for seen in asker.seen[got:]) == len(replies))
        return time.monotonic() - began


async def _streams(pair: _Pair, limits: str) -> list[Figure]:
    """The last of them when a burst of ten events, where that is all that is allowed, is used up."""
    figures = []
    for argv, what in (
        (AT_ONCE, "1 MiB printed at once"),
        (SLOWLY, "1 MiB printed in 6.4 s"),
        (AT_ONCE, "1 MiB printed at once, behind that"),
    ):
        ran = await pair.exec(argv)
        assert sum(count for _, count in ran.came) > MIB - 100
        figures.append(figure(f"{what}, {limits}", [ran.came[-1][0]], "s"))
        if argv == SLOWLY:
            figures.append(figure(f"the first of it, {limits}", [ran.came[0][0]], "s"))
    return figures
