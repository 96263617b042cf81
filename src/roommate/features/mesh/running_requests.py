"""Peers' requests that were taken: each runs at most once, and its end is a row before it is told."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from roommate import logs
from roommate.domain import PEER_REQUEST, Deed, DeedOutcome, Draft, JsonObject, Rank, RoomId
from roommate.errors import HandLost, RoommateError, StateError, Transient
from roommate.features.mesh import request_view
from roommate.features.mesh.admission import Admission
from roommate.features.mesh.identity_key import words
from roommate.features.mesh.methods import Inputs, Method, Methods, Work
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.refusals import Code, Refusal, refusal_body
from roommate.features.mesh.verification import Accepted
from roommate.host import deadlines
from roommate.matrix import render
from roommate.rooms.card_look import UNNEEDED
from roommate.rooms.live_message_port import Progress
from roommate.rooms.questions import Questions
from roommate.store import Cards, Outbox
from roommate.store.mesh_requests import OPEN, PeerRequest, PeerRequests, RequestState

log = logging.getLogger(__name__)

HOLD = 0.3
"""Seconds before people and the asker see that something runs: what ends sooner is said once."""
UPLOAD_TRIES = 5
MOST_UPLOADS = 2
"""Requests whose output is uploaded at a time."""
RETRY_SECONDS = 2.0

T = TypeVar("T")


@dataclass(slots=True)
class Running:
    task: asyncio.Task[JsonObject] | None = None
    inputs: Inputs = field(default_factory=Inputs)
    heard: int = 0
    """Input that was taken, and the chain there."""
    chain: str = ""
    why: Code | None = None
    """Why it is ended before its time."""
    tail: str = ""
    at_end: list[JsonObject] = field(default_factory=list)
    """What is said before the last body, with it."""
    facts: Facts | None = None
    """What was judged, of one that runs."""
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    """It waits for people no more."""
    attended: set[RequestState] = field(default_factory=set)
    """Somebody of this daemon goes on with it from there."""


class RunningRequests:
    def __init__(
        self,
        requests: PeerRequests,
        admission: Admission,
        methods: Methods,
        *,
        outbox: Outbox,
        progress: Progress,
        questions: Questions,
        cards: Cards,
        name: Callable[[RoomId, str], Awaitable[str]],
        upload: Callable[[RoomId, bytes, str], Awaitable[JsonObject]],
        folder: Path,
    ) -> None:
        """In `folder` output waits that is too much for memory."""
        self._requests, self._admission, self._methods = requests, admission, methods
        self._outbox, self._progress, self._questions, self._cards = outbox, progress, questions, cards
        self._name, self._upload, self._folder = name, upload, folder
        self._uploads = asyncio.Semaphore(MOST_UPLOADS)
        self._tasks: asyncio.TaskGroup | None = None
        self._running: dict[int, Running] = {}
        self.some = asyncio.Event()
        """Set while requests wait or run."""

    @property
    def load(self) -> int:
        """How many requests run."""
        return sum(one.task is not None for one in self._running.values())

    @property
    def first_state(self) -> RequestState:
        """Of what nobody has to decide about: it runs as soon as it is a row, or as soon as anything does."""
        return RequestState.ACCEPTED if self._tasks is None else RequestState.RUNNING

    def of(self, row: PeerRequest) -> Running:
        self.some.set()
        return self._running.setdefault(row.number, Running())

    def _forget(self, number: int) -> None:
        self._running.pop(number, None)
        if not self._running:
            self.some.clear()

    async def go_on(self, tasks: asyncio.TaskGroup) -> None:
        """What begins from now on is one of these tasks; what the daemon before left open goes on, or has its end."""
        self._tasks = tasks
        for row in await self._patiently(self._requests.open):
            running = self._running.get(row.number)
            if row.state is not RequestState.RUNNING:
                self.begin(row)
            elif running is None or not running.attended:  # one of the daemon before
                await self._patiently(partial(self.end, row, refusal_body(Code.UNKNOWN)))

    def facts(self, row: PeerRequest) -> Facts | None:
        """By which it was judged, where it runs."""
        running = self._running.get(row.number)
        return running.facts if running else None

    def begin(self, row: PeerRequest, found: Accepted | None = None) -> None:
        """`found` is what its check has just said."""
        if self._tasks is None:
            return
        running = self.of(row)
        if row.state not in running.attended:  # the start may find what has come just now
            running.attended.add(row.state)
            if row.state is not RequestState.HELD:
                running.decided.set()
            self._tasks.create_task(self._attend(row, found, running))

    async def stop(self, row: PeerRequest, why: Code) -> bool:
        """End it, whatever it does; False where it is over."""
        if running := self._running.get(row.number):
            running.why = running.why or why  # it may begin at this very moment
            if running.task is not None:
                running.task.cancel()
                return True
        before = [RequestState.HELD, RequestState.ACCEPTED]
        return await self.end(row, refusal_body(why), before=before) is not None or running is not None

    async def end(
        self,
        row: PeerRequest,
        body: JsonObject,
        *,
        before: Sequence[RequestState] = OPEN,
        by: str = "",
        detail: str = "",
    ) -> PeerRequest | None:
        """It is over, with this as its last word; None where it was before."""
        refused = body["kind"] == "refused"
        method = self._methods.get(row.method)
        outcome = DeedOutcome.REFUSED if refused else DeedOutcome.DONE
        how = f"{body.get('code', '')} {detail or body.get('message', '')}".strip() if refused else _summary(body)
        show = await self.shown(row) if method is None or method.shown else None
        now = await self._requests.move(
            row.number,
            before,
            RequestState.DONE,
            said=[*(running.at_end if (running := self._running.get(row.number)) else ()), body],
            by=by,
            show=show,
            deeds=[deed_about(row, f"mesh.{row.method}", outcome, how)],
        )
        if now is None:
            return None
        if now.card is not None and not by:
            await self._close(now.card)
        if now.message is not None:
            self._progress.forget(now.message)
        if (running := self._running.get(row.number)) and running.task is None:
            running.decided.set()
            self._forget(row.number)
        self._progress.wake()
        return now

    async def _attend(self, row: PeerRequest, found: Accepted | None, running: Running) -> None:
        with logs.about(room=row.room_id):
            if row.state is RequestState.HELD:
                with contextlib.suppress(TimeoutError):
                    async with deadlines.within(max(0.0, row.expires / 1000 - time.time())):
                        await running.decided.wait()
                        return
                late = partial(self.end, row, refusal_body(Code.APPROVAL_EXPIRED), before=[RequestState.HELD])
                await self._patiently(late)
                return
            try:
                await self._do(row, found or await self._admission.check_again(row), running)
            finally:
                self._forget(row.number)

    async def _do(self, row: PeerRequest, found: Accepted | Refusal, running: Running) -> None:
        method = self._methods.get(row.method)
        if isinstance(found, Refusal) or method is None:
            refusal = found if isinstance(found, Refusal) else Refusal(Code.UNKNOWN_METHOD)
            await self._patiently(partial(self.end, row, refusal_body(refusal.code), detail=refusal.detail))
            return
        if row.state is RequestState.ACCEPTED:
            begin = partial(self._requests.move, row.number, [RequestState.ACCEPTED], RequestState.RUNNING)
            if (begun := await self._patiently(begin)) is None:
                return
            row = begun
        body = refusal_body(running.why) if running.why else await self._run(row, found, method, running)
        await self._patiently(partial(self.end, row, body, before=[RequestState.RUNNING]))

    async def _run(self, row: PeerRequest, found: Accepted, method: Method[Any], running: Running) -> JsonObject:
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
                    shown = (await self._requests.show(row.number, await self.shown(row))).message
                    self._progress.wake()
                    tail(b"")

        work = Work(
            request=found.request,
            facts=found.facts,
            seconds=found.decision.limits.seconds,
            output_bytes=found.decision.limits.output_bytes,
            start=start,
            say=say,
            say_at_end=running.at_end.append,
            arrived=self._outbox.arrived,
            upload=lambda content, name: self._put_file(row.room_id, content, name),
            tail=tail,
            inputs=running.inputs,
            folder=self._folder,
            uploads=self._uploads,
        )
        running.facts = found.facts
        running.task = asyncio.create_task(self._result(method, work))
        if running.why is not None:
            running.task.cancel()
        appearing = asyncio.create_task(appear())
        try:
            return await running.task
        except asyncio.CancelledError:
            if running.why is None:  # the daemon ends: the next one says that it is unknown
                raise
            return refusal_body(running.why)
        except (HandLost, StateError) as error:  # on a full disk it goes no further
            log.warning("request %d: %s", row.number, error)
            return refusal_body(Code.UNKNOWN)
        except RoommateError as error:
            return {"kind": "refused", "code": str(Code.FAILED), "message": str(error)[:500]}
        except Exception:
            log.exception("request %d was not done", row.number)
            return refusal_body(Code.FAILED)
        finally:
            appearing.cancel()
            await asyncio.wait([appearing])  # and not by itself, whose end could be taken for ours
            running.task = None

    async def _result(self, method: Method[Any], work: Work) -> JsonObject:
        params = method.params.model_validate(work.request.params)
        return {"kind": "result", **await method.do(params, work)}

    async def _patiently(self, do: Callable[[], Awaitable[T]]) -> T:
        """On a full disk it waits: each request has an end."""
        while True:
            try:
                return await do()
            except StateError as error:
                log.error("a request waits: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def shown(self, row: PeerRequest) -> Callable[[PeerRequest], Draft]:
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
        return (await self.shown(row))(row).content

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


def deed_about(row: PeerRequest, what: str, outcome: DeedOutcome, detail: str) -> Deed:
    argv = row.content.get("params", {}).get("argv")
    subject = f"{row.method} {argv[0]}" if isinstance(argv, list) and argv else row.method
    return Deed(f"{row.sender} {words(row.peer)}", row.event_id, what, outcome, row.room_id, subject, detail)


def _summary(body: JsonObject) -> str:
    return " ".join(
        f"{name}={body[name]}" for name in ("exit", "signal", "ms", "bytes", "sha256") if body.get(name) is not None
    )
