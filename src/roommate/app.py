"""All that the bot can be asked for: the features, and what each of them uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from roommate import hooks
from roommate.doors.reference import of_chat
from roommate.features import (
    about,
    approvals,
    backups,
    coding_agents,
    conversation,
    egress,
    oversight,
    pauses,
    repositories,
    rooms,
    sandboxes,
    turns,
    updates,
)
from roommate.house import House
from roommate.operations import Bound, Operation
from roommate.questions import Decide
from roommate.words import CardKind

Feature = tuple[Sequence[Operation[Any, Any, Any]], Callable[[House], Any]]
"""Its operations, and what makes it in a daemon."""

FEATURES: tuple[Feature, ...] = (
    (about.OPERATIONS, lambda house: about.About(house.set_to, lambda: of_chat(DECLARED))),
    (
        rooms.OPERATIONS,
        lambda house: rooms.Rooms(
            rooms=house.rooms,
            inbox=house.inbox,
            turns=house.turns,
            agent_usages=house.agent_usages,
            holds=house.holds,
            sandboxes=house.sandboxes,
            doors=house.doors,
            settings=house.set_to,
        ),
    ),
    (turns.OPERATIONS, lambda house: turns.Turns(house.turns, house.room)),
    (conversation.OPERATIONS, lambda house: conversation.Conversation(house.set_to, house.rooms, house.room)),
    (egress.OPERATIONS, lambda house: egress.Egress(house.gate, house.egress)),
    (repositories.OPERATIONS, lambda house: repositories.Repositories(house.forge, house.repos)),
    (
        coding_agents.OPERATIONS,
        lambda house: coding_agents.CodingAgents(house.set_to, house.agent_log, house.agents, house.sandboxes),
    ),
    (pauses.OPERATIONS, lambda house: pauses.Pauses(house.holds)),
    (
        oversight.OPERATIONS,
        lambda house: oversight.Oversight(
            settings=house.set_to,
            rooms=house.rooms,
            turns=house.turns,
            inbox=house.inbox,
            outbox=house.outbox,
            log=house.audit,
            agent_usages=house.agent_usages,
            sandboxes=house.sandboxes,
            silent_seconds=house.silent_seconds,
        ),
    ),
    (updates.OPERATIONS, lambda house: updates.Updates(house.redeploys)),
    (sandboxes.OPERATIONS, lambda house: sandboxes.Sandboxes(house.rooms, house.sandboxes)),
    (approvals.OPERATIONS, lambda house: approvals.Approvals(house.cards, house.room)),
    (backups.OPERATIONS, lambda house: backups.Backups()),
)
"""In the order in which people read of them."""


def deciders(house: House) -> Mapping[CardKind, Decide]:
    """Who deals with what is chosen at a card."""
    return {
        CardKind.EGRESS: lambda card, choice, by: house.gate.decide(card.room_id, card.subject, choice, by),
        CardKind.HOOK: hooks.decider(house.spool),
        CardKind.RESET_WORKSPACE: conversation.resetting(house.sandboxes, house.room),
        CardKind.REDEPLOY: house.redeploys.decide,
        CardKind.ROLLBACK: house.redeploys.decide,
    }


DECLARED: Sequence[Operation[Any, Any, Any]] = tuple(one for operations, _ in FEATURES for one in operations)


def bound(house: House) -> Sequence[Bound]:
    """Every operation, as this daemon does it."""
    return [one.of(feature) for operations, make in FEATURES for feature in [make(house)] for one in operations]
