"""A virtual machine: QEMU, without the processor's help where there is none, and ssh into it."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from roommate.demo.synapse_config import free_port
from roommate.host.die_with_parent import tied
from tests.shell import USER, Shell
from tests.vm.image import Base, layer

BOOT_SECONDS = 900
"""Half a minute on an idle host without KVM; others may need its processors, too."""


class VirtualMachine(Shell):
    """`boot` gives one that has started, `discard` ends it."""

    def __init__(self, base: Base, disk: Path, folder: Path) -> None:
        self._base = base
        self._disk = disk
        self._folder = folder
        self._port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._ssh = (
            "ssh", "-i", str(base.key), "-p", str(self._port), "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "ControlMaster=auto",
            "-o", f"ControlPath={folder}/%r", "-o", "ControlPersist=yes", "-o", "ConnectTimeout=60",
            "-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=20",
        )  # fmt: skip

    @classmethod
    async def boot(cls, base: Base, below: Path) -> Self:
        """With what is on this disk, which stays as it is."""
        folder = Path(tempfile.mkdtemp(prefix="vm-"))
        layer(below, folder / "disk.qcow2")
        machine = cls(base, folder / "disk.qcow2", folder)
        await machine._start()
        return machine

    @property
    def console(self) -> str:
        log = self._folder / "console.log"
        return log.read_text(errors="replace") if log.exists() else ""

    async def _start(self) -> None:
        command = (
            "nice", "-n", "5", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
            "-machine", "q35", *_processor(), "-smp", "2", "-m", "4096",
            "-kernel", str(self._base.kernel), "-initrd", str(self._base.initrd),
            # What guards against a processor's leaks is of no use here, and slow.
            "-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 mitigations=off quiet panic=-1",
            "-drive", f"file={self._disk},format=qcow2,if=virtio,cache=unsafe,discard=unmap",
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self._port}-:22", "-device", "virtio-net-pci,netdev=net",
            "-device", "virtio-rng-pci", "-serial", f"file:{self._folder}/console.log",
        )  # fmt: skip
        started = time.monotonic()
        with (self._folder / "qemu.log").open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tied(list(command)), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        while (await self._try_once())[0] != 0:
            said = (self._folder / "qemu.log").read_text(errors="replace")
            assert self._process.returncode is None, f"QEMU ended: {said}\n{self.console[-2000:]}"
            assert time.monotonic() < started + BOOT_SECONDS, f"it does not boot:\n{self.console[-4000:]}"
            await asyncio.sleep(2)
        await self.run("systemctl is-system-running --wait || systemctl --failed", user="root", timeout=BOOT_SECONDS)
        print(f"booted in {time.monotonic() - started:.0f} s")

    async def _try_once(self) -> tuple[int, str]:
        try:
            return await self.try_to("true", user="root", timeout=90)
        except TimeoutError:
            return 255, ""

    async def try_to(self, command: str, *, user: str = USER, timeout: float = 900) -> tuple[int, str]:
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *self._ssh, f"{user}@127.0.0.1", f"exec 2>&1; {command}",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            async with asyncio.timeout(timeout):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        text = out.decode(errors="replace")
        print(f"{user}$ {command}  [{time.monotonic() - started:.1f} s]\n{text[-4000:]}", flush=True)
        return process.returncode, text

    async def push(self, repository: Path, commit: str, branch: str, path: str) -> None:
        """Have a bare repository there (of root's, for all to read) hold a commit of one here."""
        process = await asyncio.create_subprocess_exec(
            "git", "-c", "safe.directory=*", "push", "--quiet", "--force", f"ssh://root@127.0.0.1{path}",
            f"{commit}:refs/heads/{branch}",
            cwd=repository, env={**os.environ, "GIT_SSH_COMMAND": shlex.join(self._ssh)},
        )  # fmt: skip
        assert await process.wait() == 0

    async def read(self, path: str) -> bytes:
        """The content of a file of root's, or of anybody's."""
        return await self._piped(f"cat {shlex.quote(path)}", b"")

    async def give(self, path: str, content: bytes) -> None:
        """A file (0600) of root's, or in root's home."""
        await self._piped(f"umask 077; cat >{shlex.quote(path)}", content)

    async def _piped(self, command: str, content: bytes) -> bytes:
        process = await asyncio.create_subprocess_exec(
            *self._ssh, "root@127.0.0.1", command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(content)
        assert process.returncode == 0, f"{command} ended with {process.returncode}"
        return out

    def discard(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        for user in ("root", USER):
            subprocess.run((*self._ssh, "-O", "exit", f"{user}@127.0.0.1"), check=False, capture_output=True)
        shutil.rmtree(self._folder, ignore_errors=True)


def _processor() -> tuple[str, ...]:
    """The host's own where it helps with virtual machines; else QEMU's, ten to twenty times slower."""
    helps = any(flag in Path("/proc/cpuinfo").read_text().split() for flag in ("vmx", "svm"))
    if helps and os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "-accel", "kvm", "-cpu", "host"
    return "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"
