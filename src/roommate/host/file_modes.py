"""Folders and files with the modes that they need. Whatever the umask is: it cuts the mode that mkdir(2) is given."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

PRIVATE = 0o700
READABLE = 0o755


def private(folder: Path) -> None:
    """Make a folder that is ours alone, and on the way to it each that is missing: so is STATE_DIR, whoever needs it
    first. One that is there already keeps its mode."""
    if folder.is_dir():
        return
    private(folder.parent)
    try:
        folder.mkdir()
    except FileExistsError:
        if not folder.is_dir():
            raise
        return  # somebody else was quicker
    folder.chmod(PRIVATE)


def readable(folder: Path) -> None:
    """Make a folder that others may look into, such as a room's user; one that is there already becomes like that."""
    folder.mkdir(exist_ok=True)
    folder.chmod(READABLE)


def replace(file: Path, content: bytes, *, mode: int = 0o600, owner: int = -1) -> None:
    """Put a file in the place of what is there, whole and at once, whoever else does so at the same time. It belongs to
    the user `owner`, -1 for ours."""
    descriptor, fresh = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            os.fchmod(out.fileno(), mode)
            os.fchown(out.fileno(), owner, -1)
        Path(fresh).replace(file)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
