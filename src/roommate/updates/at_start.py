"""What a daemon that starts owes an open update: to hand over, to take back, or to be on trial."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from roommate.domain import Update, UpdateStep
from roommate.errors import StateError, UpdateError
from roommate.updates.journal import Journal
from roommate.updates.releases import Install, Release

log = logging.getLogger(__name__)

ENDED = "the new release ended while it was on trial; its log tells why"

LOOK_SECONDS = 0.02

Copy = Callable[[Path], None]
"""Copies the database to this file, or this file into the place of the database."""


def settle(
    install: Install,
    release: Release,
    journal: Journal,
    *,
    save: Copy,
    fit: Callable[[Release], None],
    put_back: Copy,
) -> Update | None:
    """Do what the journal asks of `release`, which starts: call it before the database is opened.

    Gives the update when this release is on trial. May not return: then the new release has taken this process over.
    `current` names the old release until the new one is confirmed, so whatever happens to the new one, it is the old
    one, which is known to work, that starts next and gets here. `fit` gives the database the shape that the new one
    knows, where that is an earlier one; it raises StateError or UpdateError.
    """
    update = journal.read()
    if update is None or not update.open:
        return None
    if release.name == update.new:
        return update if update.step is UpdateStep.TRIAL else None
    if release.name != update.old:
        return None
    new = install.release(update.new)
    if update.step is UpdateStep.RESTART:
        save(journal.saved)
        update = journal.go_on(update, UpdateStep.TRIAL)
        if update.step is UpdateStep.TRIAL:
            try:
                fit(new)
            except (StateError, UpdateError) as error:
                update = journal.blame(update, str(error))
            else:
                become(new)
    if update.step is UpdateStep.TRIAL:
        put_back(journal.saved)
        update = journal.go_on(update, UpdateStep.FAILED, why=update.why or ENDED)
        log.warning("the update to %s failed, this is %s again: %s", update.new, update.old, update.why)
        journal.forget_saved()
    elif update.step is UpdateStep.CONFIRMED:
        install.switch(new)
        become(new)
    return None


class Trial:
    """Of this release, where there is an `update` that it is on trial in: `prove` shows that it could work. Run it with
    what it needs to work, and wait until it has `passed`."""

    def __init__(self, update: Update | None, journal: Journal, prove: Callable[[], Awaitable[None]]) -> None:
        self._update, self._journal, self._prove = update, journal, prove
        self._proven = asyncio.Event()
        self.on = update is not None
        """It may be taken back: nothing is begun that a return to the older release would repeat."""

    async def run(self) -> None:
        if self._update is not None:
            await self._prove()
            self._proven.set()

    async def passed(self) -> None:
        """Say that this release works; returns once it stays. Raises UpdateError when it does not."""
        if self._update is not None:
            await self._proven.wait()
            await confirmed(self._journal, self._update)
        self.on = False


async def confirmed(journal: Journal, update: Update) -> None:
    """Say that this release, which is on trial, works; returns once it stays. Raises UpdateError when it does not."""
    journal.report(update)
    while True:
        now = journal.read()
        if now is None or now.id != update.id or now.step is UpdateStep.FAILED:
            raise UpdateError("this release was on trial, and does not stay")
        if now.step is not UpdateStep.TRIAL:
            return
        await asyncio.sleep(LOOK_SECONDS)


def become(release: Release) -> None:
    """Execute this release in the place of the process that runs: its id stays, everything that it holds is let go."""
    signal.setitimer(signal.ITIMER_REAL, 0)  # it would survive, and end what comes
    os.execv(release.program, [str(release.program), *sys.argv[1:]])  # noqa: S606 — a program of ours, without a shell
