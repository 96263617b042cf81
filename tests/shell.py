"""What tests do at the shell of a machine to install things on, whatever the machine is."""

from __future__ import annotations

import asyncio
import shlex
import time
from abc import ABC, abstractmethod

from tests.patience import PATIENCE

USER, ID = "ann", 1001
"""The ordinary user of every such machine."""
HOME = f"/home/{USER}"


class Shell(ABC):
    @abstractmethod
    async def try_to(self, command: str, *, user: str = USER, timeout: float = 3 * PATIENCE) -> tuple[int, str]:
        """Run it in a shell in the user's home; its exit code, and all that it printed."""

    async def run(self, command: str, *, user: str = USER, timeout: float = 3 * PATIENCE, fails: bool = False) -> str:
        """Run it like this; all that it printed. It must succeed, or fail, as told."""
        code, text = await self.try_to(command, user=user, timeout=timeout)
        assert (code != 0) == fails, f"{command} ended with {code}:\n{text}"
        return text

    async def until(self, command: str, *, user: str = USER, seconds: float = 3 * PATIENCE) -> str:
        """Run it again and again until it succeeds; what it printed then."""
        deadline = time.monotonic() + seconds
        while True:
            code, text = await self.try_to(command, user=user)
            if code == 0:
                return text
            assert time.monotonic() < deadline, f"{command} does not succeed:\n{text}"
            await asyncio.sleep(0.2)

    async def write(self, path: str, text: str, *, user: str = USER) -> None:
        await self.run(f"mkdir -p $(dirname {path}); umask 077; printf %s {shlex.quote(text)} >{path}", user=user)
