"""The system on a machine's disk, before the machine starts: its programs, on this host's processor and kernel."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
from pathlib import Path

from tests.shell import HOME, ID, USER, Shell
from tests.vm.image import CERTIFICATES, Base

_LIMITS = ("--ulimit=nofile=16384:16384", "--ulimit=nproc=16384:16384")
"""Podman's own are more than some hosts may give."""


class Tree(Shell):
    """What is mounted at `root`, as a container that shares this host's network and shows `given` at /mnt."""

    def __init__(self, base: Base, root: Path, given: Path) -> None:
        site = root.with_name("site")
        cgroups = root.with_name("cgroup")  # of version 2, as the machine's own are, whatever this host's are
        cgroups.mkdir()
        (cgroups / "cgroup.controllers").touch()
        mounts = [f"--volume={given}:/mnt:ro", f"--volume={cgroups}:/sys/fs/cgroup:ro"]
        for name, text in base.site.items():
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(text)
            mounts.append(f"--volume={site / name}:/{name}:ro")
        proxies = {
            name: value for name, value in os.environ.items() if re.fullmatch(r"(?i)(https?|no|all)_proxy", name)
        }
        environment = {**proxies, "SSL_CERT_FILE": CERTIFICATES, "LANG": "C.UTF-8"}
        given_environment = [f"--env={name}={value}" for name, value in environment.items()]
        self._root = root
        self._run = (
            *("podman", "run", "--rm", "--interactive", "--privileged", "--network=host", *_LIMITS),
            *(*mounts, *given_environment),
        )

    async def try_to(self, command: str, *, user: str = USER, timeout: float = 3600) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *self._command(command, user),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(timeout):
            out, _ = await process.communicate()
        assert process.returncode is not None
        text = out.decode(errors="replace")
        print(f"{user}$ {command}\n{text[-4000:]}", flush=True)
        return process.returncode, text

    async def give_image(self, image: str, *, user: str) -> None:
        """Have the Podman of a user there know an image of this host."""
        load = f"podman save {image} | {shlex.join(self._command('podman load --quiet', user))}"
        process = await asyncio.create_subprocess_shell(load, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0, f"{image} cannot be loaded there"

    def _command(self, command: str, user: str) -> tuple[str, ...]:
        home, number = (HOME, ID) if user == USER else ("/root", 0)
        runtime = self._root / f"run/user/{number}"
        if not runtime.exists():  # what Podman writes down is as it is where the user has logged in
            runtime.mkdir(mode=0o700, parents=True)
            os.chown(runtime, number, number)
        who = [f"--user={user}", f"--workdir={home}", f"--env=HOME={home}", f"--env=USER={user}"]
        if user == USER:
            who.append(f"--env=XDG_RUNTIME_DIR=/run/user/{number}")
        return ("nice", "-n", "5", *self._run, *who, "--rootfs", str(self._root), "sh", "-c", f"exec 2>&1; {command}")
