"""What peers ask of this daemon: verified, decided, a row before it runs, and its end a row before it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from roommate import logs
from roommate.chat import texts
from roommate.domain import (
    MESH_REQUEST,
    PEER_REQUEST,
    CardKind,
    Deed,
    DeedOutcome,
    Draft,
    JsonObject,
    Question,
    Rank,
    RoomId,
    UserId,
)
from roommate.errors import HandLost, Misused, RoommateError, StateError, Transient
from roommate.features.mesh import request_view
from roommate.features.mesh.envelope import (
    INPUT,
    REPLY,
    Forged,
    Malformed,
    Message,
    Request,
    digest,
    next_chain,
    read_message,
    read_request,
    sign,
    verify,
)
from roommate.features.mesh.identity_key import Identity, words
from roommate.features.mesh.methods import Inputs, Method, Methods, Work
from roommate.features.mesh.refusals import Code, Refusal
from roommate.features.mesh.verification import START_MS, Accepted
from roommate.matrix import render
from roommate.net.token_bucket import Allowance
from roommate.rooms.card_look import UNNEEDED
from roommate.rooms.live_message_port import Progress
from roommate.rooms.questions import Questions
from roommate.store import Audit, Card, Cards, MeshArrival, Outbox
from roommate.store.mesh_requests import OPEN, PeerRequest, PeerRequests, RequestState

log = logging.getLogger(__name__)

HOLD = 0.3
"""Seconds before people and the asker see that something runs: what ends sooner is said once."""
MOST_OF_ROOM, MOST = 8, 32
"""Requests that run or wait for people at the same time."""
REFUSALS, REFUSALS_PER_SECOND = 20, 1
"""Of a sender in a room that are answered and shown; of the others the audit log has how many there were."""
MOST_SENDERS = 1000
KEPT_SECONDS = 30 * 86_400.0
EVERY = 3600.0
UPLOAD_TRIES = 5
RETRY_SECONDS = 2.0

T = TypeVar("T")


class Verifies(Protocol):
    async def check(self, arrival: MeshArrival, *, released: bool = False) -> Accepted | Refusal:
        """May it be done? Without `released` it counts as seen from now on, for any other event."""
        ...


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[JsonObject] | None = None
    inputs: Inputs = field(default_factory=Inputs)
    heard: int = 0
    """Input that was taken, and the chain there."""
    chain: str = ""
    why: Code | None = None
    """Why it is ended before its time."""
    tail: str = ""
    attended: set[RequestState] = field(default_factory=set)
    """Somebody of this daemon goes on with it from there."""


class Answering:
    """Run `run()`; give it what comes with `hear_request`, `hear_input` and `hear_redaction`, and with `decide` what
    people choose."""

    def __init__(
        self,
        requests: PeerRequests,
        verification: Verifies,
        methods: Methods,
        *,
        outbox: Outbox,
        progress: Progress,
        questions: Questions,
        cards: Cards,
        audit: Audit,
        name: Callable[[RoomId, str], Awaitable[str]],
        paused: Callable[[RoomId], bool],
        is_operator: Callable[[str], bool],
        upload: Callable[[RoomId, bytes, str], Awaitable[JsonObject]],
        reply: Callable[[Request, JsonObject], Draft],
    ) -> None:
        """`reply` makes the only reply to a request, which has no row then."""
        self._requests, self._verification, self._methods = requests, verification, methods
        self._outbox, self._progress, self._audit = outbox, progress, audit
        self._questions, self._cards = questions, cards
        self._name, self._paused, self._upload, self._reply = name, paused, upload, reply
        self._is_operator = is_operator
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[int, _Running] = {}
        self._rates: dict[tuple[str, ...], Allowance] = {}
        self._untold: Counter[tuple[str, RoomId, Code]] = Counter()

    @property
    def load(self) -> int:
        """How many requests run."""
        return sum(one.task is not None for one in self._running.values())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._tasks:
            for row in await self._patiently(self._requests.open):
                running = self._running.get(row.number)
                if row.state is not RequestState.RUNNING:
                    self._begin(row)
                elif running is None or not running.attended:  # one of the daemon before
                    await self._patiently(partial(self._end, row.number, _refusal(Code.UNKNOWN)))
            while True:
                await self._requests.forget(time.time() - KEPT_SECONDS)
                for (sender, room_id, code), count in self._untold.items():
                    deed = Deed(
                        sender, "mesh", "mesh.request", DeedOutcome.REFUSED, room_id, code, f"{count} times more"
                    )
                    await self._audit.record(deed)
                self._untold.clear()
                self._rates.clear()
                await asyncio.sleep(EVERY)

    # ── What comes ───────────────────────────────────────────────────────────────────────────────

    async def hear_request(self, arrival: MeshArrival) -> None:
        found = await self._verification.check(arrival)
        if isinstance(found, Refusal):
            await self._refused(arrival, found)
            return
        try:
            await self._take(arrival, found)
        except StateError:
            raise
        except Exception:  # who was let in so far hears an end
            log.exception("a request of %s could not be taken", arrival.sender)
            await self._refused(arrival, Refusal(Code.FAILED), found)

    async def _take(self, arrival: MeshArrival, found: Accepted) -> None:
        request = found.request
        method = self._methods.get(request.method)
        problem = Refusal(Code.UNKNOWN_METHOD) if method is None else await self._against(request, method, found)
        if problem is not None or method is None:
            await self._refused(arrival, problem or Refusal(Code.UNKNOWN_METHOD), found)
            return
        if method.instant:
            await self._answer_at_once(arrival, request, method, found)
            return
        held = found.decision.approval is not None
        if held and len(request_view.asked_for(request.method, request.params)) > request_view.MOST:
            await self._refused(arrival, Refusal(Code.PARAMS, "it is too long for people to read"), found)
            return
        row = PeerRequest(
            number=0,
            peer=request.origin,
            id=request.id,
            event_id=arrival.event_id,
            room_id=arrival.room_id,
            sender=arrival.sender,
            method=request.method,
            content=arrival.content,
            digest=digest(request),
            expires=request.expires if held else min(request.expires, request.issued + START_MS),
            state=RequestState.HELD if held else RequestState.ACCEPTED,
            line=found.decision.why,
            came=time.time(),
        )
        card = await self._question(row, found) if held else None
        said = [{"kind": "held", "until": row.expires}] if held else []
        deed = self._deed(row, "mesh.request", DeedOutcome.DONE, "held for people" if held else found.decision.why)
        stored = await self._requests.take(arrival, row, said=said, card=card, deeds=[deed])
        if stored is None:
            return
        if held:
            self._questions.wake()
        self._progress.wake()
        self._begin(stored, found)

    async def hear_input(self, arrival: MeshArrival) -> None:
        """Input for what runs. What is wrong with it ends the request, where its peer has signed it; else nothing."""
        try:
            message = read_message(arrival.content)
            row = await self._requests.of_peer(message.origin, message.request)
            if row is None or row.state is RequestState.DONE or message.type != INPUT:
                return
            bound = (row.room_id, row.sender, row.digest, arrival.room_id, arrival.sender)
            if bound != (message.room_id, message.sender, message.digest, message.room_id, message.sender):
                return
            verify(arrival.content, row.peer, row.sender)
        except (Malformed, Forged) as error:
            await self._note(arrival, Code.SIGNATURE, str(error))
            return
        running = self._running.setdefault(row.number, _Running())
        if message.kind == "cancel":
            await self.stop(row, Code.CANCELLED)
            return
        if message.seq < running.heard:
            return
        chain = next_chain(running.chain or row.digest, message.body)
        if message.seq > running.heard or chain != message.chain:
            await self._note(arrival, Code.MALFORMED, "a piece of its input is missing or is not what belongs there")
            await self.stop(row, Code.FAILED)
            return
        running.heard, running.chain = message.seq + 1, chain
        if not running.inputs.put(message.body, len(str(message.body))):
            await self.stop(row, Code.RATE)

    async def hear_redaction(self, arrival: MeshArrival) -> None:
        """Who removes a request takes it back."""
        if row := await self._requests.of_event(arrival.room_id, str(arrival.content.get("redacts"))):
            await self.stop(row, Code.CANCELLED)

    async def decide(self, card: Card, choice: str, by: UserId) -> str | None:
        """What people chose at the card of a request. It is checked anew, as a whole."""
        row = await self._requests.of_card(card.id)
        if row is None or row.digest != card.subject or row.state is not RequestState.HELD:
            return None if row else "but it is over already"
        name = await self._name(row.room_id, by)
        if choice != texts.YES:
            await self._end(row.number, _refusal(Code.NOT_APPROVED), before=[RequestState.HELD], by=name)
            return None
        found = await self._check_again(row)
        if isinstance(found, Refusal):
            await self._end(row.number, _refusal(found.code), before=[RequestState.HELD], by=name, detail=found.detail)
            return None
        if found.decision.approval == "operators" and not self._is_operator(by):
            raise Misused("the policy has changed: operators alone decide about this now")
        deeds = [self._deed(row, "mesh.approve", DeedOutcome.DONE, str(by))]
        now = await self._requests.move(
            row.number, [RequestState.HELD], RequestState.ACCEPTED, by=name, show=await self._shown(row), deeds=deeds
        )
        self._progress.wake()
        if now is not None:
            self._begin(now, found)
        return None

    async def stop(self, row: PeerRequest, why: Code) -> bool:
        """End it, whatever it does; False where it is over."""
        if running := self._running.get(row.number):
            running.why = running.why or why  # it may begin at this very moment
            if running.task is not None:
                running.task.cancel()
                return True
        before = [RequestState.HELD, RequestState.ACCEPTED]
        return await self._end(row.number, _refusal(why), before=before) is not None or running is not None

    async def recheck(self) -> None:
        """Trust or the policy has changed: what is open is checked again, and ended where it would be refused now."""
        for row in await self._requests.open():
            found = await self._check_again(row)
            if isinstance(found, Accepted) or found.code is Code.TRY_AGAIN:
                continue
            if row.state is not RequestState.RUNNING or found.code is not Code.EXPIRED:
                await self.stop(row, found.code)

    async def _answer_at_once(
        self, arrival: MeshArrival, request: Request, method: Method[Any], found: Accepted
    ) -> None:
        work = Work(request, found.facts, found.decision.limits.seconds, 0)
        body = {"kind": "result", **await method.do(method.params.model_validate(request.params), work)}
        who = f"{arrival.sender} {words(request.origin)}"
        deed = Deed(who, arrival.event_id, f"mesh.{method.name}", room_id=arrival.room_id)
        await self._requests.answer(arrival, [self._reply(request, body)], [deed])
        self._progress.wake()

    # ── How it goes on ───────────────────────────────────────────────────────────────────────────

    def _begin(self, row: PeerRequest, found: Accepted | None = None) -> None:
        """`found` is what its check has just said."""
        if self._tasks is None:
            return
        running = self._running.setdefault(row.number, _Running())
        if row.state not in running.attended:  # the start may find what has come just now
            running.attended.add(row.state)
            self._tasks.create_task(self._attend(row, found, running))

    async def _attend(self, row: PeerRequest, found: Accepted | None, running: _Running) -> None:
        with logs.about(room=row.room_id):
            if row.state is RequestState.HELD:
                await asyncio.sleep(max(0.0, row.expires / 1000 - time.time()))
                late = partial(self._end, row.number, _refusal(Code.APPROVAL_EXPIRED), before=[RequestState.HELD])
                await self._patiently(late)
                return
            try:
                await self._do(row, found or await self._check_again(row), running)
            finally:
                self._running.pop(row.number, None)

    async def _do(self, row: PeerRequest, found: Accepted | Refusal, running: _Running) -> None:
        method = self._methods.get(row.method)
        if isinstance(found, Refusal) or method is None:
            refusal = found if isinstance(found, Refusal) else Refusal(Code.UNKNOWN_METHOD)
            await self._patiently(partial(self._end, row.number, _refusal(refusal.code), detail=refusal.detail))
            return
        begin = partial(self._requests.move, row.number, [RequestState.ACCEPTED], RequestState.RUNNING)
        if (now := await self._patiently(begin)) is None:
            return
        body = _refusal(running.why) if running.why else await self._run(now, found, method, running)
        await self._patiently(partial(self._end, row.number, body, before=[RequestState.RUNNING]))

    async def _patiently(self, do: Callable[[], Awaitable[T]]) -> T:
        """On a full disk it waits: each request has an end."""
        while True:
            try:
                return await do()
            except StateError as error:
                log.error("a request waits: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _run(self, row: PeerRequest, found: Accepted, method: Method[Any], running: _Running) -> JsonObject:
        """The last body of its reply."""
        started = asyncio.Lock()
        said = False

        async def start() -> None:
            nonlocal said
            async with started:
                if not said:
                    await self._requests.say(row.number, {"kind": "started"})
                    said = True
                    self._progress.wake()

        async def say(body: JsonObject) -> int | None:
            put = await self._requests.say(row.number, body)
            self._progress.wake()
            return put

        def tail(piece: bytes) -> None:
            running.tail = (running.tail + piece.decode(errors="replace"))[-2 * request_view.TAIL :]
            if method.shown and shown:
                self._progress.progress(row.room_id, shown, lambda: self._look(row.number))

        shown: int | None = row.message

        async def appear() -> None:
            nonlocal shown
            await asyncio.sleep(HOLD)
            with contextlib.suppress(StateError):  # a full disk: it is seen at its end
                await start()
                if method.shown:
                    shown = (await self._requests.show(row.number, await self._shown(row))).message
                    self._progress.wake()
                    tail(b"")

        work = Work(
            request=found.request,
            facts=found.facts,
            seconds=found.decision.limits.seconds,
            output_bytes=found.decision.limits.output_bytes,
            start=start,
            say=say,
            arrived=self._outbox.arrived,
            upload=lambda content, name: self._put_file(row.room_id, content, name),
            tail=tail,
            inputs=running.inputs,
        )
        running.task = asyncio.create_task(self._result(method, work))
        if running.why is not None:
            running.task.cancel()
        appearing = asyncio.create_task(appear())
        try:
            return await running.task
        except asyncio.CancelledError:
            if running.why is None:  # the daemon ends: the next one says that it is unknown
                raise
            return _refusal(running.why)
        except (HandLost, StateError) as error:  # on a full disk it goes no further
            log.warning("request %d: %s", row.number, error)
            return _refusal(Code.UNKNOWN)
        except RoommateError as error:
            return {"kind": "refused", "code": str(Code.FAILED), "message": str(error)[:500]}
        except Exception:
            log.exception("request %d was not done", row.number)
            return _refusal(Code.FAILED)
        finally:
            appearing.cancel()
            await asyncio.wait([appearing])  # and not by itself, whose end could be taken for ours
            running.task = None

    async def _result(self, method: Method[Any], work: Work) -> JsonObject:
        params = method.params.model_validate(work.request.params)
        return {"kind": "result", **await method.do(params, work)}

    async def _end(
        self,
        number: int,
        body: JsonObject,
        *,
        before: Sequence[RequestState] = OPEN,
        by: str = "",
        detail: str = "",
    ) -> PeerRequest | None:
        """It is over, with this as its last word; None where it was before."""
        row = await self._requests.get(number)
        if row is None or row.state not in before:
            return None
        refused = body["kind"] == "refused"
        method = self._methods.get(row.method)
        outcome = DeedOutcome.REFUSED if refused else DeedOutcome.DONE
        how = f"{body.get('code', '')} {detail or body.get('message', '')}".strip() if refused else _summary(body)
        show = await self._shown(row) if method is None or method.shown else None
        now = await self._requests.move(
            number,
            before,
            RequestState.DONE,
            said=[body],
            by=by,
            show=show,
            deeds=[self._deed(row, f"mesh.{row.method}", outcome, how)],
        )
        if now is None:
            return None
        if now.card is not None and not by:
            await self._close(now.card)
        if now.message is not None:
            self._progress.forget(now.message)
        if (running := self._running.get(number)) and running.task is None:
            del self._running[number]
        self._progress.wake()
        return now

    # ── Whether it may ───────────────────────────────────────────────────────────────────────────

    async def _against(self, request: Request, method: Method[Any], found: Accepted) -> Refusal | None:
        room_id = RoomId(request.room_id)
        try:
            method.params.model_validate(request.params)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            return Refusal(Code.PARAMS, f"{'.'.join(map(str, first['loc']))[:100]}: {first['msg'][:200]}")
        per_minute = found.decision.limits.per_minute
        if not self._allow((request.origin, room_id), per_minute, per_minute / 60):
            return Refusal(Code.RATE)
        if self._paused(room_id) and request.method != "ping":
            return Refusal(Code.PAUSED)
        open_now = await self._requests.open()
        of_room = [row for row in open_now if row.room_id == room_id]
        of_peer = sum(row.peer == request.origin for row in of_room)
        if of_peer >= found.decision.limits.at_once or len(of_room) >= MOST_OF_ROOM or len(open_now) >= MOST:
            return Refusal(Code.BUSY)
        return None

    def _allow(self, key: tuple[str, ...], burst: int, rate: float) -> bool:
        if len(self._rates) > MOST_SENDERS:
            self._rates.clear()
        bucket = self._rates.setdefault(key, Allowance(burst, rate))
        allowed = bucket.take(1, time.monotonic())
        bucket.used(allowed)
        return bool(allowed)

    async def _check_again(self, row: PeerRequest) -> Accepted | Refusal:
        """As when it came, by what is true now."""
        arrival = MeshArrival(
            0, row.event_id, row.room_id, row.sender, int(row.came * 1000), MESH_REQUEST, row.content, None
        )
        found = await self._verification.check(arrival, released=True)
        if isinstance(found, Refusal):
            return found
        if digest(found.request) != row.digest:
            return Refusal(Code.SIGNATURE, "it is not the request that was stored")
        if row.state is RequestState.ACCEPTED and not row.decided_by and row.expires <= time.time() * 1000:
            return Refusal(Code.EXPIRED, "it did not begin in time")
        return found

    async def _refused(self, arrival: MeshArrival, refusal: Refusal, found: Accepted | None = None) -> None:
        """Written down, answered where the code says so, and shown where the peer is one of ours."""
        deeds = self._noted(arrival, refusal.code, refusal.detail)
        if not refusal.code.is_told or not self._allow(("refused", arrival.sender, arrival.room_id), REFUSALS, 1):
            await self._requests.answer(arrival, [], deeds)
            return
        request = found.request if found else read_request(arrival.content)
        drafts = [self._reply(request, _refusal(refusal.code))]
        if found is not None or refusal.code is Code.POLICY:
            who = await self._name(arrival.room_id, arrival.sender)
            said = request_view.refused(who, request.method, refusal.code)
            drafts.append(Draft(arrival.room_id, render.content(said, notice=True), once=f"mesh-no:{arrival.event_id}"))
        await self._requests.answer(arrival, drafts, deeds)
        self._progress.wake()

    async def _note(self, arrival: MeshArrival, code: Code, detail: str) -> None:
        for deed in self._noted(arrival, code, detail):
            await self._audit.record(deed)

    def _noted(self, arrival: MeshArrival, code: Code, detail: str) -> list[Deed]:
        """What the audit log says of it: nothing where others talk to each other, and of many a count later."""
        if code is Code.TARGET:
            return []
        if not self._allow(("audit", arrival.sender, arrival.room_id), REFUSALS, REFUSALS_PER_SECOND):
            self._untold[arrival.sender, arrival.room_id, code] += 1
            return []
        log.warning("a request of %s is refused: %s %s", arrival.sender, code, detail)
        return [
            Deed(arrival.sender, arrival.event_id, "mesh.request", DeedOutcome.REFUSED, arrival.room_id, code, detail)
        ]

    # ── What people see ──────────────────────────────────────────────────────────────────────────

    async def _question(self, row: PeerRequest, found: Accepted) -> Any:
        who, params = await self._name(row.room_id, row.sender), found.request.params
        question = Question(
            CardKind.MESH_REQUEST,
            request_view.question(who, words(row.peer), row.method, params),
            subject=row.digest,
            operators_only=found.decision.approval == "operators",
            seconds=max(1.0, row.expires / 1000 - time.time()),
            hint="✅ runs it here once.",
        )
        return self._questions.putting(row.room_id, question, None)

    async def _shown(self, row: PeerRequest) -> Callable[[PeerRequest], Draft]:
        who = await self._name(row.room_id, row.sender)

        def show(now: PeerRequest) -> Draft:
            tail = running.tail if (running := self._running.get(now.number)) else ""
            content = render.content(request_view.look(now, who, words(now.peer), tail), notice=True)
            content[PEER_REQUEST] = {"state": "done" if now.state is RequestState.DONE else "open"}
            return Draft(now.room_id, content, Rank.ANSWER, edits=now.message)

        return show

    async def _look(self, number: int) -> JsonObject:
        row = await self._requests.get(number)
        assert row is not None
        return (await self._shown(row))(row).content

    async def _close(self, number: int) -> None:
        """Nobody need answer its card, which says how it ended."""
        if (card := await self._cards.of(number)) and await self._cards.close(card, UNNEEDED, None):
            self._questions.chosen(card, UNNEEDED)

    async def _put_file(self, room_id: RoomId, content: bytes, name: str) -> JsonObject:
        for failed in range(UPLOAD_TRIES):
            try:
                return await self._upload(room_id, content, name)
            except Transient as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(error.retry_after or 2**failed)
        return await self._upload(room_id, content, name)

    def _deed(self, row: PeerRequest, what: str, outcome: DeedOutcome, detail: str) -> Deed:
        argv = row.content.get("params", {}).get("argv")
        subject = f"{row.method} {argv[0]}" if isinstance(argv, list) and argv else row.method
        return Deed(f"{row.sender} {words(row.peer)}", row.event_id, what, outcome, row.room_id, subject, detail)


def replying(identity: Callable[[], Identity], bot: UserId) -> Callable[[PeerRequest, JsonObject], tuple[Draft, str]]:
    """Makes the next reply to a request."""

    def answer(row: PeerRequest, body: JsonObject) -> tuple[Draft, str]:
        key = identity()
        chain = next_chain(row.chain, body)
        message = Message(
            type=REPLY,
            room_id=row.room_id,
            sender=bot,
            origin=key.public,
            target=row.peer,
            request=row.id,
            digest=row.digest,
            seq=row.seq,
            chain=chain,
            body=body,
        )
        return Draft(row.room_id, sign(key.signing_key, message), event_type=REPLY), chain

    return answer


def replying_once(identity: Callable[[], Identity], bot: UserId) -> Callable[[Request, JsonObject], Draft]:
    """Makes the one reply to a request that is answered as it comes, once however often it is made."""

    def reply(request: Request, body: JsonObject) -> Draft:
        key, of = identity(), digest(request)
        message = Message(
            type=REPLY,
            room_id=request.room_id,
            sender=bot,
            origin=key.public,
            target=request.origin,
            request=request.id,
            digest=of,
            seq=0,
            chain=next_chain(of, body),
            body=body,
        )
        content = sign(key.signing_key, message)
        return Draft(RoomId(request.room_id), content, event_type=REPLY, once=f"mesh-reply:{of}")

    return reply


def _refusal(code: Code) -> JsonObject:
    return {"kind": "refused", "code": str(code), "message": code.meaning}


def _summary(body: JsonObject) -> str:
    return " ".join(
        f"{name}={body[name]}" for name in ("exit", "signal", "ms", "bytes", "sha256") if body.get(name) is not None
    )
