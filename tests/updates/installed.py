"""A Roommate that is installed in a folder with releases, and the remote that its releases come from."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

from tests.harness import ROOMMATE, Daemon, marked_processes, no_settings
from tests.patience import PATIENCE

REPOSITORY = Path(__file__).parents[2]


class Remote:
    """A git repository with a copy of this source tree, to which tests add releases, good and bad ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (REPOSITORY / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(REPOSITORY / name, folder / name)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("The first release")

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
        done = subprocess.run(["git", *who, *arguments], cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, subject: str, **changes: str) -> str:
        """Commit on main: `changes` are lines that go to the end of modules of ours. Gives the release's name."""
        for module, lines in changes.items():
            path = self.folder / "src" / "roommate" / f"{module.replace('__', '/')}.py"
            assert path.exists(), f"there is no module {module} any more"
            with path.open("a") as file:
                file.write(f"\n{lines}\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")[:12]

    def back_to(self, commit: str) -> None:
        """Take main back to an earlier commit."""
        self.git("reset", "--quiet", "--hard", commit)


class Installed(Daemon):
    """A daemon in an install folder of its own. Updates may start another process for it, which counts as it."""

    @property
    def root(self) -> Path:
        return self.cwd

    @property
    def program(self) -> Path:
        return self.root / "current" / ".venv" / "bin" / "roommate"

    async def start(self, timeout: float = PATIENCE, program: Path | None = None) -> Self:
        return await super().start(timeout, program or self.program)

    async def roommate(self, *arguments: str) -> str:
        """What a command of the release that runs prints on stdout; it must succeed."""
        process = await asyncio.create_subprocess_exec(
            self.program,
            *arguments,
            env={**no_settings(), **self.settings},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    @property
    def release(self) -> str:
        """What the next start takes."""
        return (self.root / "current").readlink().name

    @property
    def journal(self) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            found: dict[str, Any] = json.loads((self.state / "update.json").read_text())
            return found
        return {"step": ""}

    def processes(self, command: str) -> list[int]:
        """Of its daemons (``run``) or updaters (``update``), whoever started them."""
        return [pid for pid, line in marked_processes(self.mark).items() if f"roommate {command}" in line]

    async def end(self, *commands: str) -> None:
        """Kill its daemons (``run``) and its updaters (``update``) with -9."""
        unseen = 0
        while unseen < 3:  # one that becomes another program has no name for a moment
            found = [pid for command in commands for pid in self.processes(command)]
            unseen = 0 if found else unseen + 1
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.01)
        if "run" in commands:
            await self.kill9()

    async def step(self, *steps: str, timeout: float = PATIENCE) -> str:
        """Wait until the update is at one of these steps; gives it."""
        async with asyncio.timeout(timeout):
            while (found := str(self.journal["step"])) not in steps:
                await asyncio.sleep(0.002)
        return found


def installed_in(folder: Path, remote: Remote) -> Path:
    """Make an install folder with the remote's newest release."""
    command = [str(ROOMMATE), "update", "--root", str(folder), "--remote", str(remote.folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder
