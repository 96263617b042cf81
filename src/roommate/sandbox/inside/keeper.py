"""What a room's container runs: it keeps a hand running. The hand is a fork of it, so that nothing must be found or
started when the room is full or somebody ended the hand."""

# pathlib and contextlib would cost time and memory at every start.
# ruff: noqa: PTH123

from __future__ import annotations

import os
import signal
import sys
import time

SPARED = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""What ends all of a room's processes at once does not end us. To stop the container there is a signal that nobody
sends for anything else."""
PAUSE = 0.2
"""Seconds between two hands that end, or that there is no process for."""


def keep() -> None:
    """Returns in each new hand."""
    for number in SPARED:
        signal.signal(number, signal.SIG_IGN)
    name_us("roommate-keep")
    while True:
        try:
            hand = os.fork()
        except OSError:  # the room is full: the hand that comes makes room
            time.sleep(PAUSE)
            continue
        if hand == 0:
            name_us("roommate-hand")
            return
        os.waitpid(hand, 0)
        time.sleep(PAUSE)


def name_us(name: str) -> None:
    """Be called so by ps, and be found by no ``pkill python3`` and no ``pkill -f python``: both mean others.

    The kernel shows what lies where our arguments lay (proc(5), arg_start); see PR_SET_NAME in prctl(2) for the other.
    """
    try:
        with open("/proc/self/comm", "wb", buffering=0) as file:
            file.write(name.encode())
        with open("/proc/self/stat", "rb", buffering=0) as file:
            fields = file.read(4096).rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            memory.write(name.encode()[: end - start - 1].ljust(end - start, b"\0"))
    except OSError:
        pass  # a kernel that lets nobody do so
    sys.argv[0] = name
