"""Two bots do not talk for ever: who writes right behind each answer, for long and with nobody else's word in between,
waits until a person says something.

A notice is never answered. What another bot sends as a text looks like a person's, but for its pace: people do not keep
that up. Who is alone with the bot may well be a person's script, and can go on ten times as long. A restart forgets it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from roommate.domain import EventId, UserId

QUICK_SECONDS = 60.0
"""Longest between an answer and what is said right behind it."""
WINDOW_SECONDS = 3600.0
ALONE = 10
"""How many times as long somebody may go on who is alone with the bot."""
MOST_THREADS = 100

Thread = EventId | None


@dataclass(slots=True)
class _Talk:
    who: UserId
    begun: deque[float] = field(default_factory=deque)
    """When the turns began that they had right behind an answer."""
    answered: float | None = None
    """When the newest of them was over; None while it runs."""
    held: bool = False


@dataclass(slots=True)
class BotLoopGuard:
    """Of one room. `limit` is how many answers in a row there are in an hour; 0: as many as there are."""

    limit: Callable[[], int]
    now: Callable[[], float] = time.monotonic
    talks: dict[Thread, _Talk] = field(default_factory=dict)

    def stops(self, who: UserId, thread: Thread, *, crowded: bool) -> bool:
        """They say something where nothing runs: does it wait for somebody's word? Else they are answered."""
        now, talk = self.now(), self.talks.pop(thread, None)
        quick = talk is not None and talk.answered is not None and now - talk.answered <= QUICK_SECONDS
        if talk is None or talk.who != who or not quick:
            talk = _Talk(who)
        talk.begun.append(now)
        while now - talk.begun[0] > WINDOW_SECONDS:
            talk.begun.popleft()
        talk.answered = None
        self.talks[thread] = talk
        if len(self.talks) > MOST_THREADS:
            del self.talks[next(iter(self.talks))]
        limit = self.limit() * (1 if crowded else ALONE)
        if not limit or len(talk.begun) <= limit:
            return False
        talk.held = True
        return True

    def holds(self, thread: Thread) -> bool:
        """Does what is said there wait for a word?"""
        return thread in self.talks and self.talks[thread].held

    def answered(self, thread: Thread) -> None:
        """A turn is over there."""
        if talk := self.talks.get(thread):
            talk.answered = self.now()

    def heard(self, who: UserId, *, commands: bool = False) -> None:
        """Somebody has said something; that is a word where it is somebody else, or where they `command` something."""
        self.talks = {} if commands else {one: talk for one, talk in self.talks.items() if talk.who == who}
