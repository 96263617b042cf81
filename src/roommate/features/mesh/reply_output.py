"""What a peer printed, or a file of it, out of the pieces of its reply: in order, whole, and as its last word says."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
from collections.abc import AsyncGenerator
from typing import Protocol

from roommate.domain import JsonObject, SentFile
from roommate.errors import MatrixError, PeerError, PeerLost, PeerRefused
from roommate.features.mesh.asked_view import reason
from roommate.features.mesh.refusals import Code
from roommate.store.mesh_asked import LOST
from roommate.text.amounts import size

NAME = "output"


class Media(Protocol):
    """See matrix/media_download.py."""

    def pieces(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]: ...


class ReplyOutput:
    """Of one reply. Nothing of it counts before `check`: what came may be cut short or exchanged."""

    def __init__(self, media: Media, most: int) -> None:
        """`most` is how many bytes are taken in all."""
        self._media, self._left, self._hash, self.count = media, most, hashlib.sha256(), 0

    async def pieces(self, body: JsonObject) -> AsyncGenerator[tuple[str, bytes], None]:
        """The bytes of a body, and of which stream they are. Raises PeerLost."""
        stream = str(body.get("stream", "out"))
        if body["kind"] == "output":
            yield stream, self._count(_decoded(body.get("data")))
        elif body["kind"] == "file":
            async with contextlib.aclosing(self._file(body)) as pieces:
                async for piece in pieces:
                    yield stream, self._count(piece)

    def check(self, result: JsonObject) -> None:
        """Is it what the last word says? Raises PeerLost."""
        if (wanted := result.get("sha256")) is not None and wanted != self._hash.hexdigest():
            raise PeerLost("what came is not what the peer says that it sent: its hash is another")

    def _count(self, piece: bytes) -> bytes:
        self.count += len(piece)
        self._left -= len(piece)
        if self._left < 0:
            raise PeerLost(f"the peer sends more than is taken: {size(self.count)}")
        self._hash.update(piece)
        return piece

    async def _file(self, body: JsonObject) -> AsyncGenerator[bytes, None]:
        key, length = body.get("file"), body.get("size")
        key = key if isinstance(key, dict) else None
        url = str((key or body).get("url", ""))
        sent = SentFile(NAME, url, size=length if isinstance(length, int) and length >= 0 else 0, key=key)
        found = hashlib.sha256()
        try:
            async with contextlib.aclosing(self._media.pieces(sent, self._left)) as pieces:
                async for piece in pieces:
                    found.update(piece)
                    yield piece
        except MatrixError as error:
            raise PeerLost(f"a file of the reply cannot be had: {error}") from error
        if found.hexdigest() != body.get("sha256"):
            raise PeerLost("a file of the reply is not what the peer says that it sent: its hash is another")


def why_not(peer: str, body: JsonObject) -> PeerError | None:
    """What a last word that is no result means."""
    if body["kind"] == "refused":
        why = reason(str(body.get("code", "")), body.get("message"))
        if body.get("code") in (Code.UNKNOWN, Code.FAILED):
            return PeerLost(f"{peer}: {why}")
        return PeerRefused(f"{peer} refuses: {why}")
    if body["kind"] == LOST:
        return PeerLost(str(body.get("message", "")))
    return None


def _decoded(data: object) -> bytes:
    try:
        return base64.b64decode(data, validate=True) if isinstance(data, str) else b""
    except (binascii.Error, ValueError) as error:
        raise PeerLost("a piece of the reply is no base64") from error
