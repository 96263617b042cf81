"""A file that a peer gives is nowhere whole in the daemon's memory, however large it is."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from roommate.domain import SentFile
from roommate.errors import ToolError, Transient
from roommate.features.mesh.methods import Work
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.share_methods import Put, share_methods
from tests.live_hand import LiveHand, live_hand
from tests.mesh.peer import new_key, request
from tests.patience import until

PIECE, PIECES = b"x" * (64 << 10), 1600
SIZE = len(PIECE) * PIECES
"""100 MiB."""
MOST = 8 << 20
"""Bytes of memory."""


class Room:
    """Media of which each part is the same bytes again and again, and a hand."""

    def __init__(self, hand: LiveHand) -> None:
        self.breaks = False
        self._hand = hand

    async def pieces(self, file: SentFile, most: int) -> AsyncGenerator[bytes, None]:
        for _ in range(most // len(PIECE)):
            yield bytes(bytearray(PIECE))
        if self.breaks:
            raise Transient("the homeserver went away")

    async def hand(self, room_id: str) -> Any:
        return self._hand.host


def asked(wrong: bool = False) -> Put:
    half = {"url": "mxc://x/1", "size": SIZE // 2, "sha256": hashlib.sha256(PIECE * (PIECES // 2)).hexdigest()}
    whole = hashlib.sha256(b"" if wrong else PIECE * PIECES).hexdigest()
    return Put.model_validate({"path": "a", "size": SIZE, "sha256": whole, "parts": [half, half]})


async def test_a_file_is_never_whole_in_memory() -> None:
    async with live_hand() as hand:
        room: Any = Room(hand)
        put, *_ = share_methods(room, room)
        file = hand.workspace.resolve() / "a"
        file.write_text("of before")
        work = Work(request(new_key(), "@ann:x", "!r:x", "k" * 43, "share.put"), Facts(paths=(str(file),)), 60, SIZE)
        with pytest.raises(ToolError, match="not what its hash says"):
            await put.do(asked(wrong=True), work)
        room.breaks = True
        with pytest.raises(Transient):
            await put.do(asked(), work)
        await until(lambda: list(file.parent.iterdir()) == [file], "that nothing half is left")
        assert file.read_text() == "of before"

        room.breaks, params = False, asked()
        tracemalloc.start()
        try:
            result = await put.do(params, work)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        with file.open("rb") as written:
            assert hashlib.file_digest(written, "sha256").hexdigest() == params.sha256 == result["sha256"]
        print(f"{most / (1 << 20):.1f} MiB of memory")
        assert most < MOST, f"{most} bytes of memory for {SIZE}"
