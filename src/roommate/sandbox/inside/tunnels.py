"""Tunnels: what processes of the room say to a few ports of 127.0.0.1 goes to the daemon, and its answers come back."""

# contextlib would cost time and memory at every start.

from __future__ import annotations

import select
import socket
from collections import deque

from roommate.sandbox.inside.call import Call
from roommate.sandbox.inside.find_connection_owner import owner_of
from roommate.sandbox.inside.frames import END, OPEN, TUNNEL, TUNNELS, frame, port_bytes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from roommate.sandbox.inside.call import Calls

UNWATCHED = -1
TRY_AGAIN = 0.2
"""Seconds after which a port that is taken, or an accept that failed, is tried again."""


class Tunnel(Call):
    """One connection. Its numbers and its credit are those of a call; the hand opens it, either end closes it."""

    def __init__(self, calls: Calls, number: int, connection: socket.socket, ended: Callable[[Tunnel], None]) -> None:
        super().__init__(calls, number)
        self._socket, self._ended = connection, ended
        self._port = connection.getpeername()[1]
        self._unwritten: deque[bytes | memoryview] = deque()
        self._read = self._written = self._last = False
        """What came is whole; what goes back has been written; it has come from the daemon."""
        self._watched = UNWATCHED
        self.watch()

    def caller(self) -> dict[str, Any]:
        """The process that connected; nothing where it is not known."""
        try:
            return owner_of(self._port, self._socket.getsockname()[1])
        except OSError:
            return {}

    def watch(self) -> None:
        events = 0
        if not self._read and self.room():
            events |= select.EPOLLIN
        if self._unwritten:
            events |= select.EPOLLOUT
        if not events and self._written:  # it may end before we have read all of it
            events = UNWATCHED
        if events != self._watched:
            if events == UNWATCHED:
                self.calls.loop.unwatch(self._socket.fileno())
            else:  # that it was reset is told in any case: then nobody is there who waits for what the daemon does
                self.calls.loop.watch(self._socket.fileno(), events, self._ready if events else self._close)
            self._watched = events

    def resume(self) -> None:
        self.watch()

    def data(self, chunk: bytearray) -> None:
        super().data(chunk)
        self._unwritten.append(memoryview(chunk))
        self._write()

    def end(self) -> None:
        self._last = True
        self._write()

    def stop(self, lost: bool) -> None:
        super().stop(lost)
        self._close()

    def _ready(self) -> None:
        if self._unwritten:
            self._write()
        if not self._read and not self.lost:
            self._take()

    def _take(self) -> None:
        if room := self.room():
            try:
                chunk = self._socket.recv(room)
            except BlockingIOError:
                return
            except OSError:
                self._close()
                return
            if chunk:
                self.send(chunk)
            else:
                self._read = True
                self.calls.stream.write(frame(END, self.number))
        self._settle()

    def _write(self) -> None:
        try:
            while self._unwritten:
                first = self._unwritten[0]
                sent = self._socket.send(first)
                if sent < len(first):
                    self._unwritten[0] = first[sent:]
                else:
                    self._unwritten.popleft()
                self.incoming.used(sent if self._unwritten else self.incoming.held)
            if self._last and not self._written:
                self._written = True
                self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        self._settle()

    def _settle(self) -> None:
        if self._read and self._written:
            self._close()
        else:
            self.watch()

    def _close(self) -> None:
        self.calls.loop.unwatch(self._socket.fileno())
        self._socket.close()
        self.answer({})
        self._ended(self)


class Tunnels:
    """The ports that are listened on while the stream lasts, and the tunnels that are open."""

    def __init__(self, calls: Calls) -> None:
        self._calls, self._loop = calls, calls.loop
        self._ports: dict[int, socket.socket | None] = {}
        self._open: set[Tunnel] = set()
        self._number = TUNNEL

    def listen(self, port: int) -> None:
        """Take connections there; when somebody has the port, as soon as it is free."""
        if self._ports.get(port):
            return
        listener = socket.socket()
        self._ports[port] = None
        try:
            listener.setblocking(False)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            listener.listen(TUNNELS)
        except OSError:
            listener.close()
            self._loop.at(TRY_AGAIN, (self, port), lambda: self.listen(port))
            return
        self._ports[port] = listener
        self._watch(port)

    def close(self) -> None:
        """The stream ended: nobody is there to connect to. The tunnels end as calls do."""
        for port, listener in self._ports.items():
            self._loop.forget((self, port))
            if listener:
                self._loop.unwatch(listener.fileno())
                listener.close()
        self._ports.clear()

    def _watch(self, port: int) -> None:
        if listener := self._ports.get(port):
            self._loop.watch(listener.fileno(), select.EPOLLIN, lambda: self._accept(port, listener))

    def _accept(self, port: int, listener: socket.socket) -> None:
        if len(self._open) >= TUNNELS:
            self._loop.unwatch(listener.fileno())  # they wait in line
            return
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # out of file descriptors
            self._loop.unwatch(listener.fileno())
            self._loop.at(TRY_AGAIN, (self, port), lambda: self._watch(port))
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = TUNNEL + (self._number - TUNNEL + 1) % TUNNEL
        self._calls.stream.write(frame(OPEN, self._number, port_bytes(port)))
        tunnel = self._calls.open[self._number] = Tunnel(self._calls, self._number, connection, self._gone)
        self._open.add(tunnel)

    def _gone(self, tunnel: Tunnel) -> None:
        self._open.discard(tunnel)
        if len(self._open) == TUNNELS - 1:
            for port in self._ports:
                self._watch(port)
