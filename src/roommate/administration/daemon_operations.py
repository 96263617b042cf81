"""What operators ask of the daemon itself: how it is, to end, to begin again, to read its settings again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from roommate.administration import preconditions
from roommate.administration.settings_show_and_reload import Difference, LiveSettings, Reloaded, differences
from roommate.administration.status import Status
from roommate.control.method import Caller, Method, Params
from roommate.domain import Deed, DeedOutcome
from roommate.doors.socket import SOCKET
from roommate.errors import StateError
from roommate.logs import Logs
from roommate.settings.config import Settings, load, written
from roommate.store import Audit

log = logging.getLogger(__name__)


def _deed(caller: Caller, what: str) -> Deed:
    return Deed(f"uid {caller.uid}", SOCKET, what)


class Steering:
    """`look` gives how the daemon is; `end` ends the process, with True for it to begin again; `reloaded` is called
    when `settings` have changed."""

    def __init__(
        self,
        settings: LiveSettings,
        logs: Logs,
        audit: Audit,
        *,
        look: Callable[[], Awaitable[Status]],
        end: Callable[[bool], None],
        reloaded: Callable[[], None],
    ) -> None:
        self._settings, self._logs, self._audit = settings, logs, audit
        self._look = look
        self._end = end
        self._reloaded = reloaded

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

    async def _status(self, params: Params, caller: Caller) -> Status:
        return await self._look()

    async def _stop(self, params: Params, caller: Caller) -> None:
        await self._note(_deed(caller, "daemon.stop"))
        caller.after(lambda: self._end(False))

    async def _restart(self, params: Params, caller: Caller) -> None:
        await asyncio.to_thread(preconditions.demand, written())  # with what is wrong it would not come back
        await self._note(_deed(caller, "daemon.restart"))
        caller.after(lambda: self._end(True))

    async def _reload(self, params: Params, caller: Caller) -> Reloaded:
        reloaded = self._settings.take(await self._written())
        self._logs.redact.learn(self._settings().llm_api_key.get_secret_value())
        self._reloaded()
        await self._note(replace(_deed(caller, "daemon.reload"), subject=",".join(reloaded.changed)))
        return reloaded

    async def _diff(self, params: Params, caller: Caller) -> Sequence[Difference]:
        return differences(self._settings(), written())

    async def _doubts(self, params: Params, caller: Caller) -> Sequence[str]:
        return await asyncio.to_thread(lambda: list(preconditions.doubts(self._settings())))

    async def _written(self) -> Settings:
        """What `.env` and the environment say now. Raises ConfigError where no daemon could work with it."""
        await asyncio.to_thread(preconditions.demand, written())
        return load()

    async def _note(self, deed: Deed) -> None:
        log.info("%s: %s by %s at the control socket", deed.outcome, deed.what, deed.who)
        try:
            await self._audit.record(deed)
        except StateError as error:  # a full disk is no reason not to stop
            log.error("%s", error)
