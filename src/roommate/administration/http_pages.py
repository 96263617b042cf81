"""What the HTTP listener shows: `/health` for whoever asks whether we are well, `/metrics` for Prometheus.

Nothing there is secret, and nothing says which rooms there are.
"""

from __future__ import annotations

import asyncio
import json
import platform
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from roommate.administration import daemon_health
from roommate.administration.daemon_health import Problem
from roommate.administration.status import Status
from roommate.domain import JsonObject
from roommate.errors import StateError
from roommate.monitoring.counts import Counts

if TYPE_CHECKING:
    from roommate.monitoring.listener import Answer, Route

JSON = "application/json; charset=utf-8"

Look = Callable[[], Awaitable[Status]]
"""How the daemon is now. Raises StateError."""


def routes(look: Look, counts: Counts, commit: str) -> Mapping[str, Route]:
    """By path. `commit` is that of the release, where there is one."""

    async def healthy(headers: Mapping[str, str]) -> Answer:
        found: dict[str, object]
        try:
            status = await look()
        except StateError:
            found = {"status": daemon_health.CRITICAL, "problems": [_shown(database_lost())]}
        else:
            found = {
                "status": status.health,
                "problems": [_shown(problem) for problem in status.problems],
                "state": status.state,
                "version": status.version,
                "uptime_seconds": round(status.uptime, 1),
                "sync_age_seconds": None if status.synced_ago is None else round(status.synced_ago, 1),
            }
        return 503 if found["status"] == daemon_health.CRITICAL else 200, JSON, (json.dumps(found) + "\n").encode()

    async def metrics(headers: Mapping[str, str]) -> Answer:
        try:
            status = await look()
        except StateError:
            return 503, "text/plain; charset=utf-8", b"the state database does not answer\n"
        content_type, text = await asyncio.to_thread(_exposition, headers.get("Accept", ""), status, counts, commit)
        return 200, content_type, text

    return {"/health": healthy, "/metrics": metrics}


def _shown(problem: Problem) -> JsonObject:
    """Without the paths of this host that are in what is said of the database."""
    text = database_lost().text if problem.key == daemon_health.DATABASE else problem.text
    return {"key": problem.key, "level": problem.level, "text": text}


def database_lost() -> Problem:
    return Problem(
        daemon_health.DATABASE,
        daemon_health.CRITICAL,
        "the state database is damaged or cannot be written: the log says why",
        True,
    )


def _exposition(accept: str, status: Status, counts: Counts, commit: str) -> tuple[str, bytes]:
    from roommate.monitoring.exposition import Gauge, exposition  # a tenth of a second, for those who want it

    there = {problem.key for problem in status.problems}
    levels = [daemon_health.OK, daemon_health.WARNING, daemon_health.CRITICAL]
    gauges = [
        Gauge("health", "0 is ok, 1 a warning, 2 critical", levels.index(status.health)),
        Gauge("ready", "1 once it syncs and answers", float(status.state == daemon_health.READY)),
        Gauge("uptime_seconds", "Since this process became a daemon", status.uptime),
        Gauge("sync_age_seconds", "Since the homeserver last answered a sync", status.synced_ago),
        Gauge("paused", "1 while all rooms are paused", float(bool(status.paused))),
        Gauge("rooms", "Rooms that the bot is in", status.rooms),
        Gauge("containers", "Containers of rooms that run", status.containers),
        Gauge("turns_running", "Turns that run", status.turns),
        Gauge("inbox_messages", "Messages that have no answer yet", status.waiting),
        Gauge("inbox_oldest_seconds", "Since the oldest of them was said", status.waiting_seconds),
        Gauge("outbox_messages", "Messages that wait to be sent", status.unsent),
        Gauge("outbox_oldest_seconds", "Since the oldest of them was first seen to wait", status.unsent_seconds),
        Gauge("cards_open", "Questions that nobody has decided", status.questions),
        Gauge("database_bytes", "Size of the state database", status.database_bytes),
        Gauge("disk_free_bytes", "Free on the disk of STATE_DIR", status.disk_free),
        Gauge("disk_size_bytes", "Size of the disk of STATE_DIR", status.disk_size),
        Gauge("backup_age_seconds", "Age of the newest backup", status.backup_age),
    ]
    return exposition(
        accept,
        build={"version": status.version, "commit": commit, "python": platform.python_version()},
        gauges=gauges,
        problems={key: key in there for key in daemon_health.KEYS},
        errors=status.errors,
        unread=status.undecrypted,
        withheld={"others": status.withheld_from_bot, "bot": status.withheld_by_bot},
        counts=counts,
    )
