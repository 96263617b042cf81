"""Who decides whether a room may connect to a host: its rules, and where they are silent, its people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from roommate.chat.texts import until
from roommate.domain import CardKind, Destination, Question, RoomId, UserId
from roommate.errors import HandLost
from roommate.features.egress import host_rules
from roommate.rooms.question_limit import QuestionLimit
from roommate.text.printable import block, in_code, visible

ONCE, ALWAYS, NO = "✅", "♾", "❌"

WAIT = 60.0
"""Seconds that a request waits for an answer."""
ONCE_SECONDS = 600.0
"""How long a ✅ or a ❌ holds: what a person calls one thing is many connections."""
_MINUTES = f"{ONCE_SECONDS / 60:.0f} minutes"
CARD_SECONDS = 3600.0
SHOWN = 250
"""Characters of what a program calls itself that stand on the card; all that is known of it is in the details."""

Key = tuple[RoomId, str, int]


class EgressLog(Protocol):
    """Where a room's own rules about its way out are kept."""

    async def rules(self, room_id: RoomId) -> Sequence[Destination]: ...

    async def add(self, room_id: RoomId, rule: Destination, by: UserId) -> None: ...

    async def presets(self, room_id: RoomId) -> tuple[str, ...] | None:
        """None where the room has chosen none."""
        ...


class Ask(Protocol):
    """Ask the people of a room."""

    async def __call__(self, room_id: RoomId, question: Question) -> str:
        """Put up a card, and wait for the choice: a reaction's key without U+FE0F. Waits for ever: bound it yourself.

        A card with the same `what` and `subject` that is still open is not put up again. It survives who asked: the
        choice then goes to whoever deals with that `what`.
        """
        ...


class Gate:
    """Of all rooms. `registries` gives the hosts of the image's package registries; `presets` hold where a room has
    chosen none; `forever` is who may let a room connect to a host for good, as cards say it."""

    def __init__(
        self,
        log: EgressLog,
        ask: Ask,
        *,
        registries: Callable[[], Awaitable[Sequence[Destination]]],
        presets: Sequence[str] = ("registries",),
        forever: str = "operators",
        wait: float = WAIT,
    ) -> None:
        self._log, self._ask, self.registries = log, ask, registries
        self._presets = tuple(presets)
        self._wait, self._forever = wait, forever
        self._asking: dict[Key, asyncio.Task[None]] = {}
        self._verdicts: dict[Key, tuple[bool, float]] = {}
        """What people said for once, and until when, as loop.time()."""
        self._limits: dict[RoomId, QuestionLimit] = {}

    async def refusal(self, room_id: RoomId, host: str, port: int, caller: Callable[[], Awaitable[str]]) -> str:
        """Why this room may not connect there now; empty when it may. Waits for people where rules are silent, and
        tells them the command line that `caller` gives; it may raise HandLost."""
        key = (room_id, host, port)
        if (said := self._said(key)) is not None:
            return "" if said else _denied(host, port)
        if host_rules.allowed(await self._rules(room_id), host, port):
            return ""
        if key not in self._asking:
            if not self._may_ask(room_id):
                return f"{host}:{port} is not allowed in this room, and too many questions about hosts were asked."
            task = asyncio.create_task(self._ask_people(key, caller), name=f"egress {host}:{port}")
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        await asyncio.wait([self._asking[key]], timeout=self._wait)
        if self._said(key) or host_rules.allowed(await self._rules(room_id), host, port):
            return ""
        if self._said(key) is None:
            return (
                f"{host}:{port} is not allowed in this room. People were asked and have not answered yet: "
                "try again when they have, or go on without it."
            )
        return _denied(host, port)

    async def decide(self, room_id: RoomId, subject: str, choice: str, by: UserId) -> str:
        """Do what a person chose on a card; gives what to say of it."""
        host, _, port = subject.rpartition(":")
        key = (room_id, host, int(port))
        loop = asyncio.get_running_loop()
        if choice == ALWAYS:
            await self._log.add(room_id, Destination(host, int(port)), by)
            self._verdicts.pop(key, None)
            return f"and `!egress remove {subject}` ends it"
        self._verdicts[key] = (choice == ONCE, loop.time() + ONCE_SECONDS)
        return f"until {until(time.time() + ONCE_SECONDS)}"

    async def presets(self, room_id: RoomId) -> tuple[str, ...]:
        chosen = await self._log.presets(room_id)
        return self._presets if chosen is None else chosen

    async def close(self) -> None:
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _rules(self, room_id: RoomId) -> list[Destination]:
        found = list(await self._log.rules(room_id))
        presets = await self.presets(room_id)
        if "all" in presets:
            found.append(host_rules.ALL)
        if "github" in presets:
            found += host_rules.GITHUB
        if "registries" in presets:
            found += await self.registries()
        return found

    async def _ask_people(self, key: Key, caller: Callable[[], Awaitable[str]]) -> None:
        room_id, host, port = key
        try:
            command = (await caller()).strip()
        except HandLost:  # it has gone; its next try is answered by what people say now
            command = ""
        who, whole = in_code(command, SHOWN) or "Something", len(command) <= SHOWN
        try:
            async with asyncio.timeout(CARD_SECONDS):
                await self._ask(
                    room_id,
                    Question(
                        CardKind.EGRESS,
                        f"{who} in this room's container wants to connect to `{host}`, port {port}."
                        f"{'' if whole else ' More of the command is in the details.'}",
                        hint=f"{ONCE} allows it once, which is for {_MINUTES}, {ALWAYS}\ufe0f for this room from now on"
                        f"{' (operators)' if self._forever == 'operators' else ''}, "
                        f"{NO} refuses it for {_MINUTES}.",
                        subject=f"{host}:{port}",
                        choices=(ONCE, ALWAYS, NO),
                        seconds=CARD_SECONDS,
                        details=None if whole else ("The command", block(visible(command))),
                    ),
                )
        except TimeoutError:
            pass  # the card has expired

    def _said(self, key: Key) -> bool | None:
        said = self._verdicts.get(key)
        if said is not None and said[1] < asyncio.get_running_loop().time():
            del self._verdicts[key]
            return None
        return None if said is None else said[0]

    def _may_ask(self, room_id: RoomId) -> bool:
        standing = sum(room == room_id for room, _, _ in self._asking)
        limit = self._limits.setdefault(room_id, QuestionLimit())
        return limit.take(standing, asyncio.get_running_loop().time())


def _denied(host: str, port: int) -> str:
    return f"{host}:{port} is not allowed in this room: people here refused it. Go on without it."
