"""Looks at the daemon's health now and then, and tells what is new: the control room by way of the log, and alerts."""

from __future__ import annotations

import asyncio
import logging

from roommate.administration import daemon_health
from roommate.administration.daemon_health import Problem
from roommate.administration.http_pages import Look, database_lost
from roommate.errors import StateError
from roommate.host import deadlines
from roommate.monitoring.alert_delivery import LOGIN, Alerts

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
LONGEST_LOOK = 20.0

ALERTED = (
    daemon_health.SYNC,
    daemon_health.OUTBOX,
    daemon_health.DISK,
    daemon_health.DATABASE,
    daemon_health.BACKUP,
    LOGIN,
)
_LOGGED = (daemon_health.START, daemon_health.SYNC, daemon_health.DATABASE)
"""By who finds them; so is a disk that has little room and is not full."""


class Alarm:
    def __init__(self, look: Look, alerts: Alerts) -> None:
        self._look = look
        self._alerts = alerts
        self._known: dict[str, str] = {}
        """Level by the key of a problem."""
        self._alerted = set(ALERTED)
        """What may have been told as going on: at the beginning, by a daemon before us."""

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.tell(await self._problems())

    async def _problems(self) -> tuple[Problem, ...]:
        try:
            async with deadlines.within(LONGEST_LOOK):
                return (await self._look()).problems
        except (StateError, TimeoutError):
            return (database_lost(),)

    async def tell(self, problems: tuple[Problem, ...]) -> None:
        """What goes on now; of what was told and is over, that it is over."""
        for problem in problems:
            if self._known.get(problem.key) != problem.level:
                grave = problem.level == daemon_health.CRITICAL or problem.alert
                if problem.key not in _LOGGED and (grave or problem.key != daemon_health.DISK):
                    log.log(logging.ERROR if grave else logging.WARNING, "%s", problem.text)
        for key in self._known.keys() - {problem.key for problem in problems}:
            log.info("well again: %s", key)
        self._known = {problem.key: problem.level for problem in problems}
        alerted = {problem.key: problem.text for problem in problems if problem.alert}
        for key in self._alerted - alerted.keys():
            await asyncio.to_thread(self._alerts.resolve, key)
        for key, text in alerted.items():
            await asyncio.to_thread(self._alerts.fire, key, text)
        self._alerted = set(alerted)
