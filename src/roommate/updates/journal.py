"""The journal of the newest update: a file that says what it is at, so that whoever starts next knows what to do."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from roommate.domain import StepTaken, Update, UpdateStep
from roommate.errors import StateError, UpdateError
from roommate.host import durable_files, file_lock

FILE, _WORD = "update.json", "update.trial"
_HELD, _WRITING = "update.held", "update.lock"

BEFORE_THE_SWITCH = frozenset({UpdateStep.BUILD, UpdateStep.CHECK, UpdateStep.IMAGE})
"""Steps at which nothing but files in the install folder has changed."""


class Journal:
    """In STATE_DIR. Who carries updates out holds it; a daemon that starts or hands over writes as well.

    What is written names the step that it follows on: where somebody else has gone on since, that stays.
    """

    def __init__(self, state: Path) -> None:
        self._state = state
        self.saved = state / "update.db"
        """The database as the old release left it."""
        self.log = state / "update.log"
        """What a detached updater prints."""

    def read(self) -> Update | None:
        """The newest update, open or not; None before the first. Raises StateError when it cannot be read."""
        try:
            text = (self._state / FILE).read_text()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"{self._state / FILE} cannot be read: {error.strerror}") from error
        try:
            kept = json.loads(text)
            taken = tuple(StepTaken(UpdateStep(one["step"]), one["seconds"], one["said"]) for one in kept.pop("taken"))
            return Update(**{**kept, "step": UpdateStep(kept["step"]), "taken": taken})
        except (ValueError, TypeError, KeyError) as error:
            raise StateError(f"{self._state / FILE} is damaged: move it away") from error

    def begin(self, update: Update) -> bool:
        """Write a new update down; False when this very one was begun before.

        Raises UpdateError while another one is on its way.
        """
        with file_lock.alone(self._state / _WRITING):
            last = self.read()
            if last is not None and last.id == update.id:
                return False
            if last is not None and last.open:
                raise UpdateError(f"{last.by} has asked for {last.new}, which is on its way (at: {last.step})")
            self._put(replace(update, step_began=time.time()))
        return True

    def go_on(self, update: Update, step: UpdateStep, said: str = "", why: str = "") -> Update:
        """To the next step; `said` is about the one that ends with it. Gives what the journal says then."""
        now = time.time()
        taken = (*update.taken, StepTaken(update.step, now - update.step_began, said))
        return self._change(update, replace(update, step=step, step_began=now, taken=taken, why=why or update.why))

    def blame(self, update: Update, why: str) -> Update:
        """Note why it fails, before anything is done about it; the first reason counts."""
        return self._change(update, replace(update, why=update.why or why))

    def cancel(self, by: str) -> Update:
        """End an update that has not switched over yet; gives it. Raises UpdateError when there is none."""
        with file_lock.alone(self._state / _WRITING):
            last = self.read()
            if last is None or not last.open:
                raise UpdateError("no update is on its way")
            if last.step not in BEFORE_THE_SWITCH:
                raise UpdateError(f"it is too late (at: {last.step}): when it is over, `roommate rollback` goes back")
            taken = (*last.taken, StepTaken(last.step, time.time() - last.step_began, ""))
            self._put(
                replace(last, step=UpdateStep.FAILED, step_began=time.time(), taken=taken, why=f"{by} cancelled it")
            )
        return last

    def told(self, update: Update) -> None:
        """People know how it ended."""
        self._change(update, replace(update, told=True))

    def report(self, update: Update, problem: str = "") -> None:
        """A release on trial says that it works, or what its problem is."""
        said = json.dumps({"id": update.id, "problem": problem})
        durable_files.replace(self._state / _WORD, said.encode(), lasting=True)

    def reported(self, update: Update) -> str | None:
        """What a release on trial says: "" when it works, None while it has said nothing."""
        try:
            word = json.loads((self._state / _WORD).read_text())
            return str(word["problem"]) if word["id"] == update.id else None
        except (OSError, ValueError, TypeError, KeyError):
            return None

    @contextlib.contextmanager
    def held(self, seconds: float = 0.0) -> Iterator[None]:
        """Be the one who carries updates out. Raises UpdateError when somebody else still is after `seconds`."""
        deadline, taken = time.monotonic() + seconds, UpdateError("an update is on its way already")
        with contextlib.ExitStack() as held:
            while True:
                try:
                    held.enter_context(file_lock.alone(self._state / _HELD, taken))
                    break
                except UpdateError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.02)
            yield

    @property
    def is_held(self) -> bool:
        try:
            with self.held():
                return False
        except UpdateError:
            return True

    def forget_saved(self) -> None:
        self.saved.unlink(missing_ok=True)

    def _change(self, before: Update, after: Update) -> Update:
        with file_lock.alone(self._state / _WRITING):
            now = self.read()
            if now is None or (now.id, now.step) != (before.id, before.step):
                return now or before
            self._put(after)
        return after

    def _put(self, update: Update) -> None:
        durable_files.replace(self._state / FILE, json.dumps(asdict(update)).encode(), lasting=True)
