"""The embedded homeserver: Synapse in a process of its own, on loopback and SQLite, for the demo and the tests."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import signal
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from roommate.demo.instance import MARK_KEY, Instance, Limits, is_free
from roommate.errors import MatrixError, Refused
from roommate.words import Account, JsonObject, UserId

START_SECONDS = 60.0
STOP_SECONDS = 5.0


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
    ) -> None:
        self._folder = folder.absolute()
        self._server_name = server_name
        self._python = python
        self._limits = limits
        self._detached = detached
        self._instance: Instance | None = None
        self._child: asyncio.subprocess.Process | None = None
        self._admin: Account | None = None

    @property
    def url(self) -> str:
        """Base URL of the client-server API, such as ``http://127.0.0.1:41234``."""
        return f"http://127.0.0.1:{self._running_instance.port}"

    @property
    def log(self) -> Path:
        return self._folder / "homeserver.log"

    @property
    def pid(self) -> int | None:
        """The process of this folder's homeserver, ours or left running by an earlier detached start; None if none."""
        if self._child is not None:
            return self._child.pid if self._child.returncode is None else None
        try:
            pid = int((self._folder / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._config_file) in command else None

    async def start(self) -> None:
        """Start it, or take the one that already runs in this folder. Raises MatrixError when it does not come up."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = Instance.kept(self._folder)
        if kept is not None and self.pid is not None:
            self._instance = kept
            await self._until_ready(None)
            return
        for _ in range(3):
            self._instance = (kept or Instance.fresh()).on_free_port()
            self._instance.write(self._folder, self._server_name, self._limits)
            self._child = await self._spawn()
            try:
                await self._until_ready(self._child)
            except _PortTaken:
                continue
            except BaseException:
                await self.stop()
                raise
            return
        raise MatrixError("the homeserver found no free port in three tries")

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if that is not enough. Its folder stays."""
        pid = self.pid
        for signum in (signal.SIGTERM, signal.SIGKILL):
            if pid is None or self.pid != pid:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
            await self._until_gone(pid)
        self._child = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def register(self, user: str, password: str, admin: bool = False) -> Account:
        """Make the account with localpart `user`, or log in to it when it exists. Raises MatrixError.

        By Synapse's shared-secret registration:
        https://element-hq.github.io/synapse/latest/admin_api/register_api.html
        """
        path = "/_synapse/admin/v1/register"
        nonce = (await self._call("GET", path))["nonce"]
        role = "admin" if admin else "notadmin"
        digest = hmac.new(
            self._running_instance.registration_secret.encode(),
            "\0".join((nonce, user, password, role)).encode(),
            hashlib.sha1,
        )
        body = {"nonce": nonce, "username": user, "password": password, "admin": admin, "mac": digest.hexdigest()}
        try:
            answer = await self._call("POST", path, body)
        except Refused as error:
            if error.errcode != "M_USER_IN_USE":
                raise
            identifier = {"type": "m.id.user", "user": user}
            login = {"type": "m.login.password", "identifier": identifier, "password": password}
            answer = await self._call("POST", "/_matrix/client/v3/login", login)
        return Account(self.url, UserId(answer["user_id"]), answer["device_id"], answer["access_token"])

    async def lift_limit(self, user_id: str) -> None:
        """Let this account send as fast as it likes. Raises MatrixError."""
        if self._admin is None:
            self._admin = await self.register("setup-admin", self._running_instance.admin_password, admin=True)
        path = f"/_synapse/admin/v1/users/{user_id}/override_ratelimit"
        await self._call("POST", path, {"messages_per_second": 0, "burst_count": 0}, self._admin.access_token)

    # ── the process ──────────────────────────────────────────────────────────────────────────────

    @property
    def _config_file(self) -> Path:
        return self._folder / "homeserver.yaml"

    @property
    def _running_instance(self) -> Instance:
        if self._instance is None:
            raise MatrixError("the homeserver was not started")
        return self._instance

    async def _spawn(self) -> asyncio.subprocess.Process:
        # setpriv sets the death signal and becomes the homeserver: the process id stays. An own session keeps the
        # terminal's Ctrl-C away, so that whoever started it ends things in order.
        command = [self._python, "-m", "synapse.app.homeserver", "-c", str(self._config_file)]
        if not self._detached:
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        # Without compiled modules Synapse takes 2.6 s to start instead of 1.0.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self.log.open("ab") as log:
            try:
                child = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=self._folder,
                    env=environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise MatrixError(f"cannot start the homeserver: {error.filename} is not installed") from error
        (self._folder / "pid").write_text(str(child.pid))
        return child

    async def _until_ready(self, child: asyncio.subprocess.Process | None) -> None:
        """Wait until OUR instance answers. Raises _PortTaken when another server holds the port, else MatrixError."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.pid is None:
                if child is not None and not is_free(self._running_instance.port):
                    raise _PortTaken
                raise MatrixError(f"the homeserver ended before it was ready: {self._last_words()}")
            try:
                known = await self._call("GET", "/.well-known/matrix/client")
                await self._call("GET", "/_matrix/client/versions")
            except MatrixError:
                known = {}
            if known.get(MARK_KEY) == self._running_instance.mark:
                return
            await asyncio.sleep(0.03)
        raise MatrixError(f"the homeserver was not ready after {START_SECONDS:.0f} s: {self._last_words()}")

    async def _until_gone(self, pid: int) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        while self.pid == pid and time.monotonic() < deadline:  # noqa: ASYNC110 — not always our child to wait for
            await asyncio.sleep(0.02)

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        if lines and "No module named 'synapse'" in lines[-1]:
            return "Synapse is not installed; install the extra `demo`: pip install 'roommate[demo]'"
        return f"{lines[-1] if lines else 'it said nothing'} (see {self.log})"

    async def _call(self, method: str, path: str, body: JsonObject | None = None, token: str = "") -> JsonObject:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as http,
                http.request(method, self.url + path, json=body, headers=headers) as response,
            ):
                answer: JsonObject = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise MatrixError(f"the homeserver at {self.url} does not answer: {error}") from error
        if response.status != 200:
            raise Refused(
                f"the homeserver refused {path}: {answer.get('error', response.status)}", answer.get("errcode", "")
            )
        return answer


class _PortTaken(Exception):
    """Somebody else took the port between our look and Synapse's bind."""
