"""``share.put``, ``share.get`` and ``share.ls``: files of a room's workspace, to and from a peer."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import PurePosixPath
from typing import Annotated, Any, Protocol

from pydantic import Field

from roommate.domain import JsonObject, SentFile
from roommate.errors import ToolError
from roommate.features.mesh.methods import Method, Shape, Work
from roommate.features.mesh.output_pieces import send_file
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.text.amounts import size

PART = 8 << 20
"""Bytes of a file that are in memory, and one upload."""
SLICE = 1 << 20
MOST_ENTRIES = 1000
MOST_LISTED = 24 * 1024
"""Bytes of names: a reply has to fit into one event."""

Path = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]


class Media(Protocol):
    """See matrix/media_download.py."""

    def pieces(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]: ...


class Get(Shape):
    path: Path


class List(Shape):
    path: Path = "."


class Part(Shape):
    """`file` is an ``EncryptedFile``, with its address."""

    sha256: Hash
    size: Count
    url: Annotated[str, Field(max_length=255)] = ""
    file: Annotated[dict[str, Any], Field(default_factory=dict)]

    @property
    def sent(self) -> SentFile:
        return SentFile("", str(self.file.get("url", "")) or self.url, size=0, key=self.file or None)


class Put(Shape):
    path: Path
    size: Count
    sha256: Hash
    parts: Annotated[list[Part], Field(max_length=64)]


def share_methods(sandboxes: Sandboxes, media: Media) -> tuple[Method[Put], Method[Get], Method[List]]:
    async def put(params: Put, work: Work) -> JsonObject:
        if params.size != sum(part.size for part in params.parts):
            raise ToolError("its parts have another size than it has")
        _fits(params.size, work)
        hand = await sandboxes.hand(work.room_id)
        await hand.write_pieces(_judged(work), checked(params), exact=True)
        return {"path": params.path, "sha256": params.sha256, "bytes": params.size}

    async def checked(params: Put) -> AsyncIterator[bytes]:
        """The file as it comes; ToolError at its end, before it takes the place of another, where it is not that."""
        count, whole = 0, hashlib.sha256()
        for part in params.parts:
            begins, of_part = count, hashlib.sha256()
            async with contextlib.aclosing(media.pieces(part.sent, part.size)) as pieces:
                async for piece in pieces:
                    count += len(piece)
                    of_part.update(piece)
                    whole.update(piece)
                    yield piece
            _check(count - begins, of_part.hexdigest(), part.size, part.sha256, "a part")
        _check(count, whole.hexdigest(), params.size, params.sha256, "it")

    async def get(params: Get, work: Work) -> JsonObject:
        hand = await sandboxes.hand(work.room_id)
        whole, count, total, encrypted = hashlib.sha256(), 0, 1, True
        while count < total:
            part = bytearray()
            while len(part) < PART and count + len(part) < total:
                got = await hand.read(_judged(work), count + len(part), SLICE, exact=True)
                total = got.size
                _fits(total, work)
                part += got.content
                if not got.content:
                    total = count + len(part)
            whole.update(part)
            count += len(part)
            if part or not total:
                place = await send_file(work, "file", bytes(part))
                encrypted = encrypted and "file" in place
            work.tail(f"{size(count)} of {size(total)}\n".encode())
        return {"path": params.path, "sha256": whole.hexdigest(), "bytes": count, "encrypted": encrypted}

    async def ls(params: List, work: Work) -> JsonObject:
        hand = await sandboxes.hand(work.room_id)
        found, total = await hand.list(_judged(work), None, MOST_ENTRIES, exact=True)
        entries: list[JsonObject] = []
        left = MOST_LISTED
        for one in found:
            name = PurePosixPath(one.path).name.encode(errors="replace").decode()
            if (left := left - len(name.encode()) - 64) < 0:
                break
            entries.append({"name": name, "kind": one.kind, "size": one.size})
        return {"entries": entries, "total": total}

    return Method("share.put", Put, put), Method("share.get", Get, get), Method("share.ls", List, ls)


def _judged(work: Work) -> str:
    [path] = work.facts.paths
    return path


def _fits(count: int, work: Work) -> None:
    if count > work.output_bytes:
        raise ToolError(f"it has {size(count)}, and the policy grants {size(work.output_bytes)}")


def _check(count: int, sha256: str, wanted: int, hash_wanted: str, what: str) -> None:
    if (count, sha256) != (wanted, hash_wanted):
        raise ToolError(f"{what} is not what its hash says")
