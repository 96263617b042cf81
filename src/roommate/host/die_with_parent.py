"""A program that ends with the process that starts it, also when that is killed with -9."""

from __future__ import annotations

import os
from collections.abc import Sequence

_UNLESS_ORPHANED = '[ "$PPID" = "$0" ] && exec "$@"'
"""We may have died before the kernel was told to watch us: nobody would end the program then, so it does not begin."""


def tied(command: Sequence[str], signal: str = "TERM") -> list[str]:
    """The command line that starts `command` so that it gets `signal` when the calling thread's process is gone.

    Start it from the main thread: the kernel watches the thread that forked (prctl(2), PR_SET_PDEATHSIG). Needs
    setpriv of util-linux.
    """
    return ["setpriv", "--pdeathsig", signal, "/bin/sh", "-c", _UNLESS_ORPHANED, str(os.getpid()), *command]
