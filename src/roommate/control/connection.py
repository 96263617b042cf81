"""One connection to the control socket: frames in, answers out, within bounds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from roommate.control import rpc
from roommate.control.frames import Frames, TooLong, framed
from roommate.control.method import Caller, as_json
from roommate.control.rpc import Flaw, Request
from roommate.domain import JsonObject
from roommate.host import deadlines

MOST_REQUESTS = 16
"""In flight at the same time."""
PARKED_SECONDS = 5.0
"""How long a connection may be there without a whole request: programs on the same machine have no need to think."""
UNREAD_SECONDS = 60.0
"""How long an answer may wait to be read."""

_READ = 1 << 16
_ITEM = "item"
"""The notification that carries a piece of a request's stream."""

Answer = Callable[[Request, Caller], Awaitable[Any]]
"""Gives the result of a request. Raises Flaw."""


class Connection:
    """Of user `uid`. `run` it once."""

    def __init__(
        self, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, uid: int, pid: int
    ) -> None:
        self._answer_to = answer
        self._reader, self._writer = reader, writer
        self._uid, self._pid = uid, pid
        self._in_flight: set[asyncio.Task[None]] = set()
        self._sending = asyncio.Lock()

    async def run(self) -> None:
        """Until the other side hangs up, or has to be cut off. What it asked for and has not got is given up then."""
        frames = Frames()
        async with asyncio.TaskGroup() as group:
            try:
                await self._listen(group, frames)
            except TooLong as error:
                await self._send(Flaw(rpc.INVALID_REQUEST, str(error)).response())
            for task in self._in_flight:
                task.cancel()

    async def _listen(self, group: asyncio.TaskGroup, frames: Frames) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PARKED_SECONDS
        while True:
            try:
                async with deadlines.at(deadline):
                    piece = await self._reader.read(_READ)
            except TimeoutError:
                if self._in_flight and not frames.unfinished:
                    deadline = loop.time() + PARKED_SECONDS
                    continue
                return
            if not piece:
                return
            for content in frames.feed(piece):
                deadline = loop.time() + PARKED_SECONDS
                if len(self._in_flight) >= MOST_REQUESTS:
                    await self._send(Flaw(rpc.BUSY, f"{MOST_REQUESTS} requests are in flight already").response())
                    continue
                task = group.create_task(self._answer(content))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)

    async def _answer(self, content: bytes) -> None:
        """Everything that one frame asks for."""
        after: list[Callable[[], None]] = []
        try:
            requests, is_batch = rpc.parse(content)
        except Flaw as flaw:
            await self._send(flaw.response())
            return
        answers = [answer for one in requests if (answer := await self._answer_one(one, after)) is not None]
        if answers:
            await self._send(answers if is_batch else answers[0])
        for act in after:
            act()

    async def _answer_one(self, request: Request | Flaw, after: list[Callable[[], None]]) -> JsonObject | None:
        """The response; None for a notification."""
        if isinstance(request, Flaw):
            return request.response()

        async def tell(item: Any) -> None:
            if not request.is_notification:
                params = {"id": request.id, "item": as_json(item)}
                await self._send({"jsonrpc": "2.0", "method": _ITEM, "params": params})

        try:
            answer = request.response(await self._answer_to(request, Caller(self._uid, self._pid, tell, after.append)))
        except Flaw as flaw:
            answer = flaw.response()
        return None if request.is_notification else answer

    async def _send(self, message: Any) -> None:
        """Raises OSError when the other side is gone, or does not read."""
        try:
            frame = framed(json.dumps(message, ensure_ascii=False).encode("utf-8", "replace"))
        except TooLong as error:
            of = message.get("id") if isinstance(message, dict) else None
            frame = framed(json.dumps(Flaw(rpc.FAILED, f"the answer is too long: {error}", of=of).response()).encode())
        async with self._sending:
            self._writer.write(frame)
            try:
                async with deadlines.within(UNREAD_SECONDS):
                    await self._writer.drain()
            except TimeoutError:
                self._writer.transport.abort()
                raise ConnectionResetError("what was asked for is not read") from None
