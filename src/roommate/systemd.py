"""What systemd is told where it started us: that we are ready, live, how it goes, and that we stop; sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable
from typing import Self

log = logging.getLogger(__name__)

STALLED_SECONDS = 420.0
"""A sync that did nothing for so long, not even fail, hangs: the longest that one may take is five minutes."""

BEAT_SECONDS = 20.0
"""Between two signs of life where the unit has no watchdog."""


class Systemd:
    """The manager's socket of a unit with Type=notify. Where nothing listens, because we were started by hand, nothing
    is said."""

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        # Two beats may get lost in a machine's bad moment before the watchdog bites.
        self._seconds = watchdog_seconds / 3 or BEAT_SECONDS
        self._ready = False

    @classmethod
    def of_environment(cls) -> Self:
        """Takes the socket out of the environment: Podman would pass it on, and wait for a word of the container."""
        address = os.environ.pop("NOTIFY_SOCKET", "")
        return cls(address, int(os.environ.pop("WATCHDOG_USEC", 0)) / 1e6)

    def ready(self) -> None:
        self._ready = True
        self._say("READY=1")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    async def run(self, status: Callable[[], str], stalled_seconds: Callable[[], float]) -> None:
        """Tell `status` and that we live, for ever; `stalled_seconds` is since when the sync has done nothing at all.

        An event loop that hangs says nothing, and neither do we when the sync hangs: then systemd starts us again. A
        homeserver that is away is not worth a restart, neither while we run nor while we start: that takes its time.
        """
        while self._address:
            if (seconds := stalled_seconds()) > STALLED_SECONDS:
                log.error("the sync has done nothing for %.0f s: systemd is not told any more that we live", seconds)
            else:
                living = "WATCHDOG=1" if self._ready else f"EXTEND_TIMEOUT_USEC={self._seconds * 3e6:.0f}"
                self._say(f"STATUS={status()}", living)
            await asyncio.sleep(self._seconds)

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that restarts is away for a moment: a lost beat is not worth an error.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto("\n".join(lines).encode(), self._address)
