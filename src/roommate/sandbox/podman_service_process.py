"""Podman's API service as a child of ours: started when somebody asks, again when it ended, gone with the daemon."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import contextlib
import hashlib
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from roommate.errors import EngineError
from roommate.host import deadlines, durable_files, folder_modes
from roommate.host.die_with_parent import tied
from roommate.sandbox import containers_conf, empty_shared_keyring

SOCKET_PATH_BYTES = 107
"""Longest path of a Unix socket on Linux, see unix(7)."""

_START_SECONDS = 15
_DYING_SECONDS = 0.5
"""In which a process that no longer answers has ended, if it is about to."""
_PLACES = re.compile(r"HOME|XDG_\w+|CONTAINERS_\w+|STORAGE_\w+")
_SECRET = re.compile(r"KEY|TOKEN|PASS|SECRET|CREDENTIAL", re.IGNORECASE)


class Service:
    """One ``podman system service``. `conf` is a containers.conf of our own, None the host's configuration; to both is
    added what rooms need.

    On a slow host everything may take `patience` times as long as on others.
    """

    def __init__(self, podman: str, folder: Path, conf: str | None, patience: float = 1.0) -> None:
        self._podman = podman
        self._folder = folder
        self._conf = conf
        self.patience = patience
        self._conf_file: Path | None = None
        # A name of its own for each: a doctor beside a running daemon must not take its socket away.
        self._socket = folder / f"podman-{secrets.token_hex(4)}.sock"
        self._log = self._socket.with_suffix(".log")
        self._process: asyncio.subprocess.Process | None = None
        self._resting = False
        self._doubtful = self._closed = False
        self._starting = asyncio.Lock()

    @property
    def environment(self) -> Mapping[str, str]:
        """With which another `podman` of this host finds the same containers."""
        known = {name: value for name, value in os.environ.items() if _PLACES.fullmatch(name)}
        return known | ({} if self._conf_file is None else {"CONTAINERS_CONF": str(self._conf_file)})

    async def ready(self) -> Path:
        """The socket on which the service answers; it is started first when it does not run.

        Raises EngineError. The service ends when the thread that called this ends (prctl(2), PR_SET_PDEATHSIG): call
        it where the event loop of the daemon's main thread runs.
        """
        async with self._starting:
            self._check()
            if self._resting or not self._socket.exists():  # somebody deleted the folder, which it works in
                await self._end()  # its last act is to remove its socket
            if self._doubtful and self._process is not None:  # that it was killed just now may not be known here yet
                with contextlib.suppress(TimeoutError):
                    async with deadlines.within(_DYING_SECONDS):
                        await self._process.wait()
            self._doubtful = False
            if self._process is None or self._process.returncode is not None:
                await self._start()
        return self._socket

    def doubt(self) -> None:
        """A call got no answer: the next one waits a moment, to see whether it is ending."""
        self._doubtful = True

    def rest(self) -> None:
        """End it until somebody asks again. Not while a call is on its way."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            self._resting = True

    async def close(self) -> None:
        """End it for good, also one that a call is just starting."""
        self._closed = True
        async with self._starting:
            await self._end()
        for path in (self._socket, self._log):
            path.unlink(missing_ok=True)

    def _check(self) -> None:
        if self._closed:
            raise EngineError("Podman is not asked any more: this daemon ends")

    async def _end(self) -> None:
        process, self._process, self._resting = self._process, None, False
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                async with deadlines.within(2):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()

    async def _start(self) -> None:
        check_socket_path(self._socket)
        podman = self.program
        try:
            folder_modes.private(self._folder)
            _forget_dead(self._folder, self.patience)
            self._conf_file = self._configured()
            log = self._log.open("wb")
        except OSError as exc:
            raise EngineError(f"{self._folder} cannot be written: {exc.strerror or exc}") from exc
        environment = {name: value for name, value in os.environ.items() if not _SECRET.search(name)}
        environment["CONTAINERS_CONF"] = str(self._conf_file)
        empty_shared_keyring.leave_behind()
        # No other way holds when we are killed with -9: the kernel itself ends the service then.
        command = tied([podman, "system", "service", "--time=0", f"unix://{self._socket}"])
        with log:
            try:
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                    cwd=self._socket.parent,  # conmon leaves a file `oom` there when a container runs out of memory
                    env=environment, start_new_session=True,
                )  # fmt: skip
            except FileNotFoundError as exc:
                raise EngineError("setpriv is not installed: apt install util-linux") from exc
        await self._answering(self._process)

    @property
    def program(self) -> str:
        """Raises EngineError."""
        podman = shutil.which(self._podman)
        if podman is None:
            raise EngineError(f"Podman is not there (PODMAN_PATH is {self._podman!r}): apt install podman")
        return str(Path(podman).absolute())

    async def _answering(self, process: asyncio.subprocess.Process) -> None:
        seconds = _START_SECONDS * self.patience
        for _ in range(round(seconds * 100)):
            self._check()
            if _listens(self._socket):
                return
            if process.returncode is not None:
                raise EngineError(f"Podman's service does not start: {self._last_words()}")
            await asyncio.sleep(0.01)  # it says nowhere when it listens; this is a few rounds, once
        process.kill()
        raise EngineError(f"Podman's service did not answer within {seconds:g} s: {self._last_words()}")

    def _last_words(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else "it said nothing"

    def _configured(self) -> Path:
        """The file with our configuration. It stays: who watches over a container runs Podman with it when that ends,
        whatever has become of us."""
        text = containers_conf.text(self._conf)
        path = self._folder / f"containers-{hashlib.sha256(text.encode()).hexdigest()[:8]}.conf"
        durable_files.replace(path, text.encode(), mode=0o644)
        return path


def check_socket_path(path: Path) -> None:
    """Raises EngineError where the kernel would refuse the path, which it does in words that help nobody."""
    if (length := len(os.fsencode(path))) > SOCKET_PATH_BYTES:
        raise EngineError(
            f"the path of a socket may have {SOCKET_PATH_BYTES} bytes, {path} has {length}: "
            "set IPC_BASE_DIR to a short folder such as /run/roommate"
        )


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


def _forget_dead(folder: Path, patience: float) -> None:
    """Remove what services of daemons that were killed left behind; one that is just starting has new files."""
    for path in folder.glob("podman-*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > 2 * _START_SECONDS * patience and not _listens(
                path.with_suffix(".sock")
            ):
                path.unlink()
