"""A room's way out without a container: the hand's two ends on this machine, upstream servers on the loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager

import pytest

from roommate.domain import Deed, Destination, Question, RoomId, Usage, UserId
from tests.live_hand import LiveHand, live_hand
from tests.patience import PATIENCE

ROOM = RoomId("!one:example.org")
PERSON = UserId("@person:example.org")


class Memory:
    """`EgressStore`, `UsageStore`, `RepoStore` and `Audit`, without a file."""

    def __init__(self, *rules: Destination) -> None:
        self.kept = list(rules)
        self.chosen: tuple[str, ...] | None = None
        self.counted: list[tuple[str, str, Usage]] = []
        self.repos: list[str] = []
        self.deeds: list[Deed] = []

    async def rules(self, room_id: RoomId) -> Sequence[Destination]:
        return self.kept

    async def add(self, room_id: RoomId, rule: Destination, by: UserId) -> None:
        self.kept.append(rule)

    async def presets(self, room_id: RoomId) -> tuple[str, ...] | None:
        return self.chosen

    async def count(self, room_id: RoomId, agent: str, model: str, usage: Usage) -> None:
        self.counted.append((agent, model, usage))

    async def granted(self, room_id: RoomId, name: str) -> str | None:
        return next((one for one in self.repos if one.lower() == name.lower()), None)

    async def record(self, deed: Deed) -> None:
        self.deeds.append(deed)


class People:
    """`Ask`: remembers what was asked; whoever waits gets what `choose` is given."""

    def __init__(self) -> None:
        self.asked: list[Question] = []
        self.decide: Callable[[RoomId, str, str, UserId], Awaitable[str]] | None = None
        self._choices: dict[str, asyncio.Future[str]] = {}

    async def __call__(self, room_id: RoomId, question: Question, seconds: float) -> str | None:
        if question.subject not in self._choices:
            self.asked.append(question)
        choice = self._choices.setdefault(question.subject, asyncio.get_running_loop().create_future())
        await asyncio.wait([choice], timeout=seconds)
        return choice.result() if choice.done() else None

    async def unneeded(self, room_id: RoomId, what: str, subjects: Collection[str]) -> None:
        for subject in subjects:
            self._choices.pop(subject).set_result("unneeded")

    async def choose(self, subject: str, choice: str) -> str:
        assert self.decide is not None
        said = await self.decide(ROOM, subject, choice, PERSON)
        self._choices.pop(subject).set_result(choice)
        return said


@pytest.fixture
async def hand() -> AsyncIterator[LiveHand]:
    async with live_hand() as live:
        yield live


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(serve: Serve) -> AsyncIterator[int]:
    """A server on the loopback; gives its port."""

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(closing, "127.0.0.1", 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)


async def say(port: int, words: bytes, *, end: bool = False) -> bytes:
    """All that is answered, until the other side closes."""
    reader, writer = await connect(port)
    writer.write(words)
    if end:
        writer.write_eof()
    try:
        async with asyncio.timeout(PATIENCE):
            return await reader.read()
    finally:
        writer.close()
