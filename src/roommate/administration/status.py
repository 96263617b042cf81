"""How the daemon is, at a glance."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from roommate import __version__
from roommate.administration import daemon_health
from roommate.administration.daemon_health import READY, STARTING, TRIAL, TROUBLE, Problem, Signs
from roommate.logs import Logs
from roommate.maintenance import backup
from roommate.maintenance.remote_checks import SILENT_SECONDS, room_on_disk
from roommate.monitoring.counts import Counts
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.rooms.turn_holds import Holds
from roommate.settings.config import Settings
from roommate.store import Vitals


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
    disk_free: int
    """Bytes of the disk that STATE_DIR is on."""
    disk_size: int
    backup_age: float | None
    """None where there is no backup, or none that can be seen."""
    errors: int
    """That were logged."""
    trouble: str = ""
    """What is wrong with the state: a full disk, a damaged database."""
    synced_ago: float | None = None
    """None before the first sync."""
    syncing: bool = False
    paused: str = ""
    """Who paused all rooms."""
    rooms: int = 0
    containers: int = 0
    """That run."""
    turns: int = 0
    """That run."""
    waiting: int = 0
    """Messages that have no answer yet."""
    waiting_seconds: float = 0.0
    """The age of the oldest of them."""
    unsent: int = 0
    """What waits in the outbox."""
    unsent_seconds: float = 0.0
    questions: int = 0
    """Cards that nobody has decided."""
    database_bytes: int = 0
    undecrypted: int = 0
    """Events that came without their key."""
    withheld_from_bot: int = 0
    """Keys that were not given, each once."""
    withheld_by_bot: int = 0
    health: str = daemon_health.OK
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Gauges:
    """Where what there is to say of a daemon is read."""

    settings: Callable[[], Settings]
    logs: Logs
    holds: Holds
    queues: Vitals
    sandboxes: Sandboxes
    counts: Counts
    silent_seconds: Callable[[], float | None]
    """Since the homeserver last answered a sync; None before the first."""
    trouble: Callable[[], str]
    """Why nothing can be kept at present, or what is damaged; empty when all is well."""
    policy: Callable[[], str]
    """What is wrong with the policy for other daemons; empty when it can be read."""
    on_trial: Callable[[], bool]
    """Is it a release that may be taken back?"""
    systemd: bool
    """It is watched over by systemd."""
    since: float
    encryption: Callable[[], Mapping[str, int]]
    """What is counted of it; nothing where there is none."""

    async def look(self) -> Status:
        """How the daemon is now. Raises StateError."""
        now, settings, error = time.time(), self.settings(), self.logs.newest.error
        free, size, backup_age = await asyncio.to_thread(_disk, settings)
        counted = self.encryption()
        found = Status(
            state=STARTING,
            pid=os.getpid(),
            version=__version__,
            since=self.since,
            uptime=now - self.since,
            bot=settings.bot,
            homeserver=settings.matrix_homeserver,
            model=settings.llm_model,
            last_error=error[1] if error else "",
            last_error_at=error[0] if error else None,
            systemd=self.systemd,
            disk_free=free,
            disk_size=size,
            backup_age=backup_age,
            errors=self.logs.newest.count,
            undecrypted=counted.get("undecrypted", 0),
            withheld_from_bot=counted.get("withheld_from_bot", 0),
            withheld_by_bot=counted.get("withheld_by_bot", 0),
        )
        if (silent := self.silent_seconds()) is not None:
            pause, trouble, queues = self.holds.of_all(), self.trouble(), await self.queues.queues()
            found = replace(
                found,
                state=TROUBLE if trouble else TRIAL if self.on_trial() else READY,
                trouble=trouble,
                synced_ago=silent,
                syncing=silent < SILENT_SECONDS,
                paused=pause.by if pause else "",
                rooms=queues.rooms,
                containers=self.sandboxes.running,
                turns=queues.turns,
                waiting=queues.waiting,
                waiting_seconds=queues.waiting_seconds,
                unsent=queues.unsent,
                unsent_seconds=queues.unsent_seconds,
                questions=queues.cards,
                database_bytes=queues.database_bytes,
            )
        problems = daemon_health.problems(
            Signs(
                trouble=found.trouble,
                uptime=found.uptime,
                synced_ago=found.synced_ago,
                unsent_seconds=found.unsent_seconds,
                disk_free=free,
                disk_size=size,
                backup_age=backup_age,
                model_failures=self.counts.model_failures,
                policy=self.policy(),
            )
        )
        return replace(found, health=daemon_health.level(problems), problems=problems)


def _disk(settings: Settings) -> tuple[int, int, float | None]:
    """Bytes free and in all; the age of the newest backup. Blocks."""
    try:
        free, size = room_on_disk(settings.state_dir)
    except OSError:
        return 0, 0, None
    try:
        made = [backup.made_at(file) for file in backup.found(settings.backups)[-1:]]
    except OSError:
        made = []
    return free, size, max(0.0, time.time() - made[0]) if made else None
