"""One call of the daemon to a hand: input that waits for credit, output that waits for its reader, and the result."""

from __future__ import annotations

import asyncio

from roommate.domain import Take
from roommate.errors import HandLost, SandboxError
from roommate.sandbox.flow_controlled_writer import Channel, Line
from roommate.sandbox.inside.frames import CREDIT, DATA, ERRORS, KILL, RESULT, BadFrame, frame

LAST_BYTES = 4 << 20
"""Output that may still come of what should have ended: its reader was slow, and pipes hold some."""


class Call(Channel):
    """`content` is its input (None: it takes none), `within` the seconds after which it ends itself (None: never).

    With `more` the input goes on with what is written, until its end; what is written later is dropped. Errors may come
    `apart`.
    """

    def __init__(
        self,
        line: Line,
        number: int,
        content: bytes | bytearray | None,
        within: float | None,
        *,
        more: bool = False,
        apart: bool = False,
    ) -> None:
        super().__init__(line, number)
        self._unsent = memoryview(content or b"")
        self._ended, self._silent = not more, content is None
        self._apart = apart
        self._waiter: asyncio.Future[None] | None = None
        self._output, self._errors = bytearray(), bytearray()
        self._reading = False
        self._last_bytes: int | None = None
        """How much output may still come, once its time is over."""
        self._result: bytearray | None = None
        self._lost: SandboxError | None = None
        self.unwanted = False
        """Nobody waits for it any more; the hand knows, and only its result is still to come."""
        self._deadline = (
            None if within is None else self._loop.call_later(max(within, 0.0) + line.patience, self._overdue)
        )

    @property
    def lost(self) -> bool:
        """Who waited for it was told that it is lost; its result may still come."""
        return self._lost is not None

    async def finish(self, take: Take, take_errors: Take | None = None) -> bytearray:
        """Give all output to `take`, in order, what came apart as errors to `take_errors`, then the result back.

        Raises HandLost, SandboxError when the hand does not end this one call in time, and what `take` raises. Leaving
        early, by an error or by being cancelled, kills the call.
        """
        try:
            while True:
                if self._output or self._errors:
                    await self._hand_over(take, take_errors)
                elif self._lost is not None:
                    raise self._lost
                elif self._result is not None:
                    return self._result
                else:
                    self._waiter = self._loop.create_future()
                    await self._waiter
        except BaseException:
            self._abandon()
            raise

    async def _hand_over(self, take: Take, take_errors: Take | None) -> None:
        pieces = ((take, bytes(self._output)), (take_errors, bytes(self._errors)))
        self._output, self._errors = bytearray(), bytearray()
        used = self._incoming.held
        self._reading = True
        try:
            for give, piece in pieces:
                if piece and give is not None and (taken := give(piece)) is not None:
                    await taken
        finally:
            self._reading = False
        self._incoming.used(used)

    def took(self, kind: int, payload: bytearray) -> bool:
        """A frame of this call came; whether it was the last one. Raises BadFrame."""
        if kind == DATA or (kind == ERRORS and self._apart):
            self._incoming.came(len(payload))
            if self.unwanted:
                return False
            output = self._output if kind == DATA else self._errors
            output += payload
            if self._last_bytes is not None:
                self._last_bytes -= len(payload)
        elif kind == CREDIT:
            self._outgoing.credited(payload)
            self.send()
            return False
        elif kind == RESULT:
            self._result = payload
            self._end()
        else:
            raise BadFrame(f"no such kind of frame: {kind}")
        self._wake(self._waiter)
        return kind == RESULT

    def lose(self, why: str) -> None:
        """The connection ended."""
        self._fail(HandLost(why))

    def give_up(self) -> None:
        """The hand lives and does not end this call: who waits for it is told so, and all else goes on."""
        if self._result is None and self._lost is None:
            self._fail(SandboxError("the room's hand did not end this in time: it may still run in the container"))
            self._kill()

    def _fail(self, lost: SandboxError) -> None:
        self._lost = lost
        self._output.clear()
        self._errors.clear()
        self._end()
        self._wake(self._waiter)

    def due(self, within: float | None) -> None:
        """It ends itself after so many seconds from now on, None: never."""
        if self._result is None and self._lost is None and not self.unwanted:
            if self._deadline is not None:
                self._deadline.cancel()
            self._deadline = None
            if within is not None:
                self._deadline = self._loop.call_later(within + self._line.patience, self._overdue)

    def _end(self) -> None:
        self._silence()
        if self._deadline is not None:
            self._deadline.cancel()

    def _abandon(self) -> None:
        self._output.clear()
        self._errors.clear()
        if self._result is None and self._lost is None:
            self._end()
            self._kill()
            self._deadline = self._loop.call_later(self._line.patience, self._line.overdue, self.number)

    def _kill(self) -> None:
        if not self.unwanted:
            self.unwanted = True
            self._line.write(frame(KILL, self.number))

    def _overdue(self) -> None:
        """Its time is over. A slow reader may hold the hand back; but what goes on for ever is held back by nobody."""
        if self._last_bytes is None:
            self._last_bytes = LAST_BYTES
        if self._last_bytes > 0 and (self._output or self._errors or self._reading):
            self._deadline = self._loop.call_later(self._line.patience, self._overdue)
        else:
            self._line.overdue(self.number)
