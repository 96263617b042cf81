"""Which program made a connection. Found on demand alone, when people are asked about it: it looks through /proc."""

# pathlib would cost time and memory at every start.
# ruff: noqa: PTH115, PTH123, PTH208

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MOST = 20_000
"""Open files that are looked at: a room can have millions."""
TURN = b"ROOMMATE_TURN="
ARGUMENT, WHOLE = 500, 2000
"""Characters of a command line that are told."""


def owner_of(port: int, served: int) -> dict[str, Any]:
    """Of the process that connected from this port to the one that is served: its command line, and the turn that has
    started it, if any; nothing where none is found.

    It says of itself what it likes. Raises OSError where there is no /proc.
    """
    socket = _socket(f":{port:04X}", f":{served:04X}")
    left = MOST if socket else 0
    for pid in sorted(filter(str.isdigit, os.listdir("/proc")), key=int):
        if left <= 0:
            break
        try:
            files = os.listdir(f"/proc/{pid}/fd")
        except OSError:  # it has ended
            continue
        left -= len(files)
        if any(_leads(f"/proc/{pid}/fd/{file}", socket) for file in files[:MOST]):
            return {"command": _command(pid), "turn": _turn(pid)}
    return {}


def _socket(local: str, remote: str) -> str:
    """As what /proc/PID/fd shows the socket; "" where there is none such. See proc_pid_net(5)."""
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(table, encoding="ascii") as lines:
            for line in lines:
                fields = line.split()
                if fields[1].endswith(local) and fields[2].endswith(remote):
                    return f"socket:[{fields[9]}]"
    return ""


def _leads(link: str, target: str) -> bool:
    try:
        return os.readlink(link) == target
    except OSError:
        return False


def _command(pid: str) -> str:
    """Each argument's first line: some are whole programs."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = file.read(1 << 14).decode("utf-8", "replace").rstrip("\0").split("\0")
    return " ".join(_cut(word.partition("\n")[0], ARGUMENT) for word in words)[:WHOLE]


def _turn(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            words = file.read(1 << 17).split(b"\0")
    except OSError:
        return None
    said = next((word[len(TURN) :] for word in words if word.startswith(TURN)), b"")
    return int(said) if said.isdigit() and len(said) < 16 else None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
