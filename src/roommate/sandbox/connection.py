"""The daemon's end of one connection to a hand: calls, tunnels, and the guard against what a container may send.

Whoever is at the other end may be hostile. A frame that is too long, of a kind that does not belong here, for a call
that was never made, or beyond the credit given (see `frames`) ends the connection; the calls in flight raise HandLost.
So a connection keeps at most WINDOW bytes for each call and tunnel, and a slow reader holds back only what it reads.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import cast

from pydantic import BaseModel, ValidationError

from roommate.errors import HandLost
from roommate.sandbox.answers import Caller
from roommate.sandbox.inside.frames import (
    CALL,
    CHUNK,
    COST,
    CREDIT,
    DATA,
    END,
    HELLO,
    KILL,
    LISTEN,
    OPEN,
    RESULT,
    TUNNEL,
    TUNNELS,
    WINDOW,
    BadFrame,
    Frames,
    credit,
    credited,
    frame,
    port_bytes,
    port_of,
)
from roommate.sandbox.tunnel import Tunnel

HELLO_WITHIN = 5.0
"""Seconds in which whoever dials in has to greet."""
CALLER_WITHIN = 10.0
"""Seconds for looking through a room's processes."""
_SIGN_OF_LIFE = b'{"op":"jobs"}'

Take = Callable[[bytes], Awaitable[None] | None]


class _Hello(BaseModel):
    version: int


class Call:
    """One call: input that waits for credit, output that waits for its reader, and the result."""

    def __init__(self, connection: Connection, number: int, content: bytes | None, within: float | None) -> None:
        self._connection = connection
        self._number = number
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._unsent = None if content is None else memoryview(content)
        self._window = WINDOW
        self._output = bytearray()
        self._allowed = WINDOW
        self._held = self._used = (
            0  # credit that the output here took, and that of output which its reader has done with
        )
        self._reading = False
        self._result: bytearray | None = None
        self._lost: str | None = None
        self._unwanted = False
        self._deadline = None if within is None else self._loop.call_later(within + connection.patience, self._overdue)

    async def finish(self, take: Take) -> bytearray:
        """Give all output to `take`, in order, then the result back. Raises HandLost, and what `take` raises.

        Leaving early, by an error or by being cancelled, kills the call.
        """
        try:
            while True:
                if self._output:
                    await self._hand_over(take)
                elif self._lost is not None:
                    raise HandLost(self._lost)
                elif self._result is not None:
                    return self._result
                else:
                    self._waiter = self._loop.create_future()
                    await self._waiter
        except BaseException:
            self._abandon()
            raise

    async def _hand_over(self, take: Take) -> None:
        piece, self._output = bytes(self._output), bytearray()
        used, self._held = self._held, 0
        self._reading = True
        if (taken := take(piece)) is not None:
            await taken
        self._reading = False
        self._used += used
        if self._used >= WINDOW // 2 and self._result is None:
            self._connection.write(credit(self._number, self._used))
            self._allowed += self._used
            self._used = 0

    def input(self) -> bytes:
        """The frames of input that there is credit for."""
        frames = []
        while self._unsent is not None and self._window > COST:
            piece = self._unsent[: min(CHUNK, self._window - COST)]
            if not piece:
                self._unsent = None
                frames.append(frame(END, self._number))
            else:
                self._unsent = self._unsent[len(piece) :]
                self._window -= len(piece) + COST
                frames.append(frame(DATA, self._number, piece))
        return b"".join(frames)

    def took(self, kind: int, payload: bytearray) -> bool:
        """A frame of this call came; whether it was the last one. Raises BadFrame."""
        if kind == DATA:
            self._allowed -= len(payload) + COST
            if self._allowed < 0 or not payload:
                raise BadFrame("output beyond its credit")
            if self._unwanted:
                return False
            self._output += payload
            self._held += len(payload) + COST
        elif kind == CREDIT:
            self._window += credited(payload)
            if self._window > WINDOW:
                raise BadFrame("credit for what was never sent")
            if frames := self.input():
                self._connection.write(frames)
            return False
        elif kind == RESULT:
            self._result = payload
            self._end()
        else:
            raise BadFrame(f"no such kind of frame: {kind}")
        self._wake()
        return kind == RESULT

    def lose(self, why: str) -> None:
        self._lost = why
        self._output.clear()
        self._end()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _end(self) -> None:
        self._unsent = None
        if self._deadline is not None:
            self._deadline.cancel()

    def _abandon(self) -> None:
        self._output.clear()
        if self._result is None and self._lost is None:
            self._end()
            self._unwanted = True
            self._connection.write(frame(KILL, self._number))
            self._deadline = self._loop.call_later(self._connection.patience, self._overdue)

    def _overdue(self) -> None:
        if self._output or self._reading:  # its reader is slow, and holds the hand back
            self._deadline = self._loop.call_later(self._connection.patience, self._overdue)
        else:
            self._connection.fail("the room's hand did not end a call in time")


class Connection(asyncio.Protocol):
    def __init__(
        self,
        arrived: Callable[[Connection, int], None],
        opened: Callable[[int, Tunnel], None],
        gone: Callable[[Connection, str], None],
        patience: float,
        silence: float,
    ) -> None:
        """`arrived` is told the protocol version that the hand speaks, `opened` the port of each new tunnel, `gone`
        why the connection ended.

        `patience` is how many seconds beyond a call's own time the hand has to end it, and to kill one not wanted.
        When calls run and nothing was heard for `silence` seconds, it is asked for a sign of life.
        """
        self.patience = patience
        self._arrived, self._opened, self._gone = arrived, opened, gone
        self._transport: asyncio.Transport | None = None
        self._frames = Frames()
        self._calls: dict[int, Call] = {}
        self._tunnels: dict[int, Tunnel] = {}
        self._ports: set[int] = set()
        self._number = 0
        self._greeting: asyncio.TimerHandle | None = None
        self._greeted = False
        self._silence = silence
        self._heard = False
        self._listening: asyncio.TimerHandle | None = None
        self._why: str | None = None

    @property
    def busy(self) -> bool:
        return bool(self._calls)

    def call(self, request: bytes, content: bytes | None, within: float | None) -> Call:
        """Start a call. `content` is its input (None: it takes none), `within` the seconds after which it ends itself.

        Raises HandLost.
        """
        if self._why is not None:
            raise HandLost(self._why)
        self._number = self._number % (TUNNEL - 1) + 1
        call = Call(self, self._number, content, within)
        self._calls[self._number] = call
        self.write(frame(CALL, self._number, request) + call.input())
        if self._listening is None:
            self._listen()
        return call

    def listen(self, port: int) -> None:
        """Have connections to this port of the container's 127.0.0.1 become tunnels."""
        self._ports.add(port)
        self.write(frame(LISTEN, 0, port_bytes(port)))

    def write(self, data: bytes) -> None:
        if self._transport is not None and self._why is None:
            self._transport.write(data)

    def fail(self, why: str) -> None:
        """End the connection and every call on it."""
        if self._why is None:
            self._why = why
            for timer in (self._greeting, self._listening):
                if timer is not None:
                    timer.cancel()
            if self._transport is not None:
                self._transport.abort()
            lost: list[Call | Tunnel] = [*self._calls.values(), *self._tunnels.values()]
            self._calls, self._tunnels = {}, {}
            for one in lost:
                one.lose(why)
            self._gone(self, why)

    def _listen(self) -> None:
        self._heard = False
        self._listening = asyncio.get_running_loop().call_later(self._silence, self._look)

    def _look(self) -> None:
        """A hand that is silent while calls run is asked for its jobs, which it has to answer in time."""
        self._listening = None
        if self._calls and self._heard:
            self._listen()
        elif self._calls:
            self.call(_SIGN_OF_LIFE, None, 0)

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._greeting = loop.call_later(HELLO_WITHIN, self.fail, "whoever dialled in from the room said nothing")

    def data_received(self, data: bytes) -> None:
        self._heard = True
        try:
            for kind, number, payload in self._frames.feed(data):
                if self._why is not None:
                    return
                self._take(kind, number, payload)
        except BadFrame as error:
            self.fail(f"the room's hand broke the protocol: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("the room's hand is gone: its container stopped or was killed")

    def _take(self, kind: int, number: int, payload: bytearray) -> None:
        if not self._greeted:
            if kind != HELLO:
                raise BadFrame("it did not say hello")
            try:
                hello = _Hello.model_validate_json(payload)
            except ValidationError:
                raise BadFrame("it did not say hello") from None
            self._greeted = True
            assert self._greeting is not None
            self._greeting.cancel()
            self._arrived(self, hello.version)
        elif kind == OPEN:
            self._open(number, port_of(payload))
        elif (tunnel := self._tunnels.get(number)) is not None:
            if tunnel.took(kind, payload):
                del self._tunnels[number]
        elif (call := self._calls.get(number)) is None:
            raise BadFrame("a frame for no call")
        elif call.took(kind, payload):
            del self._calls[number]

    def _open(self, number: int, port: int) -> None:
        if number < TUNNEL or number in self._tunnels or port not in self._ports or len(self._tunnels) >= TUNNELS:
            raise BadFrame("a tunnel that cannot be")
        tunnel = Tunnel(number, send=self.write, fail=self.fail, ask=self._caller, patience=self.patience)
        self._tunnels[number] = tunnel
        self._opened(port, tunnel)

    async def _caller(self, tunnel: int) -> str:
        """Who opened it, as the hand says. Raises HandLost."""
        asked = json.dumps({"op": "caller", "tunnel": tunnel}).encode()
        try:
            return Caller.model_validate_json(await self.call(asked, None, CALLER_WITHIN).finish(_nothing)).command
        except ValidationError:
            raise HandLost("the room's hand did not say who opened a tunnel") from None


def _nothing(piece: bytes) -> None:
    """What is not expected to come is dropped."""
