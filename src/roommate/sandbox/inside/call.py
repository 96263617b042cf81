"""A call of the daemon: what it may send, what it was sent, and whether anybody still wants it."""

from __future__ import annotations

import json

from roommate.sandbox.inside.command import explain
from roommate.sandbox.inside.flow_control import Incoming, Outgoing
from roommate.sandbox.inside.frames import CHUNK, CREDIT, DATA, END, KILL, RESULT, WINDOW, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.daemon_connection import Stream
    from roommate.sandbox.inside.event_loop import Loop


class Calls:
    """The calls and tunnels of the present connection, `open` by their numbers, and what all of them use."""

    def __init__(self, loop: Loop, stream: Stream) -> None:
        self.loop, self.stream = loop, stream
        self.open: dict[int, Call] = {}

    def took(self, kind: int, number: int, payload: bytearray) -> None:
        """A frame for one of them came."""
        if call := self.open.get(number):  # else it ended while this was on its way
            if kind == DATA:
                call.data(payload)
            elif kind == END:
                call.end()
            elif kind == KILL:
                call.stop(lost=False)
            elif kind == CREDIT:
                call.outgoing.credited(payload)
                call.resume()

    def resume(self) -> None:
        """There may be room again."""
        for call in list(self.open.values()):
            call.resume()

    def lose(self) -> None:
        """The connection ended."""
        calls = list(self.open.values())
        self.open.clear()
        for call in calls:
            call.stop(lost=True)


class Call:
    """One of them."""

    def __init__(self, calls: Calls, number: int) -> None:
        self.calls, self.number = calls, number
        self.outgoing, self.incoming = Outgoing(), Incoming(number, calls.stream.write, WINDOW // 4)
        self.unwanted = False
        self.lost = False

    def begin(self) -> None:
        """Made, and known by its number: it may answer from now on."""

    def room(self) -> int:
        """How much output may go out now."""
        if self.unwanted:
            return CHUNK
        return 0 if self.calls.stream.choked else self.outgoing.room

    def send(self, chunk: bytes, kind: int = DATA) -> None:
        if not self.unwanted:
            self.outgoing.sent(len(chunk))
            self.calls.stream.write(frame(kind, self.number, chunk))

    def answer(self, result: dict[str, Any]) -> None:
        if not self.lost:  # else the number may be a new connection's by now
            self.calls.open.pop(self.number, None)
            text = json.dumps(result, ensure_ascii=False)
            self.calls.stream.write(frame(RESULT, self.number, text.encode("utf-8", "replace")))
            self.lost = self.unwanted = True

    def refuse(self, why: str) -> None:
        self.answer({"error": why[:2000]})

    def data(self, chunk: bytearray) -> None:
        """Input came."""
        self.incoming.came(len(chunk))

    def fed(self) -> None:
        """Input is used up."""
        if not self.lost:
            self.incoming.used(self.incoming.held)

    def end(self) -> None:
        """The input is whole."""

    def resume(self) -> None:
        """There may be room again."""

    def stop(self, lost: bool) -> None:
        """Nobody wants this any more; `lost`: nor its answer."""
        self.unwanted = True
        self.lost = self.lost or lost


class Outflow(Call):
    """A call that sends what it has as fast as there is room, in turn with the others."""

    def __init__(self, calls: Calls, number: int) -> None:
        super().__init__(calls, number)
        self.waiting = True

    def piece(self, size: int) -> bytes:
        """The next bytes, at most `size`; none at the end."""
        raise NotImplementedError

    def whole(self) -> dict[str, Any]:
        raise NotImplementedError

    def resume(self) -> None:
        if self.waiting and self.room():
            self.waiting = False
            self.calls.loop.soon(self.go_on)

    def go_on(self) -> None:
        self.waiting = True
        if self.unwanted:
            self.answer({})
        elif room := self.room():
            try:
                chunk = self.piece(room)
            except OSError as error:
                self.refuse(explain(error, "read"))
                return
            if chunk:
                self.send(chunk)
                self.resume()
            else:
                self.answer(self.whole())

    def stop(self, lost: bool) -> None:
        super().stop(lost)
        self.resume()
