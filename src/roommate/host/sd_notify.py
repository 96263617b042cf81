"""What systemd is told where it started us: that we are ready, live, how it goes, and that we stop; sd_notify(3)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Self

log = logging.getLogger(__name__)

STALLED_SECONDS = 420.0
"""A sync that did nothing for so long, not even fail, hangs: the longest that one may take, or be waited for, is five
minutes."""

BEAT_SECONDS = 20.0
"""Between two signs of life where the unit has no watchdog."""

_VARIABLES = _SOCKET, _WATCHDOG = "NOTIFY_SOCKET", "WATCHDOG_USEC"


class Systemd:
    """The manager's socket of a unit with Type=notify. Where nothing listens, because we were started by hand, nothing
    is said."""

    def __init__(
        self, address: str = "", watchdog_seconds: float = 0.0, taken: Mapping[str, str] | None = None
    ) -> None:
        self._taken = dict(taken or {})
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        # Two beats may get lost in a machine's bad moment before the watchdog bites.
        self._seconds = watchdog_seconds / 3 or BEAT_SECONDS
        self._ready = False

    @classmethod
    def of_environment(cls) -> Self:
        """Takes the socket out of the environment: Podman would pass it on, and wait for a word of the container."""
        taken = {name: os.environ.pop(name) for name in _VARIABLES if name in os.environ}
        return cls(taken.get(_SOCKET, ""), int(taken.get(_WATCHDOG, 0)) / 1e6, taken)

    @property
    def watches(self) -> bool:
        """It started us, and starts us again when we end."""
        return bool(self._address)

    def ready(self, status: str) -> None:
        self._ready = True
        self._say("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def restarting(self) -> None:
        """The process becomes the program of another release, perhaps: it gets what it was started with."""
        self._say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
        os.environ |= self._taken

    async def run(self, status: Callable[[], str], stalled_seconds: Callable[[], float]) -> None:
        """Tell `status` and that we live, for ever; `stalled_seconds` is since when the sync has done nothing at all.

        An event loop that hangs says nothing, and neither do we when the sync hangs: then systemd starts us again. A
        homeserver that is away is not worth a restart, neither while we run nor while we start: that takes its time.
        """
        while self._address:
            if (seconds := stalled_seconds()) > STALLED_SECONDS:
                log.error("the sync has done nothing for %.0f s: systemd is not told any more that we live", seconds)
            else:
                # The watchdog bites already where another program was ready as this process before.
                time_to_start = () if self._ready else (f"EXTEND_TIMEOUT_USEC={self._seconds * 3e6:.0f}",)
                self._say("WATCHDOG=1", f"STATUS={status()}", *time_to_start)
            await asyncio.sleep(self._seconds)

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        # A manager that restarts is away for a moment: a lost beat is not worth an error.
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto("\n".join(lines).encode(), self._address)
