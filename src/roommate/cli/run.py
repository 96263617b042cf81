"""`roommate run`: the daemon in the foreground."""

from __future__ import annotations

import gc


def run() -> int:
    """Until SIGTERM or Ctrl-C; gives the exit code."""
    # What is imported is no garbage, and stays: to look through it for cycles takes a tenth of a start, and as long
    # again each time that all is looked through later.
    gc.disable()
    from roommate import daemon_process
    from roommate.settings import config

    gc.freeze()
    gc.enable()
    return daemon_process.main(config.load())
