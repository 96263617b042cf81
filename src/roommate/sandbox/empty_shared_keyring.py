"""The kernel's keys (keyrings(7)): containers have no keyring of their own, and see one of ours that is empty."""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import platform
from pathlib import Path

from roommate.domain import Check

log = logging.getLogger(__name__)

_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_JOIN_SESSION_KEYRING = 1
_USERS = Path("/proc/key-users")
_NEARLY = 0.8


@functools.cache
def leave_behind() -> None:
    """From now on this thread, and what it starts, has an empty session keyring instead of that of whoever started us.

    Whoever has a session keyring possesses what is in it, whichever user he is: a container that gets none of its own
    has ours. Our seccomp profile refuses keyctl(2), but not every host has one.
    """
    number = _KEYCTL.get(platform.machine())
    if number is None or ctypes.CDLL(None, use_errno=True).syscall(number, _JOIN_SESSION_KEYRING, None) < 0:
        log.debug("rooms see the session keyring of whoever started this: %s", os.strerror(ctypes.get_errno()))


def examine(user: int, users: Path = _USERS) -> Check:
    """May `user`, whom the rooms' ids belong to, have more keys? Others' containers take them, and ours of before."""
    what, number = "kernel keys", "root_maxkeys" if user == 0 else "maxkeys"
    taken, most = _keys(user, users)
    if not most:
        return Check(what, True, "none are taken by containers")
    mend = (
        f"sysctl -w kernel.keys.{number}={max(20_000, most * 10)}, and into /etc/sysctl.d; containers made by Roommate "
        "take none once they were started again"
    )
    return Check(what, taken < most * _NEARLY, f"user {user} has {taken} of at most {most}", mend, needed=False)


def _keys(user: int, users: Path) -> tuple[int, int]:
    """How many keys a user has and may have; nothing is known of one without any. See proc_key-users(5)."""
    try:
        lines = users.read_text().splitlines()
    except OSError:
        return 0, 0
    for line in lines:
        owner, _, counts = line.partition(":")
        if owner.strip() == str(user):
            taken, _, most = counts.split()[2].partition("/")
            return int(taken), int(most)
    return 0, 0
