"""Two bots do not talk for ever: who writes right behind each answer, for long and with nobody else's word in between,
waits until a person says something.

A notice is never answered. What another bot sends as a text looks like a person's, but for its pace: people do not keep
that up. Who is alone with the bot may well be a person's script, and can go on ten times as long. After a restart it is
counted anew from what was stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from roommate.domain import EventId, Message, Reaction, UserId
from roommate.store.said_lately import Said

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
    now: Callable[[], float] = time.time
    talks: dict[Thread, _Talk] = field(default_factory=dict)

    def stops(self, who: UserId, thread: Thread, *, crowded: bool) -> bool:
        """They say something where nothing runs: does it wait for somebody's word? Else they are answered."""
        talk = self._count(who, thread, self.now())
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

    def recall(self, lately: Iterable[Said], commands: Callable[[Message], bool]) -> None:
        """Begin anew with what was said in the last hour, and what waits, in order; `commands` tells whether a message
        is a command. The time in which no daemon ran does not count: who is the first to write after it has written
        right behind the answer."""
        self.talks = {}
        for said in lately:
            match said.what:
                case Reaction():
                    self.heard(said.who, commands=True)
                    continue
                case Message(thread=thread) as message:
                    self.heard(said.who, commands=said.begun is None and commands(message))
            if said.held:
                self._count(said.who, thread, self.now()).held = True
            if said.begun is not None and not said.waited:
                self._count(said.who, thread, said.begun)
            if thread in self.talks and said.begun is not None:
                self.talks[thread].answered = said.ended
        for talk in self.talks.values():
            talk.answered = talk.answered and self.now()

    def _count(self, who: UserId, thread: Thread, at: float) -> _Talk:
        """They say one more thing."""
        talk = self.talks.pop(thread, None)
        if talk is None or talk.who != who or talk.answered is None or at - talk.answered > QUICK_SECONDS:
            talk = _Talk(who)
        talk.begun.append(at)
        while at - talk.begun[0] > WINDOW_SECONDS:
            talk.begun.popleft()
        talk.answered = None
        self.talks[thread] = talk
        if len(self.talks) > MOST_THREADS:
            del self.talks[next(iter(self.talks))]
        return talk

    def heard(self, who: UserId, *, commands: bool = False) -> None:
        """Somebody has said something; that is a word where it is somebody else, or where they `command` something."""
        self.talks = {} if commands else {one: talk for one, talk in self.talks.items() if talk.who == who}
