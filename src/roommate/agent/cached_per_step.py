"""What is made of each step of a conversation once, and kept as long as that step is."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Generic, TypeVar

from roommate.domain import Step

Made = TypeVar("Made")


class CachedPerStep(Generic[Made]):
    """A turn asks its model with the same steps at every round, and only their end is new."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Step], tuple[object, ...], Made]] = {}

    def __call__(self, step: Step, make: Callable[..., Made], *key: object) -> Made:
        """What ``make(step, *key)`` gives."""
        place = id(step)
        known = self._known.get(place)
        if known is not None and known[1] == key:  # what was of a step that died has left: the id is this one's
            return known[2]
        made = make(step, *key)
        self._known[place] = (weakref.ref(step, lambda _: self._known.pop(place, None)), key, made)
        return made

    def __len__(self) -> int:
        return len(self._known)
