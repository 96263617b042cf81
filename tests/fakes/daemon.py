"""The daemon in this process, whole: its own composition, database and commands, between the borders of tests/fakes."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from roommate.agent.openai_wire import Session
from roommate.composition.from_settings import Borders, alerts_of, model_of
from roommate.daemon import Daemon
from roommate.domain import Model, Update
from roommate.features.hooks.watcher import Spool
from roommate.host.sd_notify import Systemd
from roommate.logs import Logs, Newest
from roommate.logs.redaction import Redaction
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.settings.config import Settings
from roommate.store import Database, Inbox
from tests.fakes.containers import Processes, ProcessSandboxes
from tests.fakes.homeserver import MemoryHomeserver, MemorySession
from tests.fakes.model import NAME, MemoryModel
from tests.harness import Bot
from tests.patience import PATIENCE

_MEMORY = Path("/dev/shm")


class _Ready(Systemd):
    """Hears what systemd would be told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = asyncio.Event()

    def ready(self, status: str) -> None:
        super().ready(status)
        self.heard.set()


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


class _KeptLogs(Logs):
    """Leaves this process's logging as it is, which is the tests'."""

    def __init__(self) -> None:
        self.redact = Redaction(())
        self.newest = Newest(self.redact)
        self.kept = _Lines()
        self._handlers = (self.newest, self.kept)
        for handler in self._handlers:
            logging.getLogger("roommate").addHandler(handler)

    def keep(self) -> None:
        pass

    def close(self) -> None:
        for handler in self._handlers:
            logging.getLogger("roommate").removeHandler(handler)


class MemoryDaemon(Bot):
    """One bot with one state folder; `settings` are as in `.env`. The state outlives `term`; `discard` ends all."""

    def __init__(
        self, homeserver: MemoryHomeserver, user_id: str, settings: dict[str, str], model: MemoryModel | None
    ) -> None:
        super().__init__(user_id)
        self._homeserver = homeserver
        self._model = model
        # Short, since sockets live below it and their paths may have 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="rm-", dir=_MEMORY if _MEMORY.is_dir() else None))
        self.state = self.folder / "state"
        self._processes = Processes()
        scripted = {"LLM_MODEL": NAME} if model else {}
        self.settings = {
            "MATRIX_HOMESERVER": homeserver.url,
            "MATRIX_USER": user_id,
            "STATE_DIR": str(self.state),
            "BOT_DISPLAY_NAME": "none",
            "BOT_AVATAR": "none",
            "SAME_PROMPT_SECONDS": "0",  # people of tests write quickly
            "E2EE": "off",  # that homeserver passes no keys on
            **scripted,
            **settings,
        }
        self._task: asyncio.Task[None] | None = None
        self._logs: _KeptLogs | None = None
        self.trial: Update | None = None
        """The update that the next start is on trial in."""

    async def start(self) -> Self:
        """Start it, and wait until it says that it is ready."""
        given: dict[str, Any] = {name.lower(): value for name, value in self.settings.items()}
        settings = Settings(_env_file=None, **given)
        if not self.state.exists():
            await self._log_in()
        systemd, self._logs = _Ready(), _KeptLogs()
        connect: Any = self.session
        borders = Borders(connect, self._sandboxes, self._model_of)
        daemon = Daemon(settings, systemd, self._logs, self._end, alerts_of(settings), self.trial, borders)
        self._task = asyncio.create_task(daemon.run(), name=f"daemon {self.user_id}")
        ready = asyncio.create_task(systemd.heard.wait())
        await asyncio.wait([ready, self._task], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            failed, self._task = self._task, None
            await self.term()
            await failed
        assert ready.done(), f"the daemon is not ready:\n{self.log_text()}"
        return self

    def session(self, **_: Any) -> MemorySession:
        """What its requests go through."""
        return self._homeserver.session()

    async def term(self) -> None:
        """As SIGTERM does it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            if not self._task.cancelled() and (error := self._task.exception()):
                raise error
            self._task = None
        if self._logs is not None:
            self._logs.close()

    async def discard(self) -> None:
        try:
            await self.term()
        finally:
            await self._processes.end()
            shutil.rmtree(self.folder)

    def containers(self) -> Sequence[str]:
        """The names of what stands for its containers, running or not."""
        return self._processes.names

    def rename(self, name: str) -> None:
        """Give the bot's account a display name, as its people see it."""
        self._homeserver.rename(self.user_id, name)

    def log_text(self) -> str:
        """What it said since its newest start."""
        return "\n".join(self._logs.kept.lines) if self._logs else ""

    async def _log_in(self) -> None:
        """The login that a daemon finds in its state after its first start."""
        self.state.mkdir(mode=0o700)
        database = Database.open(self.state)
        await Inbox(database).keep_account(self._homeserver.account(self.user_id))
        await database.close()

    def _end(self, again: bool) -> None:
        assert not again, "a daemon in the tests' own process cannot become another program"
        if self._task is not None:
            self._task.cancel()

    def _sandboxes(self, settings: Settings, spool: Spool) -> RoomSandboxes:
        return ProcessSandboxes(
            self._processes,
            state=settings.state_dir,
            run=settings.run_dir,
            image=settings.sandbox_image,
            daemon=settings.bot,
            limits=Limits(),
            idle_seconds=settings.idle_stop_seconds,
            patience=settings.patience,
            spool=spool,
        )

    def _model_of(self, settings: Settings, name: str, session: Session) -> Model:
        return self._model if self._model and name == NAME else model_of(settings, name, session)
