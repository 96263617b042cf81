"""A container of the rooms' image that no room has had, to see what the image itself holds."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from pathlib import Path

from roommate.errors import EngineError
from roommate.host import deadlines
from roommate.sandbox.container import Plan
from roommate.sandbox.container_foundation import Ground
from roommate.sandbox.container_spec import HOME, STATE, WORKSPACE, Mount, spec
from roommate.sandbox.workspace import Workspace

OUTPUT_BYTES = 1 << 16
SECONDS = 60.0


async def run_aside(ground: Ground, image: str, script: str, *, plan: Plan) -> str:
    """What a shell script printed, its first 64 KiB; how it ended does not matter. Raises EngineError."""
    folder = plan.state / f"aside-{secrets.token_hex(4)}"
    name = f"roommate-{folder.name}"
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
        await ground.engine.remove(name)
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _printed(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(OUTPUT_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise EngineError(f"a container of the image printed nothing ({error})") from error
