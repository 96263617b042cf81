"""A call that tells which files a program and paths mean here, with symbolic links followed."""

# pathlib would cost time and memory at every start.
# ruff: noqa: PTH113, PTH116, PTH118

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from roommate.sandbox.inside.path_resolution import Folders


def locate(asked: dict[str, Any], folders: Folders) -> dict[str, Any]:
    """Raises OSError for no folder. What leads nowhere, or has a name that is no UTF-8, is empty."""
    folder = folders.place(asked["cwd"])
    os.stat(os.path.join(folder, "."))
    found = _found(asked["program"], folder)
    named_in, name = os.path.split(found)
    # What a program is called decides what some do: a name counts where the room's own programs cannot have given it.
    if not found or _is_theirs(os.path.join(folder, named_in)):
        named_in = name = ""
    return {
        "folder": _real(folder),
        "program": _real(os.path.join(folder, found)) if found else "",
        "named_in": _real(os.path.join(folder, named_in)) if name else "",
        "name": _text(name),
        "paths": [_real(os.path.join(folder, path), missing=True) for path in asked["paths"]],
    }


def _found(program: str, folder: str) -> str:
    """Its path as a shell in that folder takes it, empty where there is none."""
    if not program or "/" in program:
        return program
    for place in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder, place, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def _is_theirs(folder: str) -> bool:
    """May the room's own programs change what is in it?"""
    try:
        return os.access(folder, os.W_OK) or os.stat(folder).st_uid == os.geteuid()
    except OSError:
        return True


def _real(path: str, missing: bool = False) -> str:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if not missing:
            return ""
    except OSError:  # such as links that lead to each other
        return ""
    return _text(os.path.realpath(path))


def _text(path: str) -> str:
    try:
        path.encode()
    except UnicodeEncodeError:
        return ""
    return path
