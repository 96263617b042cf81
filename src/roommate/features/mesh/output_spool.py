"""Output of a program that waits to become files: on the disk, in files without a name, of which a kill leaves none."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from roommate.features.mesh.methods import Stream

PART = 8 << 20
"""Bytes of one file: it is in memory while it is uploaded, and homeservers have a limit for one."""


class OutputSpool:
    """Close it."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` is where there is room, and None where the system has such files."""
        self._folder = folder
        self._files: dict[Stream, IO[bytes]] = {}

    def __bool__(self) -> bool:
        return bool(self._files)

    def add(self, stream: Stream, piece: bytes | bytearray) -> None:
        """Raises OSError, such as on a full disk."""
        if stream not in self._files:
            self._files[stream] = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 — `close`
        file, left = self._files[stream], memoryview(piece)
        while left:
            left = left[file.write(left) :]

    async def parts(self) -> AsyncIterator[tuple[Stream, bytes]]:
        """All of it, the streams in the order in which they began."""
        for stream, file in self._files.items():
            file.seek(0)
            while part := await asyncio.to_thread(file.read, PART):
                yield stream, part

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()
