"""What operators say about trust: who we are, whom we believe, where, until when."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import RoomId, UserId
from roommate.errors import Misused, NotFound
from roommate.features.mesh import envelope
from roommate.features.mesh.identity_key import Identity, fingerprint, words
from roommate.features.mesh.trust import Trust, now_ms, pinning
from roommate.operations import Call, Change, OfRoom, Params, Table, Unchanged, Who, changing, form, operation
from roommate.store import Peer, PeerState, Transaction, mesh_peers, outbox
from roommate.text.printable import plain, span
from roommate.text.qr_code import qr_code

_KEY = re.compile(r"[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]")

PeerName = Annotated[
    str,
    Field(
        min_length=1, max_length=300, title="PEER", description="Its name, its words, its key or the key's beginning."
    ),
]
Room = Annotated[str, Field(max_length=300, description="A room's id, the beginning of one, or a room's name.")]
Everywhere = Annotated[bool, Field(description="In all rooms, instead of one.")]
Days = Annotated[int, Field(ge=0, le=3660, title="DAYS", description="For so many days; 0 is until it is revoked.")]
Name = Annotated[
    str, Field(pattern=r"^[\w.-]{0,40}$", title="NAME", description="What it is called here, and in policy.toml.")
]


class Nothing(Params):
    pass


class Named(Params):
    peer: PeerName


class Approved(Named):
    room: Room = ""
    everywhere: Everywhere = False
    days: Days = 0
    name: Name = ""


class Added(Params):
    key: Annotated[str, Field(title="KEY", description="Its public key, as `roommate identity` shows it there.")]
    mxid: Annotated[str, Field(title="MXID", description="The Matrix account that it speaks with.")]
    room: Room = ""
    everywhere: Everywhere = False
    days: Days = 0
    name: Name = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """Times are seconds since 1970."""

    name: str
    mxid: str
    state: str
    words: str
    fingerprint: str
    key: str
    rooms: Sequence[str] | None
    """None is all."""
    expires: float | None
    version: str
    methods: Sequence[str]
    introduced: float | None
    introduced_in: str | None
    by: str
    changed: float
    successor: str


@dataclass(frozen=True, slots=True)
class Self:
    mxid: str
    key: str
    words: str
    fingerprint: str
    made: float
    """Seconds since 1970."""
    rotations: int


def shown(peer: Peer) -> Shown:
    expired = peer.state is PeerState.PINNED and peer.is_over(now_ms())
    return Shown(
        name=peer.name,
        mxid=peer.mxid,
        state="expired" if expired else peer.state,
        words=words(peer.key),
        fingerprint=fingerprint(peer.key),
        key=peer.key,
        rooms=peer.rooms,
        expires=None if peer.expires is None else peer.expires / 1000,
        version=peer.version,
        methods=peer.methods,
        introduced=None if peer.introduced is None else peer.introduced / 1000,
        introduced_in=peer.introduced_in,
        by=peer.by,
        changed=peer.changed / 1000,
        successor=peer.successor,
    )


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _scope(one: Shown) -> str:
    where = "all rooms" if one.rooms is None else ", ".join(one.rooms)
    return where + (f", until {_day(one.expires)}" if one.expires else "")


def _list(found: Sequence[Shown]) -> str:
    if not found:
        return "No daemon is known. `!introduce` tells a room who this one is."
    rows = [
        f"- **{plain(one.name or one.mxid)}** {one.state}: {span(one.words)}, {plain(one.mxid)}"
        + (f", in {plain(_scope(one))}" if one.state == PeerState.PINNED else "")
        for one in found
    ]
    return "\n".join(rows)


def _table(found: Sequence[Shown]) -> Table | str:
    rows = [(one.name, one.state, one.words, one.mxid, _scope(one) if one.state == PeerState.PINNED else "")
            for one in found]  # fmt: skip
    return Table(rows, ("name", "state", "words", "account", "where")) if rows else "no daemon is known"


def _facts(one: Shown) -> Sequence[tuple[str, str]]:
    rows = [
        ("name", one.name),
        (
            "state",
            one.state + (f", since {_day(one.changed)}" if one.changed else "") + (f", by {one.by}" if one.by else ""),
        ),
        ("account", one.mxid),
        ("words", one.words),
        ("fingerprint", one.fingerprint),
        ("key", one.key),
        ("trusted in", _scope(one) if one.state == PeerState.PINNED else ""),
        ("says", f"version {one.version}, {' '.join(one.methods)}" if one.version else ""),
        ("introduced", f"{_day(one.introduced)} in {one.introduced_in}" if one.introduced else ""),
        ("followed by", words(one.successor) if one.successor else ""),
    ]
    return [(name, text) for name, text in rows if text]


def _one(found: Shown) -> str:
    return Table(_facts(found)).block


def _trusted(found: Shown) -> str:
    return (
        f"**{plain(found.name)}** ({plain(found.mxid)}, {span(found.words)}) is trusted in {plain(_scope(found))}. "
        "What it may do there is in `policy.toml`."
    )


def _self_lines(one: Self) -> Sequence[tuple[str, str]]:
    return [("account", one.mxid), ("words", one.words), ("fingerprint", one.fingerprint), ("key", one.key)]


def _self_terminal(one: Self) -> str:
    width = max(len(name) for name, _ in _self_lines(one))
    rows = "\n".join(f"{name:{width}}  {text}" for name, text in _self_lines(one))
    return f"{rows}\n\n{qr_code(f'roommate:{one.key}:{one.mxid}')}"


class TrustOperations:
    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    @operation(
        "mesh.identity",
        reads=lambda one: Table(_self_lines(one)).block,
        terminal=_self_terminal,
        who=Who.OPERATORS,
        chat="identity",
        cli="identity",
    )
    async def identity(self, params: Nothing, call: Call) -> Self:
        """Shows this daemon's key, for others to compare: four words, a fingerprint, a QR code."""
        return self._self(self._trust.identity)

    @operation("mesh.rotate", reads=lambda one: f"The key is another from now on: {span(one.words)}.",
               audit="identity.rotate", cli="identity rotate")  # fmt: skip
    async def rotate(self, params: Nothing, call: Call) -> Change[Self]:
        """Gives this daemon another key; those that trust the old one follow, since that signs the new one."""
        rooms = await self._trust.meeting_rooms()
        after = await self._trust.rotate()

        def work(c: Transaction) -> Self:
            outbox.insert(c, [self._trust.introduction(room) for room in rooms])
            return self._self(after)

        return Change(work, after=self._trust.tell, subject=words(after.public))

    @operation("mesh.introduce", reads=lambda _: "This room is told who I am.", who=Who.OPERATORS,
               audit="introduce", chat="introduce", cli="introduce")  # fmt: skip
    async def introduce(self, params: OfRoom, call: Call) -> Change[None]:
        """Tells a room this daemon's key, so that operators of others can trust it. It gives no right."""
        draft = self._trust.introduction(call.its_room)
        return changing([lambda c: outbox.insert(c, [draft])], None, after=self._trust.tell)

    @operation("trust.list", reads=_list, terminal=_table, who=Who.OPERATORS, chat="trust", cli="trust ls")
    async def list(self, params: Nothing, call: Call) -> Sequence[Shown]:
        """Lists the daemons that are known, and which of them are trusted."""
        return [shown(one) for one in await self._trust.peers.all()]

    @operation("trust.show", reads=_one, terminal=lambda one: Table(_facts(one)), who=Who.OPERATORS,
               chat="trust show", cli="trust show")  # fmt: skip
    async def show(self, params: Named, call: Call) -> Shown:
        """Shows all that is known of a daemon."""
        return shown(await self._find(params.peer))

    @operation(
        "trust.add",
        reads=_trusted,
        who=Who.OPERATORS,
        audit="trust.add",
        chat=[form("trust add", everywhere=False, days=0, name="")],
        cli="trust add",
    )
    async def add(self, params: Added, call: Call) -> Change[Shown]:
        """Trusts a key that was compared over another way, in a room or everywhere."""
        key, mxid = params.key, params.mxid
        if not _KEY.fullmatch(key) or len(envelope.bytes_of(key)) != 32:
            raise Misused("that is no public key: it has 43 characters, as `roommate identity` shows it")
        if not re.fullmatch(r"@[^\s:]+:\S+", mxid):
            raise Misused(f"{mxid!r} is no Matrix id, such as @roommate:example.org")
        if key == self._trust.identity.public:
            raise Misused("that is this daemon's own key")
        return await self._pinning(key, UserId(mxid), params, call, new=True)

    @operation(
        "trust.approve",
        reads=_trusted,
        who=Who.OPERATORS,
        audit="trust.approve",
        chat=[form("trust approve", everywhere=False, days=0, name="")],
        cli="trust approve",
    )
    async def approve(self, params: Approved, call: Call) -> Change[Shown]:
        """Trusts a daemon that has introduced itself, in a room or everywhere."""
        peer = await self._find(params.peer)
        return await self._pinning(peer.key, peer.mxid, params, call, new=False)

    @operation(
        "trust.revoke",
        reads=lambda one: f"**{plain(one.name or one.mxid)}** ({span(one.words)}) is trusted no more.",
        who=Who.OPERATORS,
        audit="trust.revoke",
        chat="trust revoke",
        cli="trust revoke",
    )
    async def revoke(self, params: Named, call: Call) -> Change[Shown]:
        """Trusts a daemon no more, at once: what it has asked for and what waits for a yes is refused."""
        peer = await self._find(params.peer)

        def work(c: Transaction) -> Shown | Unchanged[Shown]:
            known = mesh_peers.of_key(c, peer.key)
            if known is None or known.state is PeerState.REVOKED:
                return Unchanged(shown(known or peer))
            gone = dataclasses.replace(known, state=PeerState.REVOKED, by=call.name, changed=now_ms())
            mesh_peers.keeping(gone)(c)
            return shown(gone)

        return Change(work, after=self._trust.tell, subject=words(peer.key))

    async def _pinning(
        self, key: str, mxid: UserId, params: Added | Approved, call: Call, *, new: bool
    ) -> Change[Shown]:
        """`new`: the key need not be known."""
        room: RoomId | None = None if params.everywhere else call.room
        if room is None and not params.everywhere:
            raise Misused("name the room that it is trusted in, or say --everywhere")
        expires = now_ms() + params.days * 86_400_000 if params.days else None
        shared = await self._trust.rooms_with(mxid) if room is None else ()

        def work(c: Transaction) -> Shown:
            pin = pinning(
                self._trust,
                key,
                room=room,
                by=call.name,
                shared=shared,
                mxid=mxid if new else None,
                name=params.name,
                expires=expires,
            )
            made = pin(c)
            if made is None:
                raise NotFound("that key is trusted as another account's: `roommate trust revoke` it first")
            return shown(made)

        return Change(work, after=self._trust.tell, subject=words(key))

    async def _find(self, name: str) -> Peer:
        """Raises NotFound, Misused."""
        peers = await self._trust.peers.all()
        for same in (
            [one for one in peers if name in (one.key, words(one.key))],
            [one for one in peers if one.name and one.name == name],
            [one for one in peers if one.mxid == name],
            [one for one in peers if len(name) >= 6 and one.key.startswith(name)],
        ):
            if len(same) == 1:
                return same[0]
            if same:
                raise Misused(f"{name!r} is {len(same)} of them: name it by its words")
        raise NotFound(f"no daemon is known as {name!r}: `roommate trust ls` lists them")

    def _self(self, identity: Identity) -> Self:
        return Self(
            mxid=self._trust.bot,
            key=identity.public,
            words=identity.words,
            fingerprint=identity.fingerprint,
            made=identity.made / 1000,
            rotations=len(identity.rotations),
        )
