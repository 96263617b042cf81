"""The rooms that the bot is in: which there are, how one of them is, who may do what there, and leaving."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from roommate.chat import texts
from roommate.domain import AgentUsage, EventId, RoomId, Usage, UserId
from roommate.operations import Call, OfRoom, Params, Table, Who, operation
from roommate.rooms.membership import Doors
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.rooms.turn_holds import Holds
from roommate.settings.config import Settings
from roommate.store import AgentUsages, Inbox, RoomRow, Turn, Turns
from roommate.store import Rooms as RoomStore
from roommate.text import amounts
from roommate.text.printable import plain


@dataclass(frozen=True, slots=True)
class RoomLine:
    """A room at a glance. `members` counts the bot."""

    room_id: RoomId
    name: str
    members: int
    model: str
    encrypted: bool
    paused: str
    """By whom, empty when it is not."""
    turns: Sequence[int]
    """Those that run, the newest last."""
    waiting: int
    container: bool
    """It is up."""


@dataclass(frozen=True, slots=True)
class Running:
    """A turn that runs: for how long, and in which thread; None is the main timeline."""

    turn: int
    asked_by: UserId
    thread: EventId | None
    seconds: float


@dataclass(frozen=True, slots=True)
class RoomView:
    """A room at length. Tokens and cost (US dollars, None where no price is known) are of all its turns."""

    line: RoomLine
    running: Sequence[Running]
    sandbox: str
    prompt: str
    turns: int
    tokens: int
    cost: float | None
    agents: Sequence[AgentUsage]
    names: Mapping[str, str]
    """What the room calls those that are named here, as Markdown."""


@dataclass(frozen=True, slots=True)
class Rights:
    """`allowed` are globs, and `may` is what the one who asks may do."""

    operators: Sequence[str]
    allowed: Sequence[str]
    may: str
    members: int


def _listed(rooms: Sequence[RoomLine]) -> str:
    lines = []
    for line in rooms:
        about = [
            f"{line.members} members",
            *(f"turn {turn}" for turn in line.turns),
            f"{line.waiting} waiting" if line.waiting else "",
            "container up" if line.container else "",
            f"paused by {line.paused}" if line.paused else "",
        ]
        lines.append(f"- {plain(line.name) or 'no name'} (`{line.room_id}`): {', '.join(filter(None, about))}")
    return "\n".join(lines)


def _table(rooms: Sequence[RoomLine]) -> Table:
    rows = [
        (
            line.room_id,
            line.name,
            str(line.members),
            ", ".join(map(str, line.turns)),
            str(line.waiting or ""),
            "up" if line.container else "",
            line.model,
            f"by {line.paused}" if line.paused else "",
        )
        for line in rooms
    ]
    return Table(rows, ("room", "name", "members", "turns", "waiting", "container", "model", "paused"))


def _shown(room: RoomView) -> str:
    line = room.line
    return "\n".join(
        (
            *([f"- paused by {room.names[line.paused]}"] if line.paused else ()),
            *([_runs(room, one) for one in room.running] or ["- turn: none runs"]),
            f"- waiting: {line.waiting}",
            f"- {'🔒 encrypted' if line.encrypted else 'not encrypted'}",
            f"- model: `{line.model}`",
            f"- sandbox: {room.sandbox}",
            f"- so far: {room.turns} turn{'' if room.turns == 1 else 's'}, {texts.spent(_used(room))}",
            *(f"- {one.agent} with `{one.model or 'a model'}`: {texts.spent(one.usage)}" for one in room.agents),
        )
    )


def _runs(room: RoomView, one: Running) -> str:
    thread = f" in [a thread](https://matrix.to/#/{quote(room.line.room_id)}/{quote(one.thread)})" if one.thread else ""
    return f"- turn: number {one.turn} for {room.names[one.asked_by]}{thread}, {texts.seconds(one.seconds)} so far"


def _used(room: RoomView) -> Usage:
    return Usage(room.tokens, 0, room.cost)


def _at_length(room: RoomView) -> Table:
    line = room.line
    rows = [
        ("room", line.room_id),
        ("name", line.name),
        ("members", f"{line.members}, the bot among them"),
        ("encrypted", "yes" if line.encrypted else "no"),
        ("paused", f"by {line.paused}" if line.paused else "no"),
        *(
            ("turn", f"{one.turn} for {one.asked_by}{' in a thread' if one.thread else ''}, {amounts.age(one.seconds)}")
            for one in room.running
        ),
        ("waiting", str(line.waiting)),
        ("model", line.model),
        ("prompt", room.prompt or "none of its own"),
        ("sandbox", room.sandbox),
        ("so far", f"turns: {room.turns}, tokens: {room.tokens} {amounts.cost(room.cost)}".rstrip()),
    ]
    for one in room.agents:
        tokens = one.usage.input_tokens + one.usage.output_tokens
        rows.append(("agent", f"{one.agent} with {one.model}: {one.requests} requests, {tokens} tokens"))
    return Table(rows)


def _rights(rights: Rights) -> str:
    operators = ", ".join(f"`{one}`" for one in rights.operators) or "nobody"
    allowed = ", ".join(f"`{one}`" for one in rights.allowed)
    return (
        f"- operators: {operators}\n- may ask me: {allowed}, and operators\n"
        f"- you are {rights.may}; {rights.members} members here"
    )


@dataclass(frozen=True, slots=True)
class Rooms:
    rooms: RoomStore
    inbox: Inbox
    turns: Turns
    agent_usages: AgentUsages
    holds: Holds
    sandboxes: Sandboxes
    doors: Doors
    settings: Callable[[], Settings]
    name: Callable[[RoomId, str], Awaitable[str]]
    """What people call somebody in a room."""

    @operation("rooms.list", reads=_listed, terminal=_table, who=Who.OPERATORS, chat="rooms", cli="rooms ls")
    async def list(self, params: Params, call: Call) -> Sequence[RoomLine]:
        """Shows the rooms that the bot is in: what runs, what waits, what is paused."""
        queues = await self.inbox.queues()
        running = await self.turns.running()
        return [self._line(row, running, queues.get(row.room_id, 0)) for row in await self.rooms.all()]

    @operation("rooms.show", reads=_shown, terminal=_at_length, who=Who.ANYONE, chat="status", cli="rooms show")
    async def show(self, params: OfRoom, call: Call) -> RoomView:
        """Says what runs in a room, what waits, the model, the sandbox and the cost so far."""
        row = await self.rooms.get(call.its_room)
        running = await self.turns.unfinished(row.room_id)
        spending = await self.turns.spending(row.room_id)
        line = self._line(row, running, await self.inbox.count_queued(row.room_id))
        named = {line.paused, *(turn.asked_by for turn in running)} - {""}
        return RoomView(
            line=line,
            running=[Running(turn.id, turn.asked_by, turn.thread, time.time() - turn.started) for turn in running],
            sandbox=await self.sandboxes.describe(row.room_id),
            prompt=row.prompt or "",
            turns=spending.turns,
            tokens=spending.usage.input_tokens + spending.usage.output_tokens,
            cost=spending.usage.cost,
            agents=await self.agent_usages.of(row.room_id),
            names={who: await self.name(row.room_id, who) for who in named},
        )

    @operation("rooms.leave", audit="room.leave", cli="rooms leave")
    async def leave(self, params: OfRoom, call: Call) -> str:
        """Has the bot leave a room: its container goes, its files stay."""
        await self.doors.leave(call.its_room, "an operator sent me away")
        return "The bot leaves the room."

    @operation("rooms.who", reads=_rights, who=Who.ANYONE, chat="who", cli="rooms who")
    async def who(self, params: OfRoom, call: Call) -> Rights:
        """Says who may do what in a room."""
        settings, row = self.settings(), await self.rooms.get(call.its_room)
        may = {Who.HOST: "on the host", Who.OPERATORS: "an operator", Who.ANYONE: "one of those who may ask"}[call.may]
        return Rights(settings.operator_ids, settings.allowed_globs, may, row.joined)

    def _line(self, row: RoomRow, running: Sequence[Turn], waiting: int) -> RoomLine:
        pause = self.holds.of(row.room_id)
        return RoomLine(
            room_id=row.room_id,
            name=row.name or "",
            members=row.joined,
            model=row.model or self.settings().llm_model,
            encrypted=row.encrypted,
            paused=pause.by if pause else "",
            turns=[turn.id for turn in running if turn.room_id == row.room_id],
            waiting=waiting,
            container=self.sandboxes.up(row.room_id),
        )
