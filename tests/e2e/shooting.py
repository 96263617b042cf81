"""A daemon that dies at aimed points (`aimed`), and is started again."""

from __future__ import annotations

from tests.e2e import aimed
from tests.harness import Daemon


class Shooting:
    """A daemon that dies at aimed points. `at(n)`: at the nth point from now on."""

    def __init__(self, bot: Daemon) -> None:
        self.bot = bot
        bot.main = aimed.__name__
        self._aim = bot.folder / aimed.AIM

    def at(self, point: int) -> None:
        coming = self._aim.with_suffix(".coming")  # the daemon may look at any moment: it is there whole, or not at all
        coming.write_text(str(point))
        coming.replace(self._aim)

    async def hit(self) -> None:
        """Wait until it died, and start it again."""
        await self.bot.wait_for_exit()
        assert self.bot.process.returncode == -9, self.bot.log_text()[-2000:]
        await self.bot.start()

    async def start(self) -> None:
        await self.bot.start()
