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
from tests.vm.tree import Tree

REMOTE = "/srv/roommate.git"
"""Where releases come from, on each machine."""

_SETUP = ("scripts/setup", "requirements.lock", "pyproject.toml")
_PREPARE = f"git clone --quiet {REMOTE} clone && clone/scripts/setup && clone/.venv/bin/roommate self-check"
"""For each user. At last every module is loaded, and so compiled, which takes minutes in the machine."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What machines start from: Debian 13 with clones in which scripts/setup has run, and the image of the rooms."""

    base: disks.Base
    disk: Path
    repository: Path
    image: str

    async def boot(self) -> VirtualMachine:
        """A machine with the newest commit of the repository in REMOTE and in the clone of each user."""
        machine = await VirtualMachine.boot(self.base, self.disk)
        await machine.push(self.repository, "HEAD", "main", REMOTE)
        for user in ("root", USER):
            await machine.run("cd clone && git fetch --quiet && git reset --quiet --hard origin/main", user=user)
        return machine


@pytest.fixture(scope="session")
async def prepared(tmp_path_factory: pytest.TempPathFactory, image: str) -> Prepared:
    repository = origin.make(tmp_path_factory.mktemp("origin") / "roommate")
    made_of = [(repository / name).read_bytes() for name in _SETUP]
    inputs = hashlib.sha256(
        b"\0".join([*made_of, _PREPARE.encode(), podman("image", "inspect", "--format", "{{.Id}}", image).encode()])
    )
    base = await disks.base()

    async def prepare(root: Path) -> None:
        tree = Tree(base, root, repository)
        await tree.run("git config --system --add safe.directory '*'", user="root")
        await tree.run(f"git clone --quiet --bare /mnt {REMOTE}", user="root")
        for user in ("root", USER):  # root first: that installs packages
            await tree.run(_PREPARE, user=user)
            await tree.give_image(image, user=user)

    return Prepared(base, await disks.derived(base, inputs.hexdigest(), prepare), repository, image)


@pytest.fixture
async def machine(prepared: Prepared) -> AsyncIterator[VirtualMachine]:
    one = await prepared.boot()
    yield one
    one.discard()
