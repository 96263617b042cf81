"""What this daemon asks of peers: signed and stored, then sent; its answers verified, kept and waited for, also by the
next daemon of this state folder."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from roommate import logs
from roommate.domain import Deed, DeedOutcome, Draft, JsonObject, Rank, RoomId, UserId
from roommate.errors import ControlError, NotFound, StateError
from roommate.features.mesh import asked_view
from roommate.features.mesh.envelope import (
    INPUT,
    REQUEST,
    Exchange,
    Forged,
    Malformed,
    Request,
    digest,
    new_id,
    new_nonce,
    read_message,
    sign,
    sign_next,
    verify,
)
from roommate.features.mesh.identity_key import Identity
from roommate.features.mesh.reply_checks import Bound, Piece, Position, advance, belongs, is_wanted
from roommate.features.mesh.verification import LIFE_MS
from roommate.host import deadlines
from roommate.rooms.live_message_port import Progress
from roommate.store import AskedRequests, Audit, MeshArrival, Outbox, Peer, Peers
from roommate.store.mesh_asked import KEPT_SECONDS, LOST, Asked, AskedState, Heard
from roommate.store.mesh_events import taking

log = logging.getLogger(__name__)

ANSWER_SECONDS = 240.0
"""How long a request may be on its way, or nobody say what becomes of it."""
GRACE_SECONDS = 60.0
"""So much later than it has to be there an answer is still waited for."""
HOLD = 0.3
"""Seconds before people see that somebody was asked: what is answered sooner is one message."""
CANCELLED_SECONDS = 30.0
LEFT_SECONDS = 0.5
"""Who left may be a daemon that ends: the next one goes on with it."""
LONGEST_SLEEP = 600.0
RETRY_SECONDS = 5.0
MOST_AUDITED = 20
"""Wrong pieces of one reply that the audit log has: whoever sends more of them fills no disk."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked. `seconds` is how long it may run there."""

    room_id: RoomId
    peer: Peer
    method: str
    params: JsonObject
    who: str
    """On whose behalf, for people."""
    seconds: float = 60.0
    subject: str = ""
    """As `Asked` has it: what was asked for it before is not asked again."""
    shown: bool = True
    deed: Deed | None = None
    """What the audit log says of it, once it is stored."""


class Asking:
    """Run `run()`."""

    def __init__(
        self,
        requests: AskedRequests,
        peers: Peers,
        outbox: Outbox,
        progress: Progress,
        audit: Audit,
        *,
        identity: Callable[[], Identity],
        bot: UserId,
        wait_seconds: Callable[[], float],
    ) -> None:
        """`wait_seconds`: how long people at a peer may take to decide."""
        self._requests, self._peers, self._outbox = requests, peers, outbox
        self._progress, self._audit = progress, audit
        self._identity, self._bot, self._wait_seconds = identity, bot, wait_seconds
        self._tasks: asyncio.TaskGroup | None = None
        self._news = asyncio.Event()
        """There is another one to be given up in time."""
        self._changes: dict[str, asyncio.Event] = {}
        self._wrong: dict[str, int] = {}
        self.known: Sequence[Peer] = ()
        """Who was trusted when it was last looked: for what is shown, and never for what is allowed."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            forgotten = -LONGEST_SLEEP
            for asked in await self._requests.open():
                self._tasks.create_task(self._attend(asked))
                if not asked.subject and (asked.params.get("pty") or asked.params.get("stdin")):
                    self.leave(asked.id)  # who would type is gone with the daemon before
            while True:
                self._news.clear()
                try:
                    if (now := time.monotonic()) >= forgotten + LONGEST_SLEEP:
                        await self.look()
                        await self._requests.forget(time.time() - KEPT_SECONDS)
                        forgotten = now
                    sleep = await self._give_up_what_is_over()
                except StateError as error:  # a full disk
                    log.error("%s", error)
                    sleep = RETRY_SECONDS
                with contextlib.suppress(TimeoutError):
                    async with deadlines.within(sleep):
                        await self._news.wait()

    async def _give_up_what_is_over(self) -> float:
        """Gives the seconds until there may be more of it."""
        while (soonest := await self._requests.soonest()) is not None and soonest <= (now := time.time()):
            for asked in await self._requests.open():
                if asked.until <= now:
                    wrong = "; what came in its name does not count, see `audit`" if asked.id in self._wrong else ""
                    await self._lose(asked.id, _no_answer(asked) + wrong)
        return LONGEST_SLEEP if soonest is None else min(max(soonest - time.time(), 0.0), LONGEST_SLEEP)

    # ── Asking ───────────────────────────────────────────────────────────────────────────────────

    async def ask(self, order: Order) -> Asked:
        """Gives the request when it is stored: it is sent in any case then. Raises ControlError, Malformed."""
        if self._tasks is None:
            raise ControlError("the daemon is starting: try again in a minute")
        identity, now = self._identity(), time.time()
        issued = int(now * 1000)
        request = Request(
            room_id=order.room_id,
            sender=self._bot,
            origin=identity.public,
            target=order.peer.key,
            method=order.method,
            params=order.params,
            id=new_id(),
            issued=issued,
            expires=issued + int(self._wait_seconds() * 1000),
            nonce=new_nonce(),
        )
        of = digest(request)
        asked = Asked(
            id=request.id,
            room_id=order.room_id,
            peer=order.peer.key,
            peer_user=order.peer.mxid,
            peer_name=order.peer.name,
            origin=identity.public,
            method=order.method,
            params=order.params,
            digest=of,
            who=order.who,
            subject=order.subject,
            shown=order.shown,
            chain=of,
            sent_chain=of,
            seconds=order.seconds,
            until=now + ANSWER_SECONDS + GRACE_SECONDS,
            asked=now,
        )
        content = sign(identity.signing_key, request)
        deeds = [replace(order.deed, room_id=order.room_id)] if order.deed else []
        kept = await self._requests.add(asked, Draft(order.room_id, content, event_type=REQUEST), deeds)
        if kept.id == asked.id:
            self._progress.wake()
            self._tasks.create_task(self._attend(kept))
            self._news.set()
        return kept

    async def follow(self, id: str) -> AsyncGenerator[JsonObject, None]:
        """The bodies of its reply in order, those of before, too, until the last: a result, a refusal, or what is
        LOST. Raises NotFound."""
        since = 0
        while True:
            change = self._changes.setdefault(id, asyncio.Event())
            asked, bodies = await self._requests.read(id, since)
            if asked is None:
                raise NotFound("nothing of that name was asked")
            for body in bodies:
                yield body
            since += len(bodies)
            if bodies:
                continue
            if asked.result is not None:
                self._changes.pop(id, None)
                if asked.result["kind"] == LOST:
                    yield asked.result
                return
            await change.wait()

    async def say(self, id: str, body: JsonObject) -> int | None:
        """Send input; gives its row of the outbox, None where the request is over."""
        return await self._say(id, body, None)

    async def cancel(self, id: str) -> bool:
        """Ask the peer to end it; its last word is waited for a while. False where it is over."""
        row = await self._say(id, {"kind": "cancel"}, time.time() + CANCELLED_SECONDS)
        self._news.set()
        return row is not None

    def leave(self, id: str) -> None:
        """Nobody waits here any more: it is cancelled, unless the daemon ends."""
        assert self._tasks is not None

        async def cancel() -> None:
            await asyncio.sleep(LEFT_SECONDS)
            with contextlib.suppress(StateError):  # a full disk: it ends there by itself, in time
                await self.cancel(id)

        leaving = cancel()
        try:
            self._tasks.create_task(leaving)
        except RuntimeError:  # the daemon ends
            leaving.close()

    async def look(self) -> None:
        """Others are trusted now."""
        self.known = await self._peers.pinned()

    async def newest(self, most: int) -> Sequence[Asked]:
        return await self._requests.newest(most)

    async def called(self, part: str) -> Sequence[Asked]:
        """Those whose id begins or ends so."""
        return await self._requests.called(part)

    async def _say(self, id: str, body: JsonObject, until: float | None) -> int | None:
        identity = self._identity()

        def make(asked: Asked) -> tuple[Draft, str]:
            of, seq = Exchange(asked.room_id, asked.peer, asked.id, asked.digest), asked.sent_seq
            content, chain = sign_next(
                identity.signing_key, of, INPUT, self._bot, asked.origin, seq, asked.sent_chain, body
            )
            once = f"asked:{asked.id}:{seq}"
            return Draft(asked.room_id, content, event_type=INPUT, once=once), chain

        row = await self._requests.say(id, make, until)
        self._progress.wake()
        return row

    async def sent(self, row: int) -> None:
        """Returns when it has arrived, or can never."""
        await self._outbox.arrived(row)

    # ── Hearing ──────────────────────────────────────────────────────────────────────────────────

    async def hear(self, arrival: MeshArrival) -> None:
        """A piece of a reply, as it came. What is not ours, or wrong, changes nothing."""
        taken = taking(arrival)
        id = arrival.content.get("request")
        asked = await self._requests.get(id) if isinstance(id, str) else None
        if asked is None or asked.is_over:
            return
        try:
            message = read_message(arrival.content)
            key = asked.peer
            if message.origin != key and await self._peers.hands_over(key, message.origin, asked.peer_user):
                key = message.origin
            bound = Bound(asked.id, asked.digest, asked.room_id, asked.origin, key, asked.peer_user)
            belongs(message, bound, arrival.sender, arrival.room_id)
            verify(arrival.content, key, asked.peer_user)
        except (Malformed, Forged) as error:
            await self._refuse(asked, arrival, str(error))
            return
        if not is_wanted(message.seq, Position(asked.seq, asked.chain)):
            return
        piece = message.chain, message.body
        now = await self._requests.hear(asked.id, message.seq, piece, _take, asked_view.ended, taken)
        if now is not None:
            await self._changed(now)

    async def _changed(self, asked: Asked) -> None:
        if change := self._changes.pop(asked.id, None):
            change.set()
        if asked.is_over:
            self._wrong.pop(asked.id, None)
            if asked.message is not None:
                self._progress.forget(asked.message)
            self._progress.wake()
        elif asked.message is not None:
            self._progress.progress(asked.room_id, asked.message, lambda: self._look(asked.id))
        self._news.set()

    async def _refuse(self, asked: Asked, arrival: MeshArrival, why: str) -> None:
        log.warning("a reply to %s of %s does not count: %s", asked.method, asked.id, why)
        self._wrong[asked.id] = count = self._wrong.get(asked.id, 0) + 1
        if count <= MOST_AUDITED:
            deed = Deed(arrival.sender, "mesh", "mesh.reply", DeedOutcome.REFUSED, arrival.room_id, asked.id, why)
            await self._audit.record(deed)

    # ── What people see, and who waits in vain ───────────────────────────────────────────────────

    async def _attend(self, asked: Asked) -> None:
        """See that it is sent, and show it where it is not answered at once."""
        with logs.about(room=asked.room_id):
            try:
                if await self._outbox.arrived(asked.row) is None:
                    await self._lose(asked.id, "the homeserver did not take the request")
                    return
                await asyncio.sleep(HOLD)
                if asked.shown:
                    sign = Draft(asked.room_id, await self._look(asked.id), Rank.SIGN)
                    if await self._requests.show(asked.id, sign) is not None:
                        self._progress.wake()
            except StateError as error:  # a full disk: people see it at its end
                log.error("%s", error)

    async def _look(self, id: str) -> JsonObject:
        asked = await self._requests.get(id)
        assert asked is not None
        draw = asked_view.ended if asked.is_over else asked_view.live
        return draw(asked, await self._requests.tail(id))

    async def _lose(self, id: str, why: str) -> None:
        if asked := await self._requests.end(id, {"kind": LOST, "message": why}, asked_view.ended):
            log.info("%s of %s: %s", asked.method, asked.peer_user, why)
            await self._changed(asked)


def _take(asked: Asked, there: Mapping[int, tuple[str, JsonObject]]) -> Heard:
    pieces = {seq: Piece(chain, body) for seq, (chain, body) in there.items()}
    advanced = advance(Position(asked.seq, asked.chain), pieces)
    heard = Heard(advanced.position.seq, advanced.position.chain, asked.state, asked.until)
    for body in advanced.taken:
        match body:
            # Each once, and held for no longer than any request may be: else a peer would have us wait for ever.
            case {"kind": "held", "until": int(until)} if heard.state is AskedState.SENT:
                ends = min(until / 1000, asked.asked + LIFE_MS / 1000) + GRACE_SECONDS
                heard = replace(heard, state=AskedState.HELD, until=ends)
            case {"kind": "started"} if heard.state is not AskedState.RUNNING:
                ends = time.time() + asked.seconds + GRACE_SECONDS
                heard = replace(heard, state=AskedState.RUNNING, until=ends)
    if advanced.broken:
        return replace(heard, result={"kind": LOST, "message": "a piece of the reply is not what belongs there"})
    return replace(heard, result=advanced.taken[-1]) if advanced.ended else heard


def _no_answer(asked: Asked) -> str:
    if asked.state is AskedState.SENT:
        return f"{asked.peer_name} does not answer"
    if asked.state is AskedState.HELD:
        return f"nobody decided at {asked.peer_name}, and it did not say so"
    return f"{asked.peer_name} did not say how it ended: it may have run"
