"""A tied program ends with its parent, and does not begin without it."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from roommate.host.die_with_parent import tied
from tests.patience import PATIENCE

PARENT = """
import subprocess, sys, time
from roommate.host.die_with_parent import tied
child = subprocess.Popen(tied(["sleep", "60"]))
print(child.pid, flush=True)
time.sleep(60)
"""


async def test_it_ends_with_its_parent() -> None:
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", PARENT, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    child = Path(f"/proc/{int(await parent.stdout.readline())}")
    async with asyncio.timeout(PATIENCE):
        while b"sleep" not in (child / "cmdline").read_bytes().split(b"\0")[0]:
            await asyncio.sleep(0.01)
        parent.kill()
        await parent.wait()
        while child.exists() and "Z" not in (child / "stat").read_text().rpartition(")")[2].split()[0]:
            await asyncio.sleep(0.01)


async def test_it_does_not_begin_when_its_parent_is_gone() -> None:
    """As when the parent was killed between the fork and the kernel's being told."""
    command = tied(["sleep", "60"])
    place = command.index(str(os.getpid()))
    orphan = await asyncio.create_subprocess_exec(*command[:place], "1234567", *command[place + 1 :])
    async with asyncio.timeout(PATIENCE):
        assert await orphan.wait() not in (0, -signal.SIGKILL)
