"""What operators ask of peers, and whom there is to ask.

What a peer prints is a stream; what is typed to it, or given to it as a file, comes by calls of their own.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from pydantic import Field

from roommate.chat import texts
from roommate.domain import JsonObject, RoomId
from roommate.errors import PeerLost, ToolError
from roommate.features.mesh.ask_and_await import PUT, PeerCalls
from roommate.features.mesh.asking import Asking, Order
from roommate.features.mesh.file_in_parts import IN_THE_OPEN, Parts, PutFile, is_in_the_open
from roommate.features.mesh.identity_key import words
from roommate.features.mesh.policy_file import Place
from roommate.operations import AsOption, Base64, Call, OfRoomOrAll, Params, Table, Unchanged, Who, operation
from roommate.store import Peer
from roommate.store.mesh_asked import Asked
from roommate.text.amounts import size
from roommate.text.printable import in_code, one_line, plain

INPUT_BYTES = 24 << 10
"""Of one event of input."""
SHORT_SECONDS = 60.0
LONGEST_SECONDS = 86_400

Seconds = Annotated[int, Field(ge=1, le=LONGEST_SECONDS, description="How long it may run there.")]
Size = Annotated[int, Field(ge=1, le=9999)]
PeerName = Annotated[
    str, Field(min_length=1, max_length=300, description="Its name here, Matrix id, or the beginning of its words.")
]
RoomOrAny = Annotated[
    str, AsOption(), Field(max_length=300, description="The room; without it, the one that both are in.")
]


class OfPeer(Params):
    peer: PeerName
    room: RoomOrAny = ""


class Pty(Params):
    rows: Size
    columns: Size
    term: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")]


class Exec(OfPeer):
    argv: Annotated[list[str], Field(min_length=1, max_length=4096)]
    cwd: Annotated[str, Field(max_length=4096)] = ""
    env: dict[str, str] = Field(default_factory=dict)
    place: Place = "room"
    timeout: Seconds = 3600
    pty: Pty | None = None
    stdin: bool = False


class CallTool(OfPeer):
    tool: Annotated[str, Field(min_length=1, max_length=200)]
    arguments: dict[str, Any] = Field(default_factory=dict)


class OfFile(OfPeer):
    path: Annotated[str, Field(min_length=1, max_length=4096, description="A path in the peer's room.")]


class InFolder(OfPeer):
    path: Annotated[str, Field(max_length=4096, description="A folder of the peer's room.")] = ""


class OfInput(Params):
    shell: Annotated[str, Field(max_length=64)]


class Typed(OfInput):
    keys: Base64


class Resized(OfInput):
    rows: Size
    columns: Size


@dataclass(frozen=True, slots=True)
class Opened:
    """The first of a stream that takes input: by what name that is sent to it, and which request it is."""

    shell: str
    request: str


@dataclass(frozen=True, slots=True)
class Errors:
    """A piece of what a program printed as errors, in base64; its output is text alone."""

    errors: str


@dataclass(frozen=True, slots=True)
class Told:
    """What people are to know meanwhile."""

    told: str


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. `signal` where one ended it."""

    request: str
    code: int | None
    signal: int | None
    seconds: float
    timed_out: bool
    truncated: bool
    bytes: int


@dataclass(frozen=True, slots=True)
class Known:
    """A peer that is trusted, in a room that it is in."""

    name: str
    user: str
    words: str
    room: RoomId
    room_name: str
    methods: Sequence[str]
    load: int
    version: str
    until: int | None
    """Ms since 1970."""


@dataclass(frozen=True, slots=True)
class Pong:
    peer: str
    version: str
    load: int
    ms: int
    """From asking to the answer."""


class Input(Protocol):
    """Where what is typed or given goes."""

    async def write(self, data: bytes) -> None: ...

    async def end(self) -> None: ...

    async def resize(self, rows: int, columns: int) -> None: ...


@dataclass(frozen=True, slots=True)
class _Program:
    """A program that runs at a peer: what is typed are events, each sent when the one before has arrived."""

    asking: Asking
    request: str

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), INPUT_BYTES):
            await self._say({"kind": "data", "data": base64.b64encode(data[at : at + INPUT_BYTES]).decode()})

    async def end(self) -> None:
        await self._say({"kind": "end"})

    async def resize(self, rows: int, columns: int) -> None:
        await self._say({"kind": "resize", "rows": rows, "columns": columns})

    async def _say(self, body: JsonObject) -> None:
        row = await self.asking.say(self.request, body)
        if row is None:
            raise ToolError("it has ended")
        await self.asking.sent(row)


def _peers_shown(found: Sequence[Known]) -> str:
    if not found:
        return "No trusted daemon is here. `roommate trust ls` shows who has introduced itself."
    return "\n".join(
        f"- **{plain(one.name)}** ({in_code(one.user, 300)}, `{one.words}`)"
        f" offers {', '.join(map(plain, one.methods)) or 'nothing that it has told of'}"
        for one in found
    )


def _peers_table(found: Sequence[Known]) -> Table:
    heads = ("peer", "user", "words", "room", "offers", "load", "until")
    rows = [
        (
            *(one.name, one.user, one.words, one.room_name or one.room, " ".join(one.methods), str(one.load)),
            time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(one.until / 1000)) if one.until else "",
        )
        for one in found
    ]
    return Table(rows, heads)


def _pong_shown(found: Pong) -> str:
    return f"{plain(found.peer)} is there: version {plain(found.version)}, {found.load} running, {found.ms} ms"


def _offers_shown(found: Mapping[str, Any]) -> str:
    """What a peer says of itself is a stranger's text."""
    tools = [one for one in found.get("tools", ()) if isinstance(one, dict)]
    lines = [f"**{plain(str(found.get('peer', '')))}**, version {plain(str(found.get('version', '?')))}, grants you"]
    lines += [f"- {plain(str(one))}" for one in found.get("methods", ())]
    lines += [f"- tool {in_code(str(one.get('name')), 80)}: {plain(one_line(str(one.get('description', '')), 200))}"
              for one in tools]  # fmt: skip
    return "\n".join(lines)


def _listed(found: Mapping[str, Any]) -> str:
    entries = [one for one in found.get("entries", ()) if isinstance(one, dict)]
    names = [f"{one.get('name')}{'/' if one.get('kind') == 'dir' else ''}" for one in entries]
    return "\n".join(f"- {in_code(name, 200)}" for name in names) or "Nothing is there."


def _listed_table(found: Mapping[str, Any]) -> Table:
    entries = [one for one in found.get("entries", ()) if isinstance(one, dict)]
    return Table([(str(one.get("name")), str(one.get("kind")), _size(one.get("size"))) for one in entries])


def _size(count: object) -> str:
    return size(count) if isinstance(count, int) else ""


@dataclass(frozen=True, slots=True)
class PeerOperations:
    """What asks a peer for something is written down with the request, whatever comes of it."""

    calls: PeerCalls
    put_file: PutFile
    largest: Callable[[], Awaitable[int]]
    """Bytes of a file that the homeserver takes."""
    name: Callable[[RoomId], Awaitable[str]]
    """What people call a room."""
    inputs: dict[str, Input] = field(default_factory=dict)
    """Of what runs now, by name. Who opened one knows its name."""

    @operation("mesh.peers", reads=_peers_shown, terminal=_peers_table, who=Who.ANYONE, chat="peers", cli="peers")
    async def peers(self, params: OfRoomOrAll, call: Call) -> Sequence[Known]:
        """Shows the trusted daemons in a room, or everywhere."""
        choice, room = self.calls.choice, call.room
        if room is None:
            found = await choice.everywhere()
            pairs = [(one.peer, one.room_id) for one in found]
        else:
            pairs = [(peer, room) for peer in await choice.here(room)]
        return [
            Known(
                peer.name,
                peer.mxid,
                words(peer.key),
                where,
                await self.name(where),
                peer.methods,
                peer.load,
                peer.version,
                peer.expires,
            )
            for peer, where in pairs
        ]

    @operation("mesh.ping", reads=_pong_shown, audit="mesh.ping", subject=lambda params: params.peer, cli="ping")
    async def ping(self, params: OfPeer, call: Call) -> Unchanged[Pong]:
        """Asks a trusted daemon whether it is there."""
        began = time.monotonic()
        order = await self._order(params, call, "ping", {}, seconds=SHORT_SECONDS, shown=False)
        result = await self.calls.finish(await self.calls.begin(order))
        took = round((time.monotonic() - began) * 1000)
        load = result.get("load")
        version = one_line(str(result.get("version", "?")), 64)
        return Unchanged(Pong(order.peer.name, version, load if isinstance(load, int) else 0, took))

    @operation("mesh.who", reads=_offers_shown, audit="mesh.who", subject=lambda params: params.peer, cli="who")
    async def who(self, params: OfPeer, call: Call) -> Unchanged[JsonObject]:
        """Asks a trusted daemon what it grants this one: methods, and tools with their arguments."""
        order = await self._order(params, call, "who", {}, seconds=SHORT_SECONDS, shown=False)
        return Unchanged({"peer": order.peer.name} | await self.calls.finish(await self.calls.begin(order)))

    @operation("mesh.exec", audit="mesh.exec", subject=lambda params: f"{params.peer}: {params.argv[0]}", seconds=None)
    async def exec(self, params: Exec, call: Call) -> Unchanged[Ended]:
        """Runs a program at a peer, and sends what it prints; leaving ends it."""
        asked_for: JsonObject = {"argv": params.argv, "timeout": params.timeout}
        asked_for |= {"cwd": params.cwd} if params.cwd else {}
        asked_for |= {"place": params.place} if params.place != "room" else {}
        asked_for |= {"env": params.env} if params.env else {}
        asked_for |= {"pty": params.pty.model_dump()} if params.pty else {}
        asked_for |= {"stdin": True} if params.stdin and not params.pty else {}
        order = await self._order(params, call, "exec", asked_for, seconds=params.timeout)
        asked = await self.calls.begin(order)
        with contextlib.ExitStack() as input:
            if params.pty or params.stdin:
                name = input.enter_context(_named(self.inputs, _Program(self.calls.asking, asked.id)))
                await call.tell(Opened(name, asked.id))
            result = await self._streamed(order, asked, call)
        ms = result.get("ms")
        ended = Ended(
            asked.id,
            _whole(result.get("exit")),
            _whole(result.get("signal")),
            ms / 1000 if isinstance(ms, int) else 0.0,
            result.get("timed_out") is True,
            result.get("truncated") is True,
            _whole(result.get("bytes")) or 0,
        )
        return Unchanged(ended)

    @operation("mesh.call", audit="mesh.call", subject=lambda params: f"{params.peer}: {params.tool}", seconds=None)
    async def call(self, params: CallTool, call: Call) -> Unchanged[JsonObject]:
        """Calls a tool of a peer's room, and sends what it prints; gives whether it worked, and its text."""
        asked_for: JsonObject = {"tool": params.tool, "arguments": params.arguments}
        order = await self._order(params, call, "call", asked_for, seconds=LONGEST_SECONDS)
        asked = await self.calls.begin(order)
        return Unchanged(await self._streamed(order, asked, call))

    @operation("mesh.share_put", audit="mesh.share.put", subject=lambda params: f"{params.peer}: {params.path}",
               seconds=None)  # fmt: skip
    async def share_put(self, params: OfFile, call: Call) -> Unchanged[JsonObject]:
        """Gives a file to a peer: what is sent as input is put there."""
        reached = await self.calls.choice.find(params.peer, call.room)
        parts = Parts(reached.room_id, self.put_file, await self.largest())
        with _named(self.inputs, parts) as name:
            await call.tell(Opened(name, ""))
            await parts.ended.wait()
        asked_for = {"path": params.path} | parts.described()
        if is_in_the_open(PUT, asked_for, None):
            await call.tell(Told(IN_THE_OPEN))
        order = self._to(reached.peer, reached.room_id, call, PUT, asked_for, LONGEST_SECONDS)
        asked = await self.calls.begin(order)
        result = await self._streamed(order, asked, call)
        if result.get("sha256") != asked_for["sha256"]:
            raise PeerLost(f"{order.peer.name} says that it has put down something else: its hash is another")
        return Unchanged(result)

    @operation("mesh.share_get", audit="mesh.share.get", subject=lambda params: f"{params.peer}: {params.path}",
               seconds=None)  # fmt: skip
    async def share_get(self, params: OfFile, call: Call) -> Unchanged[JsonObject]:
        """Sends a file of a peer's room."""
        order = await self._order(params, call, "share.get", {"path": params.path}, seconds=LONGEST_SECONDS)
        asked = await self.calls.begin(order)
        result = await self._streamed(order, asked, call)
        if is_in_the_open("share.get", order.params, result):
            await call.tell(Told(IN_THE_OPEN))
        return Unchanged(result)

    @operation(
        "mesh.share_ls",
        reads=_listed,
        terminal=_listed_table,
        audit="mesh.share.ls",
        subject=lambda params: params.peer,
        cli="share ls",
    )
    async def share_ls(self, params: InFolder, call: Call) -> Unchanged[JsonObject]:
        """Lists a folder of a peer's room."""
        asked_for = {"path": params.path} if params.path else {}
        order = await self._order(params, call, "share.ls", asked_for, seconds=SHORT_SECONDS)
        return Unchanged(await self.calls.finish(await self.calls.begin(order)))

    @operation("mesh.type", seconds=None)
    async def type(self, params: Typed, call: Call) -> None:
        """Sends input to what runs at a peer; returns when there may be more."""
        await self._input(params.shell).write(params.keys)

    @operation("mesh.end", seconds=None)
    async def end(self, params: OfInput, call: Call) -> None:
        """Ends that input."""
        await self._input(params.shell).end()

    @operation("mesh.resize")
    async def resize(self, params: Resized, call: Call) -> None:
        """Tells what runs at a peer how large its terminal is."""
        await self._input(params.shell).resize(params.rows, params.columns)

    async def _order(
        self, params: OfPeer, call: Call, method: str, asked_for: JsonObject, *, seconds: float, shown: bool = True
    ) -> Order:
        reached = await self.calls.choice.find(params.peer, call.room)
        return self._to(reached.peer, reached.room_id, call, method, asked_for, seconds, shown=shown)

    def _to(
        self,
        peer: Peer,
        room_id: RoomId,
        call: Call,
        method: str,
        asked_for: JsonObject,
        seconds: float,
        *,
        shown: bool = True,
    ) -> Order:
        return Order(room_id, peer, method, asked_for, call.name, seconds=seconds, shown=shown, deed=call.doing)

    async def _streamed(self, order: Order, asked: Asked, call: Call) -> JsonObject:
        """Its result, after what it prints was sent on."""

        async def take(stream: str, piece: bytes) -> None:
            text = base64.b64encode(piece).decode()
            await call.tell(Errors(text) if stream == "err" else text)

        async def told(body: JsonObject) -> None:
            if body["kind"] == "held":
                await call.tell(Told(f"people at {order.peer.name} are asked first{_until(body.get('until'))}"))

        return await self.calls.finish(asked, take, told)

    def _input(self, name: str) -> Input:
        if name not in self.inputs:
            raise ToolError("it has ended")
        return self.inputs[name]


@contextlib.contextmanager
def _named(inputs: dict[str, Input], one: Input) -> Iterator[str]:
    """What is sent to this name goes to it, as long as the block runs."""
    name = secrets.token_hex(8)
    inputs[name] = one
    try:
        yield name
    finally:
        del inputs[name]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _until(value: object) -> str:
    return f", until {texts.until(value / 1000)}" if isinstance(value, int) and 0 < value < 1 << 48 else ""
