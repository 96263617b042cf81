"""Folders with the modes that they need. Whatever the umask is: it cuts the mode that mkdir(2) is given."""

from __future__ import annotations

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
