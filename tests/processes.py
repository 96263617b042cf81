"""What runs on this machine."""

from __future__ import annotations

import contextlib
from pathlib import Path


def sleeping(seconds: str) -> list[str]:
    """Processes of ``sleep SECONDS``, a number that no other test has."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if entry.read_bytes() == f"sleep\0{seconds}\0".encode():
                found.append(entry.parent.name)
    return found
