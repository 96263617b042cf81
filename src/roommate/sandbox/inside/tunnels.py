"""Tunnels: what processes of the room say to a few ports of 127.0.0.1 goes to the daemon, and its answers come back."""

# contextlib would cost time and memory at every start.

from __future__ import annotations

import select
import socket
from collections import deque

from roommate.sandbox.inside.frames import CHUNK, COST, END, OPEN, TUNNEL, TUNNELS, WINDOW, port_bytes
from roommate.sandbox.inside.run_call import Call
from roommate.sandbox.inside.socket_process import command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from roommate.sandbox.inside.hand import Hand

UNWATCHED = -1
TRY_AGAIN = 0.2
"""Seconds after which a port that is taken, or an accept that failed, is tried again."""


class Tunnel(Call):
    """One connection. Its numbers and its credit are those of a call; the hand opens it, either end closes it."""

    def __init__(self, hand: Hand, number: int, connection: socket.socket) -> None:
        super().__init__(hand, number)
        self._socket = connection
        self._port = connection.getpeername()[1]
        self._unwritten: deque[bytes | memoryview] = deque()
        self._read = self._written = self._last = False
        """What came is whole; what goes back has been written; it has come from the daemon."""
        self._watched = UNWATCHED
        self.watch()

    def caller(self) -> str:
        """The command line of the process that connected; "" where it is not known."""
        try:
            return command_of(self._port, self._socket.getsockname()[1])
        except OSError:
            return ""

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
                self.hand.loop.unwatch(self._socket.fileno())
            else:  # that it was reset is told in any case: then nobody is there who waits for what the daemon does
                self.hand.loop.watch(self._socket.fileno(), events, self._ready if events else self._close)
            self._watched = events

    def resume(self) -> None:
        self.watch()

    def data(self, chunk: bytearray) -> None:
        self._unwritten.append(memoryview(chunk))
        self.owed += COST
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
                chunk = self._socket.recv(min(CHUNK, room))
            except BlockingIOError:
                return
            except OSError:
                self._close()
                return
            if chunk:
                self.send(chunk)
            else:
                self._read = True
                self.hand.stream.send(END, self.number, b"")
        self._settle()

    def _write(self) -> None:
        try:
            while self._unwritten:
                first = self._unwritten[0]
                sent = self._socket.send(first)
                self.owed += sent
                if sent < len(first):
                    self._unwritten[0] = first[sent:]
                else:
                    self._unwritten.popleft()
            if self._last and not self._written:
                self._written = True
                self._socket.shutdown(socket.SHUT_WR)
        except BlockingIOError:
            pass
        except OSError:
            self._close()
            return
        if self.owed >= WINDOW // 4:
            self.fed()
        self._settle()

    def _settle(self) -> None:
        if self._read and self._written:
            self._close()
        else:
            self.watch()

    def _close(self) -> None:
        self.hand.loop.unwatch(self._socket.fileno())
        self._socket.close()
        self.answer({})
        self.hand.tunnels.ended(self)


class Tunnels:
    """The ports that are listened on while the stream lasts, and the tunnels that are open."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
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
            self._hand.loop.at(TRY_AGAIN, (self, port), lambda: self.listen(port))
            return
        self._ports[port] = listener
        self._watch(port)

    def close(self) -> None:
        """The stream ended: nobody is there to connect to. The tunnels end as calls do."""
        for port, listener in self._ports.items():
            self._hand.loop.forget((self, port))
            if listener:
                self._hand.loop.unwatch(listener.fileno())
                listener.close()
        self._ports.clear()

    def ended(self, tunnel: Tunnel) -> None:
        self._open.discard(tunnel)
        if len(self._open) == TUNNELS - 1:
            for port in self._ports:
                self._watch(port)

    def _watch(self, port: int) -> None:
        if listener := self._ports.get(port):
            self._hand.loop.watch(listener.fileno(), select.EPOLLIN, lambda: self._accept(port, listener))

    def _accept(self, port: int, listener: socket.socket) -> None:
        if len(self._open) >= TUNNELS:
            self._hand.loop.unwatch(listener.fileno())  # they wait in line
            return
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError:  # out of file descriptors
            self._hand.loop.unwatch(listener.fileno())
            self._hand.loop.at(TRY_AGAIN, (self, port), lambda: self._watch(port))
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = TUNNEL + (self._number - TUNNEL + 1) % TUNNEL
        self._hand.stream.send(OPEN, self._number, port_bytes(port))
        tunnel = self._hand.calls[self._number] = Tunnel(self._hand, self._number, connection)
        self._open.add(tunnel)
