"""How the daemon is, at a glance."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from roommate import __version__
from roommate.config import Settings
from roommate.house import House
from roommate.logs import Newest

STARTING, TRIAL, READY, TROUBLE = "starting", "trial", "ready", "trouble"

SILENT_SECONDS = 60
"""A sync that is older is no good sign: the homeserver is asked twice a minute."""


@dataclass(frozen=True, slots=True)
class Status:
    """Times are seconds; `since` and `last_error_at` count from 1970."""

    state: str
    pid: int
    version: str
    since: float
    uptime: float
    bot: str
    homeserver: str
    model: str
    last_error: str
    last_error_at: float | None
    systemd: bool
    """It is watched over by systemd."""
    trouble: str = ""
    """What is wrong with the state: a full disk, a damaged database."""
    synced_ago: float | None = None
    """None before the first sync."""
    syncing: bool = False
    paused: str = ""
    """Who paused all rooms."""
    rooms: int = 0
    turns: int = 0
    """That run."""
    waiting: int = 0
    """Messages that wait for their turn."""
    unsent: int = 0
    """What waits in the outbox."""
    questions: int = 0
    """Cards that nobody has decided."""


async def status(settings: Settings, since: float, newest: Newest, house: House | None, *, systemd: bool) -> Status:
    """`house` is None while the daemon starts."""
    now, error = time.time(), newest.error
    starting = Status(
        state=STARTING,
        pid=os.getpid(),
        version=__version__,
        since=since,
        uptime=now - since,
        bot=settings.bot,
        homeserver=settings.matrix_homeserver,
        model=settings.llm_model,
        last_error=error[1] if error else "",
        last_error_at=error[0] if error else None,
        systemd=systemd,
    )
    if house is None or (silent := house.silent_seconds()) is None:
        return starting
    pause, trouble = house.holds.of_all(), house.trouble()
    return replace(
        starting,
        state=TROUBLE if trouble else TRIAL if house.holds.on_trial else READY,
        trouble=trouble,
        synced_ago=silent,
        syncing=silent < SILENT_SECONDS,
        paused=pause.by if pause else "",
        rooms=len(await house.rooms.joined()),
        turns=len(await house.turns.running()),
        waiting=sum((await house.inbox.queues()).values()),
        unsent=await house.outbox.count_unsent(),
        questions=len(await house.cards.undecided()),
    )
