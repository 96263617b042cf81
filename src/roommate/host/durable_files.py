"""Files and links that are there whole or not at all, whoever else writes them at the same time."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(file: Path, content: bytes, *, mode: int = 0o600, owner: int = -1, lasting: bool = False) -> None:
    """Put a file in the place of what is there. It belongs to the user `owner`, -1 for ours. One that is `lasting` is
    there after a power cut as well."""
    descriptor, fresh = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}-")
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            os.fchmod(out.fileno(), mode)
            os.fchown(out.fileno(), owner, -1)
            if lasting:
                out.flush()
                os.fsync(out.fileno())
        Path(fresh).replace(file)
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    if lasting:
        to_disk(file.parent)


def link(place: Path, target: Path) -> None:
    """Make `place` a symbolic link to `target`, in the place of what it was; after a power cut as well."""
    new = place.with_name(f".{place.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(place)
    to_disk(place.parent)


def to_disk(path: Path) -> None:
    """What was written to a file, or which files a folder has, is there after a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
