"""A file that a peer gives is in memory once, however large its parts are."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from roommate.domain import SentFile
from roommate.errors import ToolError
from roommate.features.mesh.methods import Work
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.share_methods import Put, share_methods
from tests.mesh.peer import new_key, request

PIECE, PIECES = b"x" * (64 << 10), 256
SIZE = len(PIECE) * PIECES


class Room:
    """Media of which each part is the same bytes again and again, and a hand that takes one file."""

    def __init__(self) -> None:
        self.written: list[str] = []

    async def pieces(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]:
        for _ in range(most // len(PIECE)):
            yield bytes(bytearray(PIECE))

    async def hand(self, room_id: str) -> Any:
        return self

    async def write(self, path: str, content: bytes, *, exact: bool) -> None:
        self.written.append(hashlib.sha256(content).hexdigest())


def asked(wrong: bool = False) -> Put:
    half = {"url": "mxc://x/1", "size": SIZE // 2, "sha256": hashlib.sha256(PIECE * (PIECES // 2)).hexdigest()}
    whole = hashlib.sha256(b"" if wrong else PIECE * PIECES).hexdigest()
    return Put.model_validate({"path": "a", "size": SIZE, "sha256": whole, "parts": [half, half]})


async def test_a_file_is_in_memory_once() -> None:
    room: Any = Room()
    put, *_ = share_methods(room, room)
    work = Work(request(new_key(), "@ann:x", "!r:x", "k" * 43, "share.put"), Facts(paths=("/workspace/a",)), 60, SIZE)
    params = asked()
    tracemalloc.start()
    try:
        result = await put.do(params, work)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert room.written == [params.sha256] == [result["sha256"]]
    assert most < 1.5 * SIZE, f"{most / SIZE:.1f} times the file"
    with pytest.raises(ToolError, match="not what its hash says"):
        await put.do(asked(wrong=True), work)
    assert len(room.written) == 1
