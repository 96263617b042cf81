"""Who this daemon is and whom it believes: its identity, the pins, and what other daemons say of themselves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from roommate import __version__
from roommate.domain import CardKind, Deed, DeedOutcome, Draft, Question, RoomId, UserId
from roommate.errors import MatrixError, StateError
from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Forged, Introduction, Malformed
from roommate.features.mesh.identity_key import Identity, fingerprint, successor, words
from roommate.features.mesh.policy_file import METHODS, PolicyFile
from roommate.host import deadlines
from roommate.rooms.questions import Questions
from roommate.store import (
    Audit,
    Card,
    Database,
    MeshArrival,
    Nonces,
    Peer,
    Peers,
    PeerState,
    Transaction,
    Work,
    mesh_peers,
    outbox,
)
from roommate.text.printable import plain, span

log = logging.getLogger(__name__)

MOST_INTRODUCED = 200
"""Daemons that are not trusted and have said who they are: the oldest is forgotten then."""
MOST_OF_ONE = 3
"""Of these, keys of one account."""
LONGEST_SLEEP = 600.0
"""Seconds, since the clock may be set meanwhile."""
RETRY_SECONDS = 5.0
MOST_CARDS = 5
"""Operators are asked about so many at a time."""


def now_ms() -> int:
    return int(time.time() * 1000)


class Trust:
    def __init__(
        self,
        folder: Path,
        database: Database,
        bot: UserId,
        policy: PolicyFile,
        wake: Callable[[], None],
        members: Callable[[RoomId], Awaitable[set[str]]],
    ) -> None:
        """`folder` is the state folder; `wake` is called when there is something to be sent; `members` gives who is in
        a room, and raises MatrixError."""
        self.peers, self.nonces, self.policy = Peers(database), Nonces(database), policy
        self.bot = bot
        self.load: Callable[[], int] = lambda: 0
        """How many requests of peers run."""
        self.changed: list[Callable[[], Awaitable[object]]] = []
        """Called when somebody is trusted no more, or less: what was granted before is to be checked again."""
        self.folder, self._database, self._wake, self._members = folder, database, wake, members
        self._identity: Identity | None = None
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Tell when somebody's trust ends by itself, for ever."""
        while True:
            self._news.clear()
            try:
                before = now_ms()
                ends = [peer.expires for peer in await self.peers.pinned() if peer.expires and not peer.is_over(before)]
                sleep = min([LONGEST_SLEEP, *((end - before) / 1000 for end in ends)])
                with contextlib.suppress(TimeoutError):
                    async with deadlines.within(sleep):
                        await self._news.wait()
                if any(end <= now_ms() for end in ends):
                    await self._checked_again()
            except StateError as error:  # a full disk
                log.error("%s", error)
                await asyncio.sleep(RETRY_SECONDS)

    @property
    def identity(self) -> Identity:
        """Made when it is needed first. Raises StateError."""
        if self._identity is None:
            self._identity = Identity.load(self.folder)
        return self._identity

    async def rotate(self) -> Identity:
        """Another key from now on. Who trusts the old one is told, and believes the new one."""
        self._identity = await asyncio.to_thread(self.identity.rotated)
        return self._identity

    async def tell(self) -> None:
        """Of a change of what is trusted, or of who we are, that is stored."""
        self._wake()
        self._news.set()
        await self._checked_again()

    async def _checked_again(self) -> None:
        for one in self.changed:
            await one()

    def introduction(self, room_id: RoomId) -> Draft:
        """What tells a room who we are: its state where we may set that, so that who comes later knows it, too."""
        identity = self.identity
        said = Introduction(
            room_id=room_id,
            sender=self.bot,
            origin=identity.public,
            version=__version__,
            methods=list(METHODS),
            load=self.load(),
            issued=now_ms(),
            rotations=list(identity.rotations),
        )
        content = envelope.sign(identity.signing_key, said)
        return Draft(room_id, content, event_type=envelope.INTRODUCTION, state_key=self.bot)

    async def meeting_rooms(self) -> Sequence[RoomId]:
        """Where those that we trust are: in the rooms that they are trusted in, or else in all that we share; as far as
        we are there, too."""
        joined = set(await self._joined())
        found: dict[RoomId, None] = {}
        for peer in await self.peers.pinned():
            found |= dict.fromkeys(await self.rooms_with(peer.mxid) if peer.rooms is None else peer.rooms)
        return [room for room in found if room in joined]

    async def rooms_with(self, mxid: UserId) -> Sequence[RoomId]:
        """Those that we share with that account, as far as the homeserver tells now."""
        shared = []
        for room_id in await self._joined():
            try:
                if mxid in await self._members(room_id):
                    shared.append(room_id)
            except MatrixError as error:
                log.warning("who is in %s is not known, so nobody there is told who this daemon is: %s", room_id, error)
        return shared

    async def _joined(self) -> Sequence[RoomId]:
        rows = await self._database.rows("SELECT room_id FROM rooms WHERE membership='join'")
        return [RoomId(room) for (room,) in rows]


class Introductions:
    """Takes what daemons say of themselves, and asks operators about those that are new."""

    def __init__(self, trust: Trust, database: Database, questions: Questions, control: Callable[[], RoomId]) -> None:
        """`control` gives the operators' room; empty where there is none."""
        self._trust, self._database = trust, database
        self._questions, self._control = questions, control

    async def hear(self, arrival: MeshArrival) -> None:
        """Raises StateError. What is wrong is passed over, and written down where it tries to follow a pinned key."""
        try:
            said = envelope.read_introduction(arrival.content)
            envelope.verify(arrival.content, said.origin, said.sender)
        except (Malformed, Forged) as error:
            log.info("an introduction of %s is passed over: %s", arrival.sender, error)
            return
        bound = (said.room_id, said.sender) == (arrival.room_id, arrival.sender)
        if not bound or said.issued > now_ms() + 30_000 or said.origin == self._trust.identity.public:
            return
        if await self._database.run(lambda c: self._known(c, said)):
            return
        if await self._follow(said, arrival):
            return
        await self._meet(said)

    def _known(self, c: Transaction, said: Introduction) -> bool:
        """Is it one whose key we know? Then what it says of itself is what it said last."""
        peer = mesh_peers.of_key(c, said.origin)
        if peer is None:
            return False
        if peer.mxid == said.sender and said.issued > (peer.introduced or 0):
            mesh_peers.keeping(_described(peer, said))(c)
        return True

    async def _follow(self, said: Introduction, arrival: MeshArrival) -> bool:
        """Has a key that we trust handed over to this one? Then it has all that the other had, and that one nothing."""
        before = {one.key: one for one in await self._trust.peers.pinned()}
        try:
            steps = [successor(one) for one in said.rotations]
        except ValueError as error:
            await self._write_down(said, arrival, f"a rotation is forged: {error}")
            return False
        old = next((before[step[0]] for step in reversed(steps) if step[0] in before), None)
        if old is None:
            return False
        begins = [step[0] for step in steps].index(old.key)
        chain = steps[begins:]
        whole = all(one[1] == two[0] for one, two in itertools.pairwise(chain))
        if not whole or chain[-1][1] != said.origin or old.mxid != said.sender:
            await self._write_down(said, arrival, "a rotation leads elsewhere")
            return False

        def work(c: Transaction) -> bool:
            newest = mesh_peers.of_key(c, old.key)
            if newest is None or newest.state is not PeerState.PINNED:
                return False
            following = dataclasses.replace(
                newest, key=said.origin, by=f"the key {envelope.key_id(old.key)}", changed=now_ms(), introduced=0
            )
            handed = dataclasses.replace(
                newest, state=PeerState.ROTATED, successor=said.origin, changed=now_ms(), name=""
            )
            for one in (handed, _described(following, said)):
                mesh_peers.keeping(one)(c)
            return True

        if await self._database.run(work):
            deed = Deed(
                said.sender, arrival.event_id, "trust.rotate", room_id=arrival.room_id, subject=words(said.origin)
            )
            await Audit(self._database).record(deed)
            await self._trust.tell()
            return True
        return False

    async def _meet(self, said: Introduction) -> None:
        peer = _described(Peer(said.origin, UserId(said.sender), "", PeerState.INTRODUCED, changed=now_ms()), said)
        control = self._control()
        if control and await self._is_worth_a_card(peer):
            await self._questions.put_up(control, asking(peer, RoomId(said.room_id)), along=meeting(peer))
        else:
            await self._database.run(meeting(peer))

    async def _is_worth_a_card(self, peer: Peer) -> bool:
        """One for an account: whoever makes up keys rings once."""
        query = """SELECT (SELECT count(*) FROM cards WHERE what=? AND verdict IS NULL),
                          (SELECT count(*) FROM mesh_peers WHERE mxid=?)"""
        waiting, keys = await self._database.row(query, CardKind.TRUST, peer.mxid)
        return bool(waiting < MOST_CARDS and not keys)

    async def _write_down(self, said: Introduction, arrival: MeshArrival, why: str) -> None:
        if any(one.mxid == said.sender for one in await self._trust.peers.pinned()):
            deed = Deed(
                said.sender,
                arrival.event_id,
                "trust.rotate",
                DeedOutcome.REFUSED,
                arrival.room_id,
                words(said.origin),
                why,
            )
            await Audit(self._database).record(deed)

    async def decide(self, card: Card, choice: str, by: UserId) -> str | None:
        """What an operator has said of one that is new."""
        key, _, room = card.subject.partition(" ")
        if choice != "✅":
            return None
        await self._database.run(pinning(self._trust, key, room=RoomId(room), by=by))
        await self._trust.tell()
        return "`trust ls` shows it"


def meeting(peer: Peer) -> Work[object]:
    """Remember one that is not trusted; not more of them than we have a use for."""

    def work(c: Transaction) -> None:
        if mesh_peers.of_key(c, peer.key):
            return
        mesh_peers.keeping(peer)(c)
        mesh_peers.forget_introduced(c, peer.mxid, MOST_OF_ONE)
        mesh_peers.forget_introduced(c, None, MOST_INTRODUCED)

    return work


def pinning(
    trust: Trust,
    key: str,
    *,
    room: RoomId | None,
    by: str,
    shared: Sequence[RoomId] = (),
    mxid: UserId | None = None,
    name: str = "",
    expires: int | None = None,
) -> Work[Peer | None]:
    """Trust a key in a room besides those that it is trusted in; with None in all, of which we have
    `shared` with it. And tell them who we are. None where the key is not known, and no `mxid` is given; or where it is
    trusted as another account's."""

    def work(c: Transaction) -> Peer | None:
        known = mesh_peers.of_key(c, key)
        if known is None and mxid is None:
            return None
        peer = known or Peer(key, mxid or UserId(""), "", PeerState.INTRODUCED)
        if mxid is not None and peer.mxid != mxid:
            if peer.state is PeerState.PINNED:
                return None
            peer = dataclasses.replace(peer, mxid=mxid)
        pinned = peer.state is PeerState.PINNED
        rooms: tuple[RoomId, ...] | None = None
        if room is not None and not (pinned and peer.rooms is None):
            rooms = tuple(dict.fromkeys((*(peer.rooms or () if pinned else ()), room)))
        taken = {one.name for one in mesh_peers.all_of(c) if one.state is PeerState.PINNED and one.key != key}
        found = dataclasses.replace(
            peer,
            state=PeerState.PINNED,
            rooms=rooms,
            name=_free(name or peer.name or peer.mxid[1:].partition(":")[0], taken),
            expires=expires if expires is not None or not pinned else peer.expires,
            by=by,
            changed=now_ms(),
            successor="",
        )
        mesh_peers.keeping(found)(c)
        outbox.insert(c, [trust.introduction(one) for one in (shared if room is None else [room])])
        return found

    return work


def asking(peer: Peer, room_id: RoomId) -> Question:
    return Question(
        CardKind.TRUST,
        f"**{plain(peer.mxid)}** says in {span(room_id)} that it is a daemon, with this key:\n\n"
        f"- {span(words(peer.key))}\n- {span(fingerprint(peer.key))}\n\n"
        "Compare the words with what `roommate identity` shows there, over another way than this.",
        subject=f"{peer.key} {room_id}",
        operators_only=True,
        hint="✅ trusts it in that room, as far as the policy grants it something.",
        about="a daemon's key",
    )


def _described(peer: Peer, said: Introduction) -> Peer:
    return dataclasses.replace(
        peer,
        version=said.version,
        methods=tuple(said.methods),
        load=said.load,
        introduced=said.issued,
        introduced_in=RoomId(said.room_id),
    )


def _free(name: str, taken: set[str]) -> str:
    """A name that no other has: `policy.toml` calls peers by it."""
    name = "".join(one if one.isalnum() or one in "-_." else "-" for one in name)[:40] or "peer"
    return next(one for one in (name, *(f"{name}-{number}" for number in range(2, len(taken) + 3))) if one not in taken)
