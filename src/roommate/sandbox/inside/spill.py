"""Long output of a call, kept whole in a file of the workspace."""

from __future__ import annotations

import time

from roommate.sandbox.inside.output_files import Place, Record

OUTPUT_CAP = 256 << 20


class Spill:
    """Takes a call's output; past `after` bytes it is in a file, all of it. None: never."""

    def __init__(self, place: Place, number: int, after: int | None) -> None:
        self._place, self._number, self._after = place, number, after
        self._early: list[bytes] = []
        self._size = 0
        self._record: Record | None = None

    def add(self, chunk: bytes) -> None:
        if self._after is None:
            return
        self._size += len(chunk)
        if self._record:
            self._record.write(chunk)
        else:
            self._early.append(chunk)
            if self._size > self._after:
                try:
                    name = f"{int(time.time())}-{self._number}.txt"
                    self._record = Record(self._place, name, OUTPUT_CAP)
                    for piece in self._early:
                        self._record.write(piece)
                except OSError:
                    self._after = None
                self._early = []

    def close(self) -> str | None:
        """The file, relative to the workspace, where there is one; what comes now is not kept."""
        self._after = None
        if self._record is None:
            return None
        self._record.close()
        return self._record.shown or None
