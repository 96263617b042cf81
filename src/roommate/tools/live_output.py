"""What a running command prints, for people to watch: a few events a second, however much it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from roommate.domain import Emit, Take, ToolOutput
from roommate.tools.bounded import Bounded, begun
from roommate.tools.sanitized_text import sanitized
from roommate.tools.tool import Call

EVERY = 0.1
"""Seconds between two events."""
NEWEST = 4096
"""Bytes that an event shows at most; what came before them meanwhile is not shown."""


class LiveOutput:
    def __init__(self, call_id: str, emit: Emit) -> None:
        self._call_id, self._emit = call_id, emit
        self._loop = asyncio.get_running_loop()
        self._pending = b""
        self._last = -EVERY
        self._timer: asyncio.TimerHandle | None = None

    def add(self, piece: bytes) -> None:
        self._pending = (self._pending + piece[-NEWEST:])[-NEWEST:]
        if self._timer is None:
            wait = self._last + EVERY - self._loop.time()
            if wait <= 0:
                self._show()
            else:
                self._timer = self._loop.call_later(wait, self._show)

    def close(self) -> None:
        """Show what has not been shown."""
        self._show(whole=True)

    def _show(self, whole: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        end = len(self._pending) if whole else _complete(self._pending)
        ready, self._pending = self._pending[:end], self._pending[end:]
        if text := sanitized(ready):
            self._last = self._loop.time()
            self._emit(ToolOutput(self._call_id, text))


@contextmanager
def watched(call: Call) -> Iterator[tuple[Bounded, Take]]:
    """What the model gets of what is printed, and what takes the pieces, while people watch."""
    keep = call.ports.keep
    printed, live = Bounded(keep // 2, keep // 2), LiveOutput(call.id, call.emit)

    def take(piece: bytes) -> None:
        printed.add(piece)
        live.add(piece)

    try:
        yield printed, take
    finally:
        live.close()


def _complete(piece: bytes) -> int:
    """How much of it can be shown: not a character or an escape sequence that has just begun."""
    escape = piece.rfind(b"\x1b", -32)
    if escape >= 0 and not any(0x40 <= byte <= 0x7E and byte not in b"[]" for byte in piece[escape + 1 :]):
        return escape
    return len(piece) - begun(piece)
