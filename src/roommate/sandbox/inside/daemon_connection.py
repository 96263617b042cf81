"""The hand's end of the stream: it dials the daemon, again and again, and never waits for it. A connection that it is
given is the only one."""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections import deque

from roommate.sandbox.inside.frames import BadFrame, Frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from roommate.sandbox.inside.event_loop import Loop

CHOKE = 1 << 20
"""Bytes that wait for the daemon at which no more output is read."""
FIRST_DELAY, LONGEST_DELAY = 0.02, 1.0
"""Seconds between two tries to dial: the standard library has no inotify that would tell of a new socket."""


class Stream:
    def __init__(
        self,
        loop: Loop,
        path: str,
        given: int | None,
        *,
        hello: bytes,
        take: Callable[[int, int, bytearray], None],
        lost: Callable[[], None],
        eased: Callable[[], None],
    ) -> None:
        """`given` is the connection's descriptor, where there is no `path` to dial. `take` gets each frame;
        `lost` hears that the connection went, `eased` that `choked` is over."""
        self.choked = False
        self._loop, self._path, self._given, self._hello = loop, path, given, hello
        self._take, self._lost, self._eased = take, lost, eased
        self._socket: socket.socket | None = None
        self._frames = Frames()
        self._out: deque[bytes | memoryview] = deque()
        self._size = 0
        self._blocked = False
        self._delay = FIRST_DELAY
        self._since = 0.0

    def dial(self) -> None:
        dialled = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=self._given)
        dialled.setblocking(False)
        try:
            if self._given is None:
                dialled.connect(self._path)
            else:
                dialled.set_inheritable(False)
        except OSError:
            dialled.close()
            self._loop.at(self._delay, self, self.dial)
            self._delay = min(LONGEST_DELAY, self._delay * 1.5)
            return
        self._socket = dialled
        self._since = time.monotonic()
        self._frames = Frames()
        self._loop.watch(dialled.fileno(), select.EPOLLIN, self._ready)
        self.write(self._hello)

    def write(self, data: bytes) -> None:
        """Frames; they wait here for the next `flush`."""
        if self._socket is not None:
            self._out.append(data)
            self._size += len(data)
            self.choked = self.choked or self._size > CHOKE

    def drop(self) -> None:
        """Hang up, and dial again."""
        if self._given is not None:  # whoever started us ends all that we started
            raise SystemExit
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None
            self._out.clear()
            self._size = 0
            self.choked = self._blocked = False
            if time.monotonic() - self._since > LONGEST_DELAY:
                self._delay = FIRST_DELAY
            self._loop.at(self._delay, self, self.dial)
            self._delay = min(LONGEST_DELAY, self._delay * 1.5)
            self._lost()

    def flush(self) -> None:
        """Send what waits; once in each turn of the loop, so that the end of a call goes out with its output."""
        if self._socket is None or self._blocked or not self._out:
            return
        try:
            while self._out:
                sent = self._socket.sendmsg(list(itertools.islice(self._out, 64)))
                self._size -= sent
                while sent:
                    first = self._out[0]
                    if sent < len(first):
                        self._out[0] = memoryview(first)[sent:]
                        break
                    sent -= len(first)
                    self._out.popleft()
        except BlockingIOError:
            self._blocked = True
            self._loop.watch(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT, self._ready)
        except OSError:
            self.drop()
            return
        if self.choked and self._size < CHOKE // 2:
            self.choked = False
            self._eased()

    def _ready(self) -> None:
        if self._blocked and self._socket is not None:
            self._blocked = False
            self._loop.watch(self._socket.fileno(), select.EPOLLIN, self._ready)
            self.flush()
        if self._socket is None:
            return
        try:
            piece = self._socket.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self.drop()
            return
        try:
            for kind, call, payload in self._frames.feed(piece):
                self._take(kind, call, payload)
        except BadFrame:
            self.drop()
