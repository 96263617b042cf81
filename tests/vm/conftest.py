"""Machines with Debian 13, ready to install Roommate on."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import origin
from tests.sandbox_image import podman
from tests.shell import USER
from tests.vm import image as disks
from tests.vm.machine import VirtualMachine

REMOTE = "/srv/roommate.git"
"""Where releases come from, on each machine."""

_SETUP = ("scripts/setup", "requirements.lock", "pyproject.toml")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What machines start from: Debian 13 on which scripts/setup has run once, and the image of the rooms."""

    base: disks.Base
    disk: Path
    repository: Path
    image: str

    async def boot(self) -> VirtualMachine:
        """A machine with the newest commit of the repository in REMOTE, and a clone of it in the home of each user."""
        machine = await VirtualMachine.boot_from(self.base, self.disk)
        await machine.push(self.repository, "HEAD", "main", REMOTE)
        for user in ("root", USER):
            await machine.run(f"git clone --quiet {REMOTE} clone", user=user)
        return machine


@pytest.fixture(scope="session")
async def prepared(tmp_path_factory: pytest.TempPathFactory, image: str) -> Prepared:
    repository = origin.make(tmp_path_factory.mktemp("origin") / "roommate")
    made_of = [(repository / name).read_bytes() for name in _SETUP]
    inputs = hashlib.sha256(b"\0".join([*made_of, podman("image", "inspect", "--format", "{{.Id}}", image).encode()]))
    base = await disks.base()

    async def prepare(disk: Path) -> None:
        machine = await VirtualMachine.boot(base, disk)
        try:
            await machine.run(f"git init --quiet --bare --initial-branch=main {REMOTE}", user="root")
            await machine.run("git config --system --add safe.directory '*'", user="root")
            await machine.push(repository, "HEAD", "main", REMOTE)
            await machine.run(f"git clone --quiet {REMOTE} clone && clone/scripts/setup", user="root", timeout=3600)
            await machine.run(f"cp -r /root/.cache /home/{USER}/ && chown -R {USER}: /home/{USER}", user="root")
            await machine.run("rm -rf clone", user="root")
            for user in ("root", USER):
                await machine.give_image(image, user=user)
            await machine.halt()
        finally:
            machine.discard()

    return Prepared(base, await disks.derived(base, inputs.hexdigest(), prepare), repository, image)


@pytest.fixture
async def machine(prepared: Prepared) -> AsyncIterator[VirtualMachine]:
    one = await prepared.boot()
    yield one
    one.discard()
