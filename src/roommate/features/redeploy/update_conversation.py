"""Redeploying from chat: the card that asks an operator, and the one message that tells how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial

from roommate import __version__
from roommate.chat import texts
from roommate.domain import (
    DAEMON,
    CardKind,
    Deed,
    DeedOutcome,
    Draft,
    JsonObject,
    Question,
    RoomId,
    Update,
    UpdateStep,
    UserId,
)
from roommate.errors import RoommateError, StateError, UpdateError
from roommate.features.redeploy import update_texts
from roommate.features.redeploy.update_texts import HINT
from roommate.host import deadlines
from roommate.host.flag_files import watch_flags
from roommate.matrix import render
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.live_message_port import Progress
from roommate.rooms.questions import Questions
from roommate.settings.config import Settings
from roommate.store import Audit, Card, Outbox
from roommate.updates import daemons, plan
from roommate.updates.journal import FILE, Journal
from roommate.updates.releases import Install, Release, own

log = logging.getLogger(__name__)

REDEPLOY, ROLLBACK = CardKind.REDEPLOY, CardKind.ROLLBACK
CARD_SECONDS = 3600
FETCH_SECONDS = 20.0
"""How long a room waits for the remote: other commands wait behind it."""
LOOK_SECONDS = 0.2
"""Between two looks at the journal of an update that is on its way."""
RETRY_SECONDS = 5.0
START_SECONDS = 5.0
"""Between two updaters: one that was started needs a moment to be there."""
MODEL = "model"
"""Where it came from, in the audit log, when a model asked for it on somebody's behalf."""
NO_RELEASE = (
    "I run from a plain checkout, and nothing can be redeployed there. `scripts/install-service.sh` installs me in a "
    "folder with releases, or `roommate update --root ROOT --remote URL` makes one."
)


class Redeploys:
    """Of one daemon. `run` tells in chat what the journal says, and sees to it that somebody carries it out."""

    def __init__(
        self,
        settings: Callable[[], Settings],
        outbox: Outbox,
        questions: Questions,
        progress: Progress,
        audit: Audit,
        control: ControlRoom,
    ):
        self._settings = settings
        self._outbox = outbox
        self._questions = questions
        self._progress = progress
        self._audit = audit
        self._control = control
        self._journal = Journal(settings().state_dir)
        self._own = own()
        self._started_at = 0.0
        self._news = asyncio.Event()

    # ── What people and models ask for ───────────────────────────────────────────────────────────

    async def question(self, what: str, ref: str, why: str = "") -> Question:
        """The card for a redeploy to `ref` or a rollback. Raises UpdateError with what speaks against it."""
        if self._own is None:
            raise UpdateError(NO_RELEASE)
        try:
            ask = self._redeploy if what == REDEPLOY else self._rollback
            return await asyncio.to_thread(ask, self._own[0], ref, why)
        except StateError as error:
            raise UpdateError(str(error)) from error

    def asked_in(self, room_id: RoomId, by: UserId) -> Callable[[str, str], Awaitable[str]] | None:
        """What a model that works for somebody may do: ask. None where that makes no sense."""
        if self._own is None or not self._settings().is_operator(by):
            return None
        return lambda ref, why: self._request(room_id, ref, why, by)

    async def _request(self, room_id: RoomId, ref: str, why: str, by: str) -> str:
        """A model asks for a redeploy: the operators of the room get the card, and nothing else happens."""
        try:
            asked = await self.question(REDEPLOY, ref, why or "it gives no reason")
        except UpdateError as error:
            return f"⚠️ {error}"
        deed = Deed(by, MODEL, "redeploy.ask", room_id=room_id, subject=asked.subject)
        await self._questions.put_up(room_id, asked, deeds=[deed])
        return "The room has a card now: an operator decides. Nothing happens before that; do not wait for it."

    def version(self) -> str:
        """For ``!version``."""
        about = self._own[1].about if self._own else None
        if about is None:
            return f"Roommate {__version__}, from a plain checkout."
        made = f"{datetime.fromtimestamp(about.made).astimezone():%Y-%m-%d %H:%M}"
        return update_texts.version(__version__, about.commit[:12], f"{about.committed}: {about.subject}", made)

    async def decide(self, card: Card, choice: str, by: UserId) -> str | None:
        """What a choice at a card means. None: from now on the card itself tells how it goes."""
        if choice == texts.NO or self._own is None:
            return "everything stays as it is"
        install, release = self._own
        try:
            update = plan.update_to(
                install, card.subject, by=by, id=f"{card.what}-{card.id}", room_id=card.room_id, message=card.message
            )
            if self._journal.begin(update):
                self._start_updater(install, release)
        except RoommateError as error:
            return f"⚠️ {error}"
        self.look()
        return None

    def _redeploy(self, install: Install, ref: str, why: str) -> Question:
        """Blocks."""
        self._refuse_a_second()
        repository = plan.repository_of(install, self._settings())
        repository.fetch(FETCH_SECONDS * self._settings().patience)
        way = plan.way(install, repository, ref or self._settings().update_ref)
        update = plan.update_to(install, way.to.id, by="")
        told = plan.noted(install, repository, way)
        about = update_texts.notes(told.changes, told.more, told.new_settings, told.gone_settings)
        text = update_texts.redeploy_card(update.old, update.new, way.ref, plan.incoming(way), way.behind, why, about)
        return Question(REDEPLOY, text, way.to.id, hint=HINT, operators_only=True, seconds=CARD_SECONDS)

    def _rollback(self, install: Install, ref: str, why: str) -> Question:
        """Blocks."""
        self._refuse_a_second()
        update = plan.rollback(install, by="")
        about = install.release(update.new).about
        text = update_texts.rollback_card(update.old, update.new, about.subject if about else "")
        return Question(ROLLBACK, text, update.commit, hint=HINT, operators_only=True, seconds=CARD_SECONDS)

    def _refuse_a_second(self) -> None:
        last = self._journal.read()
        if last is not None and last.open:
            raise UpdateError(f"{last.by} has asked for `{last.new}`, which is on its way (at: {last.step})")

    # ── How it goes ──────────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """The journal may say something new."""
        self._news.set()

    async def watch(self) -> None:
        """Hear of what others write to the journal, for ever."""

        async def written(files: Mapping[str, float]) -> None:
            self.look()

        if self._own is not None:
            self.look()
            await watch_flags(self._settings().state_dir, FILE, tell=written)

    async def run(self) -> None:
        """For ever."""
        shown: Update | None = None
        while self._own is not None:
            self._news.clear()
            wait: float | None = None
            try:
                update = self._journal.read()
                if update is not None and update != shown:
                    await self._tell(update)
                    shown = update
                if update is not None and update.open:
                    self._see_to_an_updater(update)
                    wait = LOOK_SECONDS
            except (StateError, UpdateError) as error:
                log.error("%s", error)
                wait = RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with deadlines.within(wait):
                    await self._news.wait()

    def _see_to_an_updater(self, update: Update) -> None:
        """Whoever carried it out may have died; then the old release, whose code is known to work, goes on with it."""
        assert self._own is not None
        if (
            time.monotonic() - self._started_at > START_SECONDS * self._settings().patience
            and not self._journal.is_held
        ):
            install, _ = self._own
            self._start_updater(install, install.release(update.old))

    def _start_updater(self, install: Install, release: Release) -> None:
        self._started_at = time.monotonic()
        daemons.start_updater(install, release, self._journal.log)

    async def _tell(self, update: Update) -> None:
        """Show a step; of an update that is over, tell once."""
        if update.open:
            if update.room_id is not None and update.message is not None:
                self._progress.progress(update.room_id, update.message, partial(_steps, update))
            return
        if update.told:
            return
        if update.room_id is not None and update.message is not None:
            content = _content(update_texts.ending(update), by=update.by)
            end = Draft(update.room_id, content, edits=update.message, once=f"update:{update.id}")
            self._progress.forget(update.message)
            await self._outbox.put([end])
            self._progress.wake()
        if update.room_id != self._control.room_id:
            await self._control.tell(update_texts.ending(update), once=f"update:{update.id}:told", quietly=False)
        done = update.step is UpdateStep.DONE
        outcome = DeedOutcome.DONE if done else DeedOutcome.FAILED
        deed = Deed(update.by, DAEMON, REDEPLOY, outcome, update.room_id, f"{update.old} → {update.new}", update.why)
        await self._audit.record_once(deed, update.step_began)
        self._journal.told(update)


async def _steps(update: Update) -> JsonObject:
    return _content(update_texts.steps(update))


def _content(markdown: str, by: str = "") -> JsonObject:
    """What the card's message says now; at the end it notifies who decided, if that was somebody in chat."""
    mentions = [UserId(by)] if by.startswith("@") else []
    return render.content(markdown, notice=not by, mentions=mentions)
