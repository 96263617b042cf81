"""A program's output on its way to who asked: pieces as fast as the homeserver takes them, else a file."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
from collections.abc import AsyncIterator

from roommate.domain import JsonObject
from roommate.features.mesh.methods import Stream, Work
from roommate.features.mesh.output_spool import OutputSpool

log = logging.getLogger(__name__)

PIECE = 24 * 1024
"""Bytes of one piece: in base64, signed and encrypted it stays below the 65 536 bytes of an event."""
GATHER_SECONDS = 0.25
"""How long a piece gathers what is printed."""
INLINE = 8 * PIECE
"""Bytes that wait to be sent as pieces; with more all waits on the disk, and is files when the program has ended."""
AT_END = 3 * PIECE
"""So much goes as pieces at the end."""


class OutputPieces:
    """Take with `take` while `run()` runs as a task; then `finish()`. No homeserver holds the program back."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._waiting: list[tuple[Stream, bytearray]] = []
        self._size = 0
        self._more = asyncio.Event()
        self._spool = OutputSpool(work.folder)
        self._saying = asyncio.Lock()
        self._left = work.output_bytes
        self._hash = hashlib.sha256()
        self._given = 0
        self.truncated = False

    @property
    def summary(self) -> JsonObject:
        """Of all that was sent, in that order."""
        return {"truncated": self.truncated, "sha256": self._hash.hexdigest(), "bytes": self._given}

    def take(self, stream: Stream, piece: bytes) -> None:
        kept = piece[: self._left]
        self._left -= len(kept)
        self.truncated = self.truncated or len(kept) < len(piece)
        if not kept:
            return
        self._work.tail(kept)
        if self._spool:
            self._keep(stream, kept)
            return
        if not self._waiting or self._waiting[-1][0] != stream:
            self._waiting.append((stream, bytearray()))
        self._waiting[-1][1].extend(kept)
        self._size += len(kept)
        if self._size > INLINE:
            self._keep_waiting()
        self._more.set()

    async def run(self) -> None:
        """Send what there is, one piece after the other has arrived, until cancelled while it is `between_pieces`."""
        while True:
            await self._more.wait()
            await asyncio.sleep(GATHER_SECONDS)
            while self._waiting:
                async with self._saying:
                    await self._work.start()
                    if not self._waiting:  # it has become too much meanwhile
                        break
                    row = await self._piece()
                if row is None:
                    return
                await self._work.arrived(row)
            self._more.clear()
            if self._spool:
                return

    async def between_pieces(self) -> None:
        """Returns while none is being said: one that is cut off there counts as sent, and would be missing."""
        async with self._saying:
            pass

    async def finish(self) -> None:
        """Send what is left."""
        if self._size > AT_END:
            self._keep_waiting()
        if self._spool:
            async with self._work.uploads:
                async for stream, part in self._spool.parts():
                    await send_file(self._work, stream, part)
                    self._count(part)
        while self._waiting:
            self._work.say_at_end(self._next())

    async def _piece(self) -> int | None:
        return await self._work.say(self._next())

    def _next(self) -> JsonObject:
        stream, waiting = self._waiting[0]
        piece = bytes(waiting[:PIECE])
        if len(piece) == len(waiting):
            self._waiting.pop(0)
        else:
            del waiting[: len(piece)]
        self._size -= len(piece)
        self._count(piece)
        return {"kind": "output", "stream": stream, "data": base64.b64encode(piece).decode()}

    def close(self) -> None:
        self._spool.close()

    def _keep_waiting(self) -> None:
        waiting, self._waiting, self._size = self._waiting, [], 0
        for stream, piece in waiting:
            self._keep(stream, piece)

    def _keep(self, stream: Stream, piece: bytes | bytearray) -> None:
        try:
            self._spool.add(stream, piece)
        except OSError as error:  # the disk is full: what is there is sent
            log.warning("output of a program for a peer is cut: %s", error)
            self.truncated, self._left = True, 0

    def _count(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._given += len(piece)


async def send_file(work: Work, stream: Stream, content: bytes) -> JsonObject:
    """Gives where it is. Raises Refused, Transient where the homeserver does not take it."""
    place = await work.upload(content, f"{stream}.bin")
    named = {"stream": stream, "sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    await work.say({"kind": "file", **named, **place})
    return place


@contextlib.asynccontextmanager
async def sending(work: Work) -> AsyncIterator[OutputPieces]:
    """What is taken within is sent meanwhile, and all of it before this is over; nothing more where it is left."""
    pieces = OutputPieces(work)
    with contextlib.closing(pieces):
        running = asyncio.create_task(pieces.run())
        try:
            yield pieces
        finally:
            try:
                await pieces.between_pieces()
            finally:
                running.cancel()
            await asyncio.wait([running])
            failed = None if running.cancelled() else running.exception()
        if failed:
            raise failed
        await pieces.finish()
