"""One thread that waits for files, times and ended children. (asyncio: twice the memory, three times the start.)"""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: SIM105

from __future__ import annotations

import os
import select
import signal
import time
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable


LONGEST_WAIT = 3600.0
"""Seconds; epoll takes no more than some weeks at once."""
_NOTHING: tuple[int, Callable[[], None]] = (0, lambda: None)


class Loop:
    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[], None]]] = {}
        self._timers: dict[Hashable, tuple[float, Callable[[], None]]] = {}
        self._soon: deque[Callable[[], None]] = deque()

    def watch_children(self, reap: Callable[[], object]) -> None:
        """`reap` is called when children may have ended."""
        woken, waker = os.pipe()
        os.set_blocking(woken, False)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

        def child() -> None:
            try:
                os.read(woken, 4096)
            except BlockingIOError:
                pass
            reap()

        self.watch(woken, select.EPOLLIN, child)

    def watch(self, fd: int, events: int, handler: Callable[[], None]) -> None:
        """Call `handler` while `fd` is ready for `events`; replaces an earlier watch of it."""
        if fd in self._watched:
            self._poll.modify(fd, events)
        else:
            self._poll.register(fd, events)
        self._watched[fd] = (events | select.EPOLLERR | select.EPOLLHUP, handler)

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None):
            self._poll.unregister(fd)

    def at(self, seconds: float, key: Hashable, handler: Callable[[], None]) -> None:
        """Call `handler` once, in so many seconds; replaces an earlier time of this key."""
        self._timers[key] = (time.monotonic() + seconds, handler)

    def forget(self, key: Hashable) -> None:
        self._timers.pop(key, None)

    def soon(self, handler: Callable[[], None]) -> None:
        """Call `handler` in the next turn: for long work that goes on in short steps."""
        self._soon.append(handler)

    def turn(self) -> None:
        wait = LONGEST_WAIT
        if self._soon:
            wait = 0
        elif self._timers:
            wait = min(wait, max(0, min(when for when, _ in self._timers.values()) - time.monotonic()))
        for fd, ready in self._poll.poll(wait):
            # What was found ready together may have become something else for those behind it, by those before it.
            events, handler = self._watched.get(fd, _NOTHING)
            if ready & events:
                handler()
        now = time.monotonic()
        for key in [key for key, (when, _) in self._timers.items() if when <= now]:
            if timer := self._timers.pop(key, None):
                timer[1]()
        for _ in range(len(self._soon)):
            self._soon.popleft()()
