"""Run in a room's container: writes what comes at its stdin to a file of the workspace, in which it is started.

At stdin are pieces, each behind its length in four bytes; one of no length says that all of it was there. All below the
workspace may be changed by others while this runs: folders are opened one by one, and no link is followed.
"""

# It runs alone, with the standard library of any Python 3.
# ruff: noqa: T201, PTH122, PTH123, SIM105

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import sys

NAMES = 1000


class Refusal(Exception):
    pass


def folder(at: int, name: str) -> int:
    try:
        os.mkdir(name, 0o755, dir_fd=at)
    except FileExistsError:
        pass
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Refusal(f"{name} in the workspace is no folder: move it away") from None
        raise


def tell(**said: str) -> None:
    print(json.dumps(said), flush=True)


def exactly(length: int) -> bytes:
    read = b""
    while len(read) < length:
        more = sys.stdin.buffer.read(length - len(read))
        if not more:
            raise Refusal("it broke off")
        read += more
    return read


def digest(at: int, name: str) -> bytes | None:
    """None for what is no file."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
    except OSError:
        return None
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        found = hashlib.sha256()
        while piece := file.read(1 << 20):
            found.update(piece)
        return found.digest()


def main() -> None:
    asked = json.loads(sys.argv[1])
    at = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    for name in asked["folder"]:
        at = folder(at, name)
    draft, wanted = asked["draft"], asked["name"]
    try:
        os.unlink(draft, dir_fd=at)  # of an earlier try
    except FileNotFoundError:
        pass
    seen = hashlib.sha256()
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=at)
    try:
        with open(fd, "wb") as file:
            while length := int.from_bytes(exactly(4), "big"):
                piece = exactly(length)
                seen.update(piece)
                file.write(piece)
            file.flush()
            os.fsync(fd)
        stem, suffix = os.path.splitext(wanted)
        for number in range(1, NAMES):
            name = wanted if number == 1 else f"{stem}-{number}{suffix}"
            try:
                os.link(draft, name, src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False)
            except FileExistsError:
                if digest(at, name) != seen.digest():
                    continue
            tell(name=name)
            return
        raise Refusal(f"there are {NAMES} files with that name")
    finally:
        os.unlink(draft, dir_fd=at)


if __name__ == "__main__":
    try:
        main()
    except Refusal as refusal:
        tell(error=str(refusal))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        tell(error="the room's disk is full" if full else error.strerror or str(error))
