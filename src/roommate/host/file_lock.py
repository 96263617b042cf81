"""Being the only one, of all processes, that does something: see flock(2). The kernel ends it with its process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone(path: Path, taken: Exception | None = None) -> Iterator[None]:
    """While nobody else is, by a folder, or by a file that is made where it is missing. Raises `taken` where somebody
    else is; with None it waits for them. Blocks."""
    lock = os.open(path, os.O_CLOEXEC | (os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT), 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if taken is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise taken or BlockingIOError from None
        yield
    finally:
        os.close(lock)
