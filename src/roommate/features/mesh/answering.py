"""What peers ask of this daemon: verified, decided, a row before it runs, and its end a row before it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from roommate.chat import texts
from roommate.domain import CardKind, Deed, DeedOutcome, Draft, JsonObject, Question, RoomId, UserId
from roommate.errors import Misused, StateError
from roommate.features.mesh import request_view
from roommate.features.mesh.admission import Admission
from roommate.features.mesh.envelope import (
    INPUT,
    Forged,
    Malformed,
    Request,
    digest,
    next_chain,
    read_message,
    verify,
)
from roommate.features.mesh.identity_key import words
from roommate.features.mesh.methods import Method, Methods, Work
from roommate.features.mesh.refusals import Code, Refusal, refusal_body
from roommate.features.mesh.running_requests import RunningRequests, deed_about
from roommate.features.mesh.verification import CLAIMS, START_MS, Accepted
from roommate.rooms.live_message_port import Progress
from roommate.rooms.questions import Questions
from roommate.store import Card, MeshArrival
from roommate.store.mesh_requests import NotNew, PeerRequest, PeerRequests, RequestState

log = logging.getLogger(__name__)

KEPT_SECONDS = 30 * 86_400.0
EVERY = 3600.0
LOOK_SECONDS = 1.0
"""Between two looks at the policy's file: one takes microseconds, and what is new is checked by what it says then."""


class Answering:
    """Run `run()`; give it what comes with `hear_request`, `hear_input` and `hear_redaction`, and with `decide` what
    people choose."""

    def __init__(
        self,
        requests: PeerRequests,
        admission: Admission,
        running: RunningRequests,
        methods: Methods,
        *,
        progress: Progress,
        questions: Questions,
        name: Callable[[RoomId, str], Awaitable[str]],
        is_operator: Callable[[str], bool],
        reply: Callable[[Request, JsonObject], Draft],
        policy: Callable[[], object],
    ) -> None:
        """`reply` makes the only reply to a request, which has no row then; `policy` changes with its file."""
        self._requests, self._admission, self._running, self._methods = requests, admission, running, methods
        self._progress, self._questions = progress, questions
        self._name, self._is_operator, self._reply, self._policy = name, is_operator, reply, policy

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            await self._running.go_on(tasks)
            tasks.create_task(self._follow_policy())
            while True:
                await self._requests.forget(time.time() - KEPT_SECONDS)
                await self._admission.count_untold()
                await asyncio.sleep(EVERY)

    async def _follow_policy(self) -> None:
        """A change counts for what is open as well, once the file is as it stays: editors write it piece by piece."""
        checked = seen = self._policy()
        while True:
            await self._running.some.wait()
            await asyncio.sleep(LOOK_SECONDS)
            if (now := self._policy()) != seen:
                seen = now
            elif seen != checked:
                checked = seen
                with contextlib.suppress(StateError):  # said where it is met
                    await self.recheck()

    async def hear_request(self, arrival: MeshArrival) -> None:
        found = await self._admission.check(arrival)
        try:
            await self._take_or_refuse(arrival, found)
        except NotNew as error:  # another one with its nonce was faster
            await self._admission.refuse(arrival, CLAIMS[error.claim])

    async def _take_or_refuse(self, arrival: MeshArrival, found: Accepted | Refusal) -> None:
        """Raises NotNew."""
        if isinstance(found, Refusal):
            await self._admission.refuse(arrival, found)
            return
        try:
            await self._take(arrival, found)
        except (StateError, NotNew):
            raise
        except Exception:  # who was let in so far hears an end
            log.exception("a request of %s could not be taken", arrival.sender)
            await self._admission.refuse(arrival, Refusal(Code.FAILED), found)

    async def _take(self, arrival: MeshArrival, found: Accepted) -> None:
        request = found.request
        method = self._methods.get(request.method)
        problem = (
            Refusal(Code.UNKNOWN_METHOD) if method is None else await self._admission.against(request, method, found)
        )
        if problem is not None or method is None:
            await self._admission.refuse(arrival, problem or Refusal(Code.UNKNOWN_METHOD), found)
            return
        if method.instant:
            await self._answer_at_once(arrival, request, method, found)
            return
        held = found.decision.approval is not None
        if held and len(request_view.asked_for(request.method, request.params)) > request_view.MOST:
            await self._admission.refuse(arrival, Refusal(Code.PARAMS, "it is too long for people to read"), found)
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
            state=RequestState.HELD if held else self._running.first_state,
            line=found.decision.why,
            came=time.time(),
        )
        card = await self._question(row, found) if held else None
        said = [{"kind": "held", "until": row.expires}] if held else []
        deed = deed_about(row, "mesh.request", DeedOutcome.DONE, "held for people" if held else found.decision.why)
        stored = await self._requests.take(arrival, row, found.claim, said=said, card=card, deeds=[deed])
        if stored is None:
            return
        self._running.begin(stored, found)
        if held:
            self._questions.wake()
            self._progress.wake()

    async def _answer_at_once(
        self, arrival: MeshArrival, request: Request, method: Method[Any], found: Accepted
    ) -> None:
        work = Work(request, found.facts, found.decision.limits.seconds, 0)
        body = {"kind": "result", **await method.do(method.params.model_validate(request.params), work)}
        who = f"{arrival.sender} {words(request.origin)}"
        deed = Deed(who, arrival.event_id, f"mesh.{method.name}", room_id=arrival.room_id)
        await self._requests.answer(arrival, [self._reply(request, body)], [deed], found.claim)
        self._progress.wake()

    async def _question(self, row: PeerRequest, found: Accepted) -> Any:
        who, params = await self._name(row.room_id, row.sender), found.request.params
        seconds = max(1.0, row.expires / 1000 - time.time())
        question = Question(
            CardKind.MESH_REQUEST,
            request_view.question(who, words(row.peer), row.method, params),
            subject=row.digest,
            operators_only=found.decision.approval == "operators",
            seconds=seconds,
            hint=request_view.choices(seconds),
        )
        return self._questions.putting(row.room_id, question, None)

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
            await self._admission.note(arrival, Code.SIGNATURE, str(error))
            return
        running = self._running.of(row)
        if message.kind == "cancel":
            await self._running.stop(row, Code.CANCELLED)
            return
        if message.seq < running.heard:
            return
        chain = next_chain(running.chain or row.digest, message.body)
        if message.seq > running.heard or chain != message.chain:
            await self._admission.note(
                arrival, Code.MALFORMED, "a piece of its input is missing or is not what belongs there"
            )
            await self._running.stop(row, Code.FAILED)
            return
        running.heard, running.chain = message.seq + 1, chain
        if not running.inputs.put(message.body, len(str(message.body))):
            await self._running.stop(row, Code.RATE)

    async def hear_redaction(self, arrival: MeshArrival) -> None:
        """Who removes a request takes it back."""
        if row := await self._requests.of_event(arrival.room_id, str(arrival.content.get("redacts"))):
            await self._running.stop(row, Code.CANCELLED)

    async def decide(self, card: Card, choice: str, by: UserId) -> str | None:
        """What people chose at the card of a request. It is checked anew, as a whole."""
        row = await self._requests.of_card(card.id)
        if row is None or row.digest != card.subject or row.state is not RequestState.HELD:
            return None if row else "but it is over already"
        name = await self._name(row.room_id, by)
        if choice != texts.YES:
            await self._running.end(row, refusal_body(Code.NOT_APPROVED), before=[RequestState.HELD], by=name)
            return None
        found = await self._admission.check_again(row)
        if isinstance(found, Refusal):
            await self._running.end(
                row, refusal_body(found.code), before=[RequestState.HELD], by=name, detail=found.detail
            )
            return None
        if found.decision.approval == "operators" and not self._is_operator(by):
            raise Misused("the policy has changed: operators alone decide about this now")
        deeds = [deed_about(row, "mesh.approve", DeedOutcome.DONE, str(by))]
        now = await self._requests.move(
            row.number,
            [RequestState.HELD],
            RequestState.ACCEPTED,
            by=name,
            show=await self._running.shown(row),
            deeds=deeds,
        )
        self._progress.wake()
        if now is not None:
            self._running.begin(now, found)
        return None

    async def recheck(self) -> None:
        """Trust, the policy or our own key has changed: what is open is checked again, and ended where it would be
        refused now."""
        for row in await self._requests.open():
            found = await self._admission.check_again(row, self._running.facts(row))
            if isinstance(found, Accepted) or found.code is Code.TRY_AGAIN:
                continue
            runs = row.state is RequestState.RUNNING
            if found.code is Code.TARGET:  # our key is another: whoever asked cannot end it any more
                await self._running.stop(row, Code.UNKNOWN if runs else Code.TRY_AGAIN)
            elif not runs or found.code is not Code.EXPIRED:
                await self._running.stop(row, found.code)
