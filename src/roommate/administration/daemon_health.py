"""Is the daemon well? What is wrong, as monitors, alerts and people are told it: without a word about rooms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roommate.maintenance.remote_checks import LOW_DISK, SILENT_SECONDS
from roommate.text.amounts import size

OK, WARNING, CRITICAL = "ok", "warning", "critical"

AWAY_SECONDS = 300
"""So long it is not a restart of the homeserver any more."""
START_SECONDS = 180
"""Without a first sync."""
UNSENT_SECONDS = 600, 3600
"""What waits in the outbox: for longer a homeserver's rate limit seldom holds it."""
FREE = LOW_DISK, 0.03
"""Of the disk that STATE_DIR is on."""
BACKUP_SECONDS = 2 * 86_400
MODEL_FAILURES = 3
"""In a row."""

STARTING, TRIAL, READY, TROUBLE = "starting", "trial", "ready", "trouble"

START, SYNC, OUTBOX, DISK, DATABASE, BACKUP, MODEL, POLICY = (
    "start",
    "sync",
    "outbox",
    "disk",
    "database",
    "backup",
    "model",
    "policy",
)
KEYS = (START, SYNC, OUTBOX, DISK, DATABASE, BACKUP, MODEL, POLICY)
"""Every kind of problem that there is."""


@dataclass(frozen=True, slots=True)
class Problem:
    key: str
    level: str
    text: str
    """One line."""
    alert: bool = False
    """An alert tells it, which wakes somebody up."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What health is judged by. Times are seconds; None is not known."""

    trouble: str
    """Of the state: a full disk, a damaged database."""
    uptime: float
    synced_ago: float | None
    unsent_seconds: float
    disk_free: int
    disk_size: int
    backup_age: float | None
    model_failures: int
    policy: str = ""
    """What is wrong with the policy for other daemons."""


def problems(signs: Signs) -> tuple[Problem, ...]:
    """The worst first."""
    found = (_sync(signs), _state(signs), _outbox(signs), _disk(signs), _backup(signs), _model(signs), _policy(signs))
    return tuple(sorted((one for one in found if one), key=lambda one: one.level != CRITICAL))


def level(found: Sequence[Problem]) -> str:
    return CRITICAL if any(one.level == CRITICAL for one in found) else WARNING if found else OK


def _sync(signs: Signs) -> Problem | None:
    if (silent := signs.synced_ago) is None:
        if signs.uptime < START_SECONDS:
            return Problem(START, CRITICAL, "not ready yet: there was no sync so far")
        return Problem(
            SYNC, CRITICAL, f"the homeserver has not answered since the start {signs.uptime:.0f} s ago", True
        )
    if silent < SILENT_SECONDS:
        return None
    away = silent >= AWAY_SECONDS
    return Problem(SYNC, CRITICAL if away else WARNING, f"the homeserver has not answered for {silent:.0f} s", away)


def _state(signs: Signs) -> Problem | None:
    return Problem(DATABASE, CRITICAL, signs.trouble, True) if signs.trouble else None


def _outbox(signs: Signs) -> Problem | None:
    some, many = UNSENT_SECONDS
    if signs.unsent_seconds < some:
        return None
    text = f"messages have been waiting to be sent for {signs.unsent_seconds / 60:.0f} min"
    stuck = signs.unsent_seconds >= many
    return Problem(OUTBOX, CRITICAL if stuck else WARNING, text, stuck)


def _disk(signs: Signs) -> Problem | None:
    if not signs.disk_size or (free := signs.disk_free / signs.disk_size) >= FREE[0]:
        return None
    text = f"the disk of STATE_DIR has {size(signs.disk_free)} free, {free:.0%}"
    full = free < FREE[1]
    return Problem(DISK, CRITICAL if full else WARNING, text, full)


def _backup(signs: Signs) -> Problem | None:
    if signs.backup_age is None:
        return Problem(BACKUP, WARNING, "there is no backup: run `roommate backup`, and enable roommate-backup.timer")
    if signs.backup_age < BACKUP_SECONDS:
        return None
    return Problem(BACKUP, WARNING, f"the newest backup is {signs.backup_age / 86_400:.0f} days old", True)


def _model(signs: Signs) -> Problem | None:
    if signs.model_failures < MODEL_FAILURES:
        return None
    return Problem(MODEL, WARNING, f"the model has failed {signs.model_failures} times in a row")


def _policy(signs: Signs) -> Problem | None:
    if not signs.policy:
        return None
    return Problem(POLICY, WARNING, f"other daemons are granted nothing: {signs.policy}", True)
