"""The socket's place: a folder that nobody else may write into, and nothing in the way but a socket of before."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from roommate.errors import StateError
from roommate.host import folder_modes

MOST_PATH = 107
"""Bytes of a Unix socket's path (unix(7), sun_path)."""

BACKLOG = 64


def listen(path: Path) -> socket.socket:
    """Listen on `path`, open to its owner alone. Only the daemon that holds the state's lock may call this.

    Raises StateError where others could put something in its place, or something is there that is no socket.
    """
    if len(os.fsencode(path)) > MOST_PATH:
        raise StateError(f"{path} is too long for a socket ({MOST_PATH} bytes): set IPC_BASE_DIR to a shorter path")
    try:
        folder_modes.private(path.parent)
        _check_folder(path.parent)
        _clear(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise StateError(f"cannot listen on {path}: {error.strerror}") from error
    return listener


def _check_folder(folder: Path) -> None:
    about = folder.stat()
    if about.st_uid != os.geteuid():
        raise StateError(
            f"{folder} belongs to user {about.st_uid}, not to this one: set IPC_BASE_DIR to another folder"
        )
    mode = stat.S_IMODE(about.st_mode)
    if mode & 0o022:
        raise StateError(f"others may write into {folder} (mode {mode:o}): look at what is in it, then chmod 700 it")
    if mode & 0o055:
        if any(folder.iterdir()):  # it may be the home of others, such as /run
            raise StateError(
                f"others may look into {folder}: chmod 700 it if it is Roommate's alone, or set IPC_BASE_DIR"
            )
        folder.chmod(0o700)


def _clear(path: Path) -> None:
    """A socket here is of a daemon that is gone: whoever has the lock is alone."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(about.st_mode):
        raise StateError(f"{path} is no socket: whatever put it there, look at it and remove it")
    path.unlink()
