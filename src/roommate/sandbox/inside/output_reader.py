"""One stream of what a command prints: it is read exactly while there is room for it."""

from __future__ import annotations

import os
import select

from roommate.sandbox.inside.frames import CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from roommate.sandbox.inside.event_loop import Loop


class Reader:
    """`open` until nobody can write to it any more; `late` are the bytes that came since it was set to 0."""

    def __init__(
        self, loop: Loop, fd: int, room: Callable[[], int], take: Callable[[bytes], None], ended: Callable[[], None]
    ) -> None:
        """`room` says how many bytes `take` takes now; `ended` hears of the end."""
        self.open, self.listening, self.late = True, False, 0
        self._loop, self._fd = loop, fd
        self._room, self._take, self._ended = room, take, ended

    def listen(self) -> None:
        if self.open:
            want = self._room() > 0
            if want and not self.listening:
                self._loop.watch(self._fd, select.EPOLLIN, self.read)
            elif self.listening and not want:
                self._loop.unwatch(self._fd)
            self.listening = want

    def read(self) -> None:
        room = self._room()
        if self.open and room > 0:
            try:
                chunk = os.read(self._fd, min(room, CHUNK))
            except BlockingIOError:
                return
            except OSError:  # a terminal that nobody has open any more
                chunk = b""
            if chunk:
                self.late += len(chunk)
                self._take(chunk)
            else:
                self._loop.unwatch(self._fd)
                os.close(self._fd)
                self.open = self.listening = False
                self._ended()
        self.listen()
