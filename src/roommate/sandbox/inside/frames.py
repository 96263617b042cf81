"""The frames of the stream between the daemon and the hand; both ends use this module.

A frame is kind (1 byte), call (4), size of the payload (4, big endian), payload. The daemon numbers its calls from 1
on; a tunnel, which is a connection that a process of the room made to a port where the daemon serves, is numbered by
the hand, from TUNNEL on. Either number is `call` below.

======  ==========  =======================================================================
kind    direction   payload
======  ==========  =======================================================================
CALL    to hand     JSON: ``op`` and what it needs
DATA    both        to the hand a call's input (stdin, a file's content), from it the output
END     to hand     nothing: the input is whole; of a tunnel in both directions: no more bytes this way
CREDIT  both        4 bytes: so much more may be sent on this call
KILL    to hand     nothing: nobody wants this call any more; its RESULT still comes
RESULT  from hand   JSON: what came of it, or ``error``; the last frame of a call
HELLO   from hand   JSON: ``version``; the first frame of a connection, call 0
LISTEN  to hand     2 bytes: take connections on this port of 127.0.0.1 until the stream ends, call 0
ERRORS  from hand   what a command that was asked to keep it apart printed to its stderr; counted as DATA is
OPEN    from hand   2 bytes: the port of a new tunnel; the first frame of it
======  ==========  =======================================================================

Flow control is per call and direction, as in HTTP/2 (RFC 9113, section 5.2): a sender starts with WINDOW, each DATA
frame costs its payload and COST, and the receiver gives that back as CREDIT when it has used it up. So a slow reader
holds back its own process and no other call, and what either end must keep in memory has a limit. COST keeps a flood
of tiny frames from being cheap for the one who sends and dear for the one who reads.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False  # as typing has it, without the 2 ms of importing typing
if TYPE_CHECKING:
    from collections.abc import Generator

VERSION = 4
"""Rises when an older hand, still running in its container, would not understand the daemon any more."""
CALL, DATA, END, CREDIT, KILL, RESULT, HELLO, LISTEN, OPEN, ERRORS = range(1, 11)
TUNNEL = 1 << 31
TUNNELS = 128
"""How many a room may have at once."""
CHUNK = 1 << 16
WINDOW = 1 << 18
COST = 512
MAX_FRAME = 1 << 18

_HEADER = struct.Struct("!BII")
_CREDIT = struct.Struct("!I")
_PORT = struct.Struct("!H")


class BadFrame(Exception):
    """What came is not a stream of frames."""


def frame(kind: int, call: int, payload: bytes | bytearray | memoryview = b"") -> bytes:
    return b"".join((_HEADER.pack(kind, call, len(payload)), payload))


def credit(call: int, size: int) -> bytes:
    return frame(CREDIT, call, _CREDIT.pack(size))


def credited(payload: bytearray) -> int:
    if len(payload) != _CREDIT.size:
        raise BadFrame("a credit of the wrong size")
    return int(_CREDIT.unpack(payload)[0])


def port_bytes(port: int) -> bytes:
    return _PORT.pack(port)


def port_of(payload: bytearray) -> int:
    if len(payload) != _PORT.size:
        raise BadFrame("a port of the wrong size")
    return int(_PORT.unpack(payload)[0])


class Frames:
    """Cuts a stream into frames, however its bytes arrive."""

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> Generator[tuple[int, int, bytearray], None, None]:
        """The frames (kind, call, payload) that `piece` completes. Raises BadFrame; the stream is of no use then.

        What is not taken before this is closed comes with the next piece."""
        held = self._held
        held += piece
        start = 0
        try:
            while len(held) >= start + _HEADER.size:
                kind, call, size = _HEADER.unpack_from(held, start)
                if not CALL <= kind <= ERRORS:
                    raise BadFrame(f"no such kind of frame: {kind}")
                if size > MAX_FRAME:
                    raise BadFrame(f"a frame of {size} bytes")
                end = start + _HEADER.size + size
                if len(held) < end:
                    break
                payload = held[start + _HEADER.size : end]
                start = end
                yield kind, call, payload
        finally:
            del held[:start]
