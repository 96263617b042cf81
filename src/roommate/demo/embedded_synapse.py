"""The embedded homeserver: Synapse in a process of its own, on loopback and SQLite, for the demo and the tests."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from roommate.demo.background_server import Background
from roommate.demo.synapse_config import MARK_KEY, Instance, Limits, Place, is_free
from roommate.domain import Account, JsonObject
from roommate.errors import MatrixError
from roommate.host import folder_modes
from roommate.matrix_login import call
from roommate.user_client import homeserver_accounts

START_SECONDS = 180.0


class Synapse:
    """One homeserver in one folder. A second start in the same folder serves the same accounts, rooms and port.

    Synapse is never imported (it is AGPL, and large): it is its own process, which dies with ours even when that is
    killed, unless `detached`. `python` is an interpreter that has the extra ``demo`` installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        server_name: str = "localhost",
        python: str = sys.executable,
        limits: Limits = "default",
        detached: bool = False,
        more: JsonObject | None = None,
    ) -> None:
        """`more` is of Synapse's own configuration."""
        self._folder = folder.absolute()
        self._python = python
        self._place = Place(server_name, limits=limits, more=more or {})
        self._process = Background(self._folder, "homeserver", detached=detached)
        self._instance: Instance | None = None
        self._admin: Account | None = None

    @property
    def url(self) -> str:
        """Base URL of the client-server API, such as ``http://127.0.0.1:41234``."""
        return f"http://127.0.0.1:{self._running_instance.port}"

    @property
    def pid(self) -> int | None:
        """The process of this folder's homeserver, ours or left running by an earlier detached start; None if none."""
        return self._process.pid

    async def start(self) -> None:
        """Start it, or take the one that already runs in this folder. Raises MatrixError when it does not come up."""
        folder_modes.private(self._folder)
        kept = Instance.kept(self._folder)
        if kept is not None and self.pid is not None:
            self._instance = kept
            await self._until_ready()
            return
        for _ in range(3):
            self._instance = (kept or Instance.fresh()).on_free_port()
            config_file = self._instance.write(self._folder, self._place)
            await self._process.start([self._python, "-m", "synapse.app.homeserver", "-c", str(config_file)])
            try:
                await self._until_ready()
            except _PortTaken:
                continue
            except BaseException:
                await self.stop()
                raise
            return
        raise MatrixError("the homeserver found no free port in three tries")

    async def stop(self) -> None:
        """End it. Its folder stays."""
        await self._process.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def registration_secret(self) -> str:
        """Who knows it makes accounts."""
        return self._running_instance.registration_secret

    async def register(self, user: str, password: str, admin: bool = False) -> Account:
        """Make the account with localpart `user`, or log in to it when it exists. Raises MatrixError."""
        return await homeserver_accounts.register_by_secret(
            self.url, self.registration_secret, user, password, admin=admin
        )

    async def lift_limit(self, user_id: str) -> None:
        """Let this account send as fast as it likes. Raises MatrixError."""
        if self._admin is None:
            self._admin = await self.register("setup-admin", self._running_instance.admin_password, admin=True)
        await homeserver_accounts.lift_limit(self.url, self._admin.access_token, user_id)

    @property
    def _running_instance(self) -> Instance:
        if self._instance is None:
            raise MatrixError("the homeserver was not started")
        return self._instance

    async def _until_ready(self) -> None:
        """Wait until OUR instance answers. Raises _PortTaken when another server holds the port, else MatrixError."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.pid is None:
                if self._process.is_ours and not is_free(self._running_instance.port):
                    raise _PortTaken
                if "No module named 'synapse'" in self._process.said():
                    raise MatrixError("Synapse is not installed: it comes with Roommate's extra `demo`")
                raise MatrixError(f"the homeserver ended before it was ready: {self._process.last_words()}")
            try:
                known = await call(self.url, "GET", "/.well-known/matrix/client")
                await call(self.url, "GET", "/_matrix/client/versions")
            except MatrixError:
                known = {}
            if known.get(MARK_KEY) == self._running_instance.mark:
                return
            await asyncio.sleep(0.03)
        raise MatrixError(f"the homeserver was not ready after {START_SECONDS:.0f} s: {self._process.last_words()}")


class _PortTaken(Exception):
    """Somebody else took the port between our look and Synapse's bind."""
