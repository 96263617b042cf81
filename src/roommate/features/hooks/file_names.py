"""The names of IPC files: they sort by time, say the kind, and none overwrites another."""

from __future__ import annotations

import re
import secrets
import time

from roommate.domain import HookKind

ERRORS = "hook-errors.log"
"""Text that failing hooks leave, no IPC file."""

SEEDS = {f"{kind}.json": kind for kind in (HookKind.PROGRESS, HookKind.RESULT, HookKind.NOTIFICATION)}
"""Names that hooks of others use again and again."""

_CLAIMED = "seed"
_NAME = re.compile(rf"[0-9]{{20}}-[0-9]{{1,10}}-({'|'.join(HookKind)})-([0-9A-Za-z]{{1,40}})\.json")


def kind_of(name: str) -> HookKind | None:
    """The kind of the IPC file with this name; None when it is no such name."""
    match = _NAME.fullmatch(name)
    return HookKind(match[1]) if match else None


def is_waiting(name: str) -> bool:
    """It is to be looked at: neither unfinished nor set aside, which are dotted, nor what is no IPC file on purpose."""
    return not name.startswith(".") and name != ERRORS and not name.endswith(".tmp")


def is_ours(name: str) -> bool:
    """It can be nothing but an IPC file."""
    return name in SEEDS or kind_of(name) is not None


def claimed(seed: str) -> str:
    """A name of its own for a file with a seed name, so that the next one does not overwrite it."""
    return f"{time.time_ns():020d}-0-{SEEDS[seed]}-{_CLAIMED}{secrets.token_hex(8)}.json"


def is_claimed(name: str) -> bool:
    match = _NAME.fullmatch(name)
    return match is not None and match[2].startswith(_CLAIMED)
