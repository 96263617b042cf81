"""The daemon's end of one connection to a hand: calls, tunnels, and the guard against what a container may send.

Whoever is at the other end may be hostile. A frame that is too long, of a kind that does not belong here, for a call
that was never made, or beyond the credit given (see `frames`) ends the connection; the calls in flight raise HandLost.
So a connection keeps at most WINDOW bytes for each call and tunnel, and a slow reader holds back only what it reads.
What would be too much for the daemon, frames or tunnels without number, is not read before there is time for it. What
waits here to be written has a limit, whatever credit was given for it. An answer that does not come in time ends its
own call where the hand is there otherwise, and the connection where it is not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import cast

from pydantic import BaseModel, ConfigDict, ValidationError

from roommate.domain import Program
from roommate.errors import HandLost, SandboxError
from roommate.net.token_bucket import Allowance
from roommate.sandbox.answers import Caller
from roommate.sandbox.call import Call
from roommate.sandbox.inside.frames import (
    CALL,
    HELLO,
    LISTEN,
    OPEN,
    TUNNEL,
    TUNNELS,
    WINDOW,
    BadFrame,
    Frames,
    frame,
    port_bytes,
    port_of,
)
from roommate.sandbox.tunnel import Tunnel

HELLO_WITHIN = 5.0
"""Seconds in which whoever dials in has to greet."""
CALLER_WITHIN = 10.0
"""Seconds for looking through a room's processes."""
FRAMES_AT_ONCE, FRAMES_A_SECOND = 2_000, 20_000
"""How many are taken. Each costs the daemon microseconds, however small it is: output comes in large ones."""
TUNNELS_AT_ONCE, TUNNELS_A_SECOND = 2 * TUNNELS, 100
"""How many are opened: each is a task, a log entry, and what its handler does."""
REST = 0.01
"""Seconds for which nothing is read where one of these is used up, so that it is worth it to go on."""
UNSENT = WINDOW
"""Bytes that wait for the hand at which no more are written to calls and tunnels."""
UNSENT_AT_MOST = 16 << 20
"""What else is written adds up to this where the hand does not read: then it is of no use."""
GIVEN_UP = 64
"""Calls that a hand may leave without an end."""
_SIGN_OF_LIFE = b'{"op":"jobs"}'


class _Hello(BaseModel):
    model_config = ConfigDict(defer_build=True)
    version: int


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
        self._full = False
        self._frames_left = Allowance(FRAMES_AT_ONCE, FRAMES_A_SECOND)
        self._tunnels_left = Allowance(TUNNELS_AT_ONCE, TUNNELS_A_SECOND)
        self._resting: asyncio.TimerHandle | None = None
        self._overdue: set[int] = set()
        self._asked: int | None = None
        """The call that asks for a sign of life."""
        self._asking: asyncio.TimerHandle | None = None

    @property
    def busy(self) -> bool:
        return any(not call.lost for call in self._calls.values())

    @property
    def full(self) -> bool:
        """See `Line`."""
        return self._full

    def call(
        self,
        request: bytes,
        content: bytes | bytearray | None,
        within: float | None,
        *,
        more: bool = False,
        apart: bool = False,
    ) -> Call:
        """Start a call, see `Call`.

        Raises HandLost.
        """
        if self._why is not None:
            raise HandLost(self._why)
        self._number = self._number % (TUNNEL - 1) + 1
        call = Call(self, self._number, content, within, more=more, apart=apart)
        self._calls[self._number] = call
        call.send(frame(CALL, self._number, request))
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
            if self._transport.get_write_buffer_size() > UNSENT_AT_MOST:
                self.fail("the room's hand does not read what it is told")

    def overdue(self, call: int) -> None:
        """See `Line`. It is ended alone when the hand gives a sign of life."""
        self._overdue.add(call)
        self._ask()

    def fail(self, why: str) -> None:
        """End the connection and every call on it."""
        if self._why is None:
            self._why = why
            for timer in (self._greeting, self._listening, self._resting, self._asking):
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
        """A hand that is silent while calls run is asked for a sign of life."""
        self._listening = None
        if self.busy and self._heard:
            self._listen()
        elif self.busy:
            self._ask()

    def _ask(self) -> None:
        """It is asked for its jobs, which it has to answer in time."""
        if self._asked is None and self._why is None:
            self.call(_SIGN_OF_LIFE, None, None)
            self._asked = self._number
            late = "the room's hand did not end a call in time, and does not answer"
            self._asking = asyncio.get_running_loop().call_later(self.patience, self.fail, late)

    def _answered(self) -> None:
        assert self._asking is not None
        self._asking.cancel()
        self._asked = None
        for number in self._overdue:
            if call := self._calls.get(number):
                call.give_up()
        self._overdue.clear()
        if sum(call.lost for call in self._calls.values()) > GIVEN_UP:
            self.fail("the room's hand leaves calls without an end")

    # ── asyncio.Protocol ──

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        loop = asyncio.get_running_loop()
        self._greeting = loop.call_later(HELLO_WITHIN, self.fail, "whoever dialled in from the room said nothing")

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._read(data)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        waiting: list[Call | Tunnel] = [*self._calls.values(), *self._tunnels.values()]
        for one in waiting:
            if not self._full:
                one.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail("the room's hand is gone: its container stopped or was killed")

    def _read(self, data: bytes) -> None:
        now = asyncio.get_running_loop().time()
        try:
            with contextlib.closing(self._frames.feed(data)) as frames:
                left = self._frames_left.take(FRAMES_AT_ONCE, now)
                for kind, number, payload in frames:
                    self._take(kind, number, payload)
                    if self._why is not None:
                        return
                    left -= 1
                    self._frames_left.used(1)
                    if left <= 0 or (kind == OPEN and not self._tunnels_left.take(1, now)):
                        self._rest()
                        return
        except BadFrame as error:
            self.fail(f"the room's hand broke the protocol: {error}")

    def _rest(self) -> None:
        """What has come lies here, and nothing more is read."""
        assert self._transport is not None
        self._transport.pause_reading()
        self._resting = asyncio.get_running_loop().call_later(REST, self._go_on)

    def _go_on(self) -> None:
        self._resting = None
        self._read(b"")
        if self._resting is None and self._why is None and self._transport is not None:
            self._transport.resume_reading()

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
            if number == self._asked:
                self._answered()

    def _open(self, number: int, port: int) -> None:
        if number < TUNNEL or number in self._tunnels or port not in self._ports or len(self._tunnels) >= TUNNELS:
            raise BadFrame("a tunnel that cannot be")
        tunnel = self._tunnels[number] = Tunnel(self, number, self._caller)
        self._tunnels_left.used(1)
        self._opened(port, tunnel)

    async def _caller(self, tunnel: int) -> Program:
        """Who opened it, as the hand says. Raises HandLost."""
        asked = json.dumps({"op": "caller", "tunnel": tunnel}).encode()
        try:
            return Caller.model_validate_json(await self.call(asked, None, CALLER_WITHIN).finish(_nothing)).word()
        except (ValidationError, SandboxError):
            raise HandLost("the room's hand did not say who opened a tunnel") from None


def _nothing(piece: bytes) -> None:
    """What is not expected to come is dropped."""
