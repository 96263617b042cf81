"""What operators ask of the daemon itself: how it is, to end, to begin again, to read its settings again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from roommate.administration import preconditions
from roommate.administration.settings import Difference, Reloaded, changed, differences
from roommate.administration.status import Status, status
from roommate.control.method import Caller, Method, Params
from roommate.domain import Deed, DeedOutcome
from roommate.doors.socket import SOCKET
from roommate.errors import StateError
from roommate.host.systemd import Systemd
from roommate.house import House
from roommate.logs import Logs
from roommate.settings.config import Settings, load, written

log = logging.getLogger(__name__)


def _deed(caller: Caller, what: str) -> Deed:
    return Deed(f"uid {caller.uid}", SOCKET, what)


class Steering:
    """Works from the first moment on. Give it the `house` when there is one: then it is in the audit log, too.

    `end` ends the process, with True for it to begin again; `reloaded` is called when `settings` have changed.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Logs,
        systemd: Systemd,
        *,
        end: Callable[[bool], None],
        reloaded: Callable[[], None],
    ) -> None:
        self.settings = settings
        self._systemd = systemd
        self.house: House | None = None
        self._journal = journal
        self._end = end
        self._reloaded = reloaded
        self._since = time.time()

    @property
    def methods(self) -> Mapping[str, Method]:
        return {
            "status": Method(self._status),
            "stop": Method(self._stop),
            "restart": Method(self._restart),
            "reload": Method(self._reload),
            "settings.diff": Method(self._diff),
            "settings.doubts": Method(self._doubts),
        }

    async def refused(self, uid: int) -> None:
        """A user who may not was turned away."""
        await self._note(Deed(f"uid {uid}", SOCKET, "control", DeedOutcome.REFUSED))

    async def look(self) -> Status:
        """How the daemon is now. Raises StateError."""
        newest, systemd = self._journal.newest, self._systemd.watches
        return await status(self.settings, self._since, newest, self.house, systemd=systemd)

    async def _status(self, params: Params, caller: Caller) -> Status:
        return await self.look()

    async def _stop(self, params: Params, caller: Caller) -> None:
        await self._note(_deed(caller, "daemon.stop"))
        caller.after(lambda: self._end(False))

    async def _restart(self, params: Params, caller: Caller) -> None:
        await asyncio.to_thread(preconditions.demand, written())  # with what is wrong it would not come back
        await self._note(_deed(caller, "daemon.restart"))
        caller.after(lambda: self._end(True))

    async def _reload(self, params: Params, caller: Caller) -> Reloaded:
        fresh = await self._written()
        self.settings, reloaded = changed(self.settings, fresh)
        self._journal.redact.learn(self.settings.llm_api_key.get_secret_value())
        self._reloaded()
        await self._note(replace(_deed(caller, "daemon.reload"), subject=",".join(reloaded.changed)))
        return reloaded

    async def _diff(self, params: Params, caller: Caller) -> Sequence[Difference]:
        return differences(self.settings, written())

    async def _doubts(self, params: Params, caller: Caller) -> Sequence[str]:
        return await asyncio.to_thread(lambda: list(preconditions.doubts(self.settings)))

    async def _written(self) -> Settings:
        """What `.env` and the environment say now. Raises ConfigError where no daemon could work with it."""
        await asyncio.to_thread(preconditions.demand, written())
        return load()

    async def _note(self, deed: Deed) -> None:
        log.info("%s: %s by %s at the control socket", deed.outcome, deed.what, deed.who)
        if self.house is not None:
            try:
                await self.house.audit.record(deed)
            except StateError as error:  # a full disk is no reason not to stop
                log.error("%s", error)
