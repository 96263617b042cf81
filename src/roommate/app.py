"""All that the bot can be asked for: the features, and what each of them uses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from roommate.features import pauses
from roommate.house import House
from roommate.operations import Bound, Operation

Feature = tuple[Sequence[Operation[Any, Any, Any]], Callable[[House], Any]]
"""Its operations, and what makes it in a daemon."""

FEATURES: tuple[Feature, ...] = ((pauses.OPERATIONS, lambda house: pauses.Pauses(house.holds)),)

DECLARED: Sequence[Operation[Any, Any, Any]] = tuple(one for operations, _ in FEATURES for one in operations)


def bound(house: House) -> Sequence[Bound]:
    """Every operation, as this daemon does it."""
    return [one.of(feature) for operations, make in FEATURES for feature in [make(house)] for one in operations]
