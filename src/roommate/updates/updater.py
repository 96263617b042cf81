"""The updater: takes an open update from step to step to its end, whoever dies meanwhile. A process of its own."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from roommate.domain import Update, UpdateStep
from roommate.errors import StateError, UpdateError
from roommate.updates import build, daemons
from roommate.updates.journal import Journal
from roommate.updates.releases import Install, Release
from roommate.updates.repository import Repository

CLOSE_SECONDS = 15.0
"""How long the old daemon may take to close and hand over."""
RESTART_SECONDS = 60.0
SUPERVISOR_SECONDS = 30.0
"""How long whoever supervises the daemon may take to start it again."""
START_SECONDS = 5.0
"""Between two attempts to start it."""
LOOK_SECONDS = 0.05
KEEP = 2
"""Releases that stay besides current and previous."""


class Shapes(Protocol):
    """The database as other releases know it. All of it blocks, and raises StateError and UpdateError."""

    def as_found_by(self, release: Release) -> AbstractContextManager[Sequence[str]]:
        """Settings for its self-check, that have it find the database as it will."""

    def fit(self, release: Release) -> None:
        """Give the database the shape that it knows, where that is an earlier one."""


class Updater:
    """`run` carries out what the journal says; call it holding the journal."""

    def __init__(
        self,
        install: Install,
        repository: Repository,
        journal: Journal,
        shapes: Shapes,
        *,
        health_seconds: float,
        patience: float = 1.0,
        tell: Callable[[Update], None] = lambda _: None,
    ) -> None:
        """A new release has `health_seconds` to show that it works. `tell` is called after each step.

        On a slow host everything may take `patience` times as long as on others.
        """
        self._install = install
        self._repository = repository
        self._journal = journal
        self._shapes = shapes
        self._health_seconds = health_seconds * patience
        self._patience = patience
        self._tell = tell
        self._daemons = daemons.Watch()
        self._alone_since: float | None = None
        self._started = 0.0

    def run(self) -> Update | None:
        """To the end: the update is done, or it failed and the old release runs. None when there is no update."""
        while (update := self._journal.read()) and update.open:
            try:
                self._step(update)
            except (StateError, UpdateError) as error:
                self._journal.go_on(update, UpdateStep.FAILED, why=str(error))
            self._tell(self._journal.read() or update)
        self._install.prune(KEEP)  # also what failed: each release that is tried takes its place on the disk
        return update

    def _step(self, update: Update) -> None:
        go_on, new = self._journal.go_on, self._install.release(update.new)
        match update.step:
            case UpdateStep.BUILD:
                old = self._install.release(update.old)
                build.build(
                    self._install, self._repository, self._repository.told(update.commit), old.uv, self._patience
                )
                go_on(update, UpdateStep.CHECK)
            case UpdateStep.CHECK:
                with self._shapes.as_found_by(new) as state:
                    build.check(new, self._install.root, self._patience, state)
                go_on(update, UpdateStep.IMAGE)
            case UpdateStep.IMAGE:
                build.image(new, self._install.root, self._patience)
                go_on(update, UpdateStep.RESTART)
            case UpdateStep.RESTART if not update.runs:
                self._shapes.fit(new)
                self._install.switch(new)
                go_on(update, UpdateStep.DONE)
            case UpdateStep.RESTART:
                self._restart(update)
            case UpdateStep.TRIAL:
                self._watch(update, new)
            case UpdateStep.CONFIRMED:
                self._install.switch(new)
                self._journal.forget_saved()
                go_on(update, UpdateStep.DONE)

    def _restart(self, update: Update) -> None:
        """Have the old daemon hand over, which it does when it closes or, after a crash, when it starts."""
        old, began, asked = self._install.release(update.old), time.monotonic(), False
        while self._at(update):
            waited = time.monotonic() - began
            if waited > RESTART_SECONDS * self._patience:
                raise UpdateError(f"the daemon did not restart within {RESTART_SECONDS * self._patience:.0f} s")
            if not asked:
                daemons.send(old, daemons.RESTART)
                asked = True
            elif waited > CLOSE_SECONDS * self._patience:
                daemons.send(old, signal.SIGKILL)
            self._see_to_a_daemon(update, old)
            time.sleep(LOOK_SECONDS)

    def _watch(self, update: Update, new: Release) -> None:
        """Confirm the new release once it says that it works; else end it, and see the old one take back."""
        old = self._install.release(update.old)
        while now := self._at(update):
            problem = self._journal.reported(now)
            if problem == "" and not now.why:
                self._journal.go_on(now, UpdateStep.CONFIRMED)
                return
            if problem:
                now = self._journal.blame(now, problem)
            elif time.time() - now.step_began > self._health_seconds:
                now = self._journal.blame(now, f"the new release was not ready after {self._health_seconds:.0f} s")
            if now.why:
                daemons.send(new, signal.SIGKILL)
            self._see_to_a_daemon(update, old, new)
            time.sleep(LOOK_SECONDS)

    def _at(self, update: Update) -> Update | None:
        """The update as long as it is at this step."""
        now = self._journal.read()
        return now if now is not None and (now.id, now.step) == (update.id, update.step) else None

    def _see_to_a_daemon(self, update: Update, *releases: Release) -> None:
        """Where none runs any more, there is to be one again: supervisors see to that, else we do."""
        now = time.monotonic()
        if self._daemons.any_of(*releases):
            self._alone_since = None
            return
        if self._alone_since is None:
            self._alone_since = now
        alone = SUPERVISOR_SECONDS * self._patience if update.supervised else 0.0
        if now - self._alone_since >= alone and now - self._started > START_SECONDS * self._patience:
            self._started = now
            daemons.start(self._install, self._journal.log)
