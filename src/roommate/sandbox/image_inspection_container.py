"""A container of the rooms' image that no room has had, to see what the image itself holds."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

from roommate.errors import EngineError
from roommate.host import deadlines
from roommate.sandbox.container import ContainerPlan
from roommate.sandbox.container_foundation import Ground
from roommate.sandbox.container_spec import HOME, STATE, WORKSPACE, Mount, spec
from roommate.sandbox.podman_client import Engine
from roommate.sandbox.workspace import Workspace

OUTPUT_BYTES = 1 << 16
SECONDS = 60.0

_FOLDER, _CONTAINER = "aside-", "roommate-aside-"
_SETTLE_SECONDS = 2


def fresh_key() -> str:
    return f"{_FOLDER}{secrets.token_hex(4)}"


async def run_aside(ground: Ground, image: str, script: str, *, plan: ContainerPlan, key: str) -> str:
    """What a shell script printed, its first 64 KiB; how it ended does not matter. `key` is a fresh one.

    Raises EngineError."""
    folder, name = plan.state / key, f"roommate-{key}"
    files = Workspace(folder)
    seconds = SECONDS * plan.patience
    try:
        await asyncio.to_thread(files.prepare, ground.host.owner, 0)
        made = spec(
            name=name,
            image=image,
            command=["/bin/sh", "-c", f"exec >printed 2>/dev/null\n{script}"],
            labels={STATE: str(plan.state)},
            mounts=[Mount(files.workspace, WORKSPACE, writable=True), Mount(files.home, HOME, writable=True)],
            limits=plan.limits,
            host=ground.host,
            seccomp=ground.seccomp,
        )
        async with deadlines.within(seconds):
            await ground.engine.create(made)
            await ground.engine.start(name)
            await ground.engine.wait(name)
        return await asyncio.to_thread(_printed, files.workspace / "printed")
    except TimeoutError:
        raise EngineError(f"a container of {image} took longer than {seconds:.0f} s") from None
    finally:
        await ground.engine.settled(_SETTLE_SECONDS)  # a `create` that was cancelled comes about all the same
        await ground.engine.remove(name)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def clear(engine: Engine, plan: ContainerPlan, kept: Collection[str]) -> None:
    """Remove what is left of those whose daemon was killed: all but the `kept` keys. Raises SandboxError."""
    for container in await engine.list(STATE, str(plan.state)):
        if container.name.startswith(_CONTAINER) and container.name.removeprefix("roommate-") not in kept:
            await engine.remove(container.name)
    for folder in [folder for folder in plan.state.glob(f"{_FOLDER}*") if folder.name not in kept]:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _printed(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(OUTPUT_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise EngineError(f"a container of the image printed nothing ({error})") from error
