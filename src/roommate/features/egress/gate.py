"""Who decides whether a room may connect to a host: its rules, and where they are silent, its people."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

from roommate.chat.texts import until
from roommate.domain import CardKind, Destination, Program, Question, RoomId, UserId
from roommate.errors import HandLost
from roommate.features.egress import host_rules
from roommate.rooms.question_limit import QuestionLimit
from roommate.text.printable import block, in_code, visible

ONCE, ALWAYS, NO = "✅", "♾", "❌"

WAIT = 600.0
"""Seconds that a request waits for an answer. People are called, and the clock of its command stands still."""
ONCE_SECONDS = 600.0
"""How long a ✅ or a ❌ holds: what a person calls one thing is many connections."""
_MINUTES = f"{ONCE_SECONDS / 60:.0f} minutes"
CARD_SECONDS = 3600.0
SHOWN = 250
"""Characters of what a program calls itself that stand on the card; all that is known of it is in the details."""

Key = tuple[RoomId, str, int]


class EgressStore(Protocol):
    """Where a room's own rules about its way out are kept."""

    async def rules(self, room_id: RoomId) -> Sequence[Destination]: ...

    async def add(self, room_id: RoomId, rule: Destination, by: UserId) -> None: ...

    async def presets(self, room_id: RoomId) -> tuple[str, ...] | None:
        """None where the room has chosen none."""
        ...


class Ask(Protocol):
    """Ask the people of a room."""

    async def __call__(self, room_id: RoomId, question: Question, seconds: float) -> str | None:
        """Put up a card, and wait for the choice, a reaction's key without U+FE0F, so many seconds; None where nobody
        has answered by then. The turn that the question is from waits meanwhile, for everybody to see.

        A card with the same `what` and `subject` that is still open is not put up again. It survives who asked: the
        choice then goes to whoever deals with that `what`.
        """
        ...

    async def unneeded(self, room_id: RoomId, what: str, subjects: Collection[str]) -> None:
        """Nobody has to answer these questions any more."""
        ...


class Gate:
    """Of all rooms. `registries` gives the hosts of the image's package registries; `presets` hold where a room has
    chosen none; `forever` is who may let a room connect to a host for good, as cards say it."""

    def __init__(
        self,
        log: EgressStore,
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
        self._open: dict[Key, float] = {}
        """What people are asked, and until when, as loop.time()."""
        self._verdicts: dict[Key, tuple[bool, float]] = {}
        """What people said for once, and until when, as loop.time()."""
        self._limits: dict[RoomId, QuestionLimit] = {}

    async def refusal(self, room_id: RoomId, host: str, port: int, caller: Callable[[], Awaitable[Program]]) -> str:
        """Why this room may not connect there now; empty when it may. Waits for people where rules are silent, and
        tells them of the `caller`; that may raise HandLost."""
        key = (room_id, host, port)
        if (known := await self._known(key)) is not None:
            return known
        try:
            program = await caller()
        except HandLost:  # it has gone; its next try is answered by what people say now
            program = Program()
        if (known := await self._known(key)) is not None:  # somebody said it while its caller was looked for
            return known
        loop = asyncio.get_running_loop()
        if self._open.get(key, 0) < loop.time():
            if not self._may_ask(room_id):
                return f"{host}:{port} is not allowed in this room, and too many questions about hosts were asked."
            self._open[key] = loop.time() + CARD_SECONDS
        choice = await self._ask(room_id, self._question(host, port, program), self._wait)
        if self._said(key) or host_rules.allowed(await self._rules(room_id), host, port):
            return ""
        if choice is None:
            return (
                f"{host}:{port} is not allowed in this room. People were asked and have not answered yet: "
                "try again when they have, or go on without it."
            )
        if choice == NO:
            return _denied(host, port)
        self._open.pop(key, None)
        return f"{host}:{port} is not allowed in this room: people were asked, and nobody answered. Go on without it."

    async def _known(self, key: Key) -> str | None:
        """What `refusal` gives without asking; None where people have to be asked."""
        room_id, host, port = key
        allowed = host_rules.allowed(await self._rules(room_id), host, port)
        if (said := self._said(key)) is not None:
            return "" if said else _denied(host, port)
        return "" if allowed else None

    async def changed(self, room_id: RoomId) -> None:
        """The room's rules have: what they let out now is asked no more."""
        rules = await self._rules(room_id)
        asked = [key for key in self._open if key[0] == room_id]
        let_out = [f"{host}:{port}" for _, host, port in asked if host_rules.allowed(rules, host, port)]
        for key in asked:
            if f"{key[1]}:{key[2]}" in let_out:
                del self._open[key]
        if let_out:
            await self._ask.unneeded(room_id, CardKind.EGRESS, let_out)

    async def decide(self, room_id: RoomId, subject: str, choice: str, by: UserId) -> str:
        """Do what a person chose on a card; gives what to say of it."""
        host, _, port = subject.rpartition(":")
        key = (room_id, host, int(port))
        loop = asyncio.get_running_loop()
        self._open.pop(key, None)
        if choice == ALWAYS:
            await self._log.add(room_id, Destination(host, int(port)), by)
            self._verdicts.pop(key, None)
            return f"and `!egress remove {subject}` ends it"
        self._verdicts[key] = (choice == ONCE, loop.time() + ONCE_SECONDS)
        return f"until {until(time.time() + ONCE_SECONDS)}"

    async def presets(self, room_id: RoomId) -> tuple[str, ...]:
        chosen = await self._log.presets(room_id)
        return self._presets if chosen is None else chosen

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

    def _question(self, host: str, port: int, program: Program) -> Question:
        command = program.command.strip()
        who, whole = in_code(command, SHOWN) or "Something", len(command) <= SHOWN
        return Question(
            CardKind.EGRESS,
            f"{who} in this room's container wants to connect to `{host}`, port {port}."
            f"{'' if whole else ' More of the command is in the details.'}",
            subject=f"{host}:{port}",
            about=host if port in (80, 443) else f"{host}:{port}",
            hint=f"{ONCE} allows it once, which is for {_MINUTES}, {ALWAYS}\ufe0f for this room from now on"
            f"{' (operators)' if self._forever == 'operators' else ''}, "
            f"{NO} refuses it for {_MINUTES}.",
            choices=(ONCE, ALWAYS, NO),
            seconds=CARD_SECONDS,
            details=None if whole else ("The command", block(visible(command))),
            turn=program.turn,
        )

    def _said(self, key: Key) -> bool | None:
        said = self._verdicts.get(key)
        if said is not None and said[1] < asyncio.get_running_loop().time():
            del self._verdicts[key]
            return None
        return None if said is None else said[0]

    def _may_ask(self, room_id: RoomId) -> bool:
        now = asyncio.get_running_loop().time()
        self._open = {key: until for key, until in self._open.items() if until > now}
        standing = sum(room == room_id for room, _, _ in self._open)
        return self._limits.setdefault(room_id, QuestionLimit()).take(standing, now)


def _denied(host: str, port: int) -> str:
    return f"{host}:{port} is not allowed in this room: people here refused it. Go on without it."
