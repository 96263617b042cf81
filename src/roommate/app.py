"""All that the bot can be asked for: the features, and what each of them uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roommate.domain import CardKind
from roommate.doors.reference import of_chat
from roommate.features import (
    approvals,
    backup_records,
    coding_agents,
    conversation,
    egress,
    files,
    help,
    oversight,
    pauses,
    repositories,
    rooms,
    sandboxes,
    shells,
    speaking,
    turns,
    updates,
)
from roommate.operations import Bound, Operation, operations_of

if TYPE_CHECKING:  # who asks for help, or completes a word, needs none of it
    from roommate.house import House
    from roommate.rooms.questions import Decide

Feature = tuple[type, Callable[["House"], Any]]
"""Whose methods are operations, and what makes it in a daemon."""

FEATURES: tuple[Feature, ...] = (
    (help.About, lambda house: help.About(house.set_to, lambda: of_chat(DECLARED))),
    (
        rooms.Rooms,
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
    (turns.Turns, lambda house: turns.Turns(house.turns, house.room)),
    (conversation.Conversation, lambda house: conversation.Conversation(house.set_to, house.rooms, house.room)),
    (egress.Egress, lambda house: egress.Egress(house.gate, house.egress)),
    (repositories.Repositories, lambda house: repositories.Repositories(house.forge, house.repos)),
    (
        coding_agents.CodingAgents,
        lambda house: coding_agents.CodingAgents(house.set_to, house.agent_log, house.agents, house.sandboxes),
    ),
    (pauses.Pauses, lambda house: pauses.Pauses(house.holds)),
    (
        oversight.Oversight,
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
    (updates.Updates, lambda house: updates.Updates(house.redeploys)),
    (sandboxes.Sandboxes, lambda house: sandboxes.Sandboxes(house.rooms, house.sandboxes)),
    (approvals.Approvals, lambda house: approvals.Approvals(house.cards, house.room)),
    (backup_records.Backups, lambda house: backup_records.Backups()),
    (shells.Shells, lambda house: shells.Shells(house.sandboxes, house.audit)),
    (files.Files, lambda house: files.Files(house.sandboxes, house.set_to)),
    (
        speaking.Speaking,
        lambda house: speaking.Speaking(house.set_to, house.window, house.outbox, house.progress, house.wake),
    ),
)
"""In the order in which people read of them."""

DECLARED: Sequence[Operation[Any, Any, Any]] = [one for feature, _ in FEATURES for one in operations_of(feature)]


def deciders(house: House) -> Mapping[CardKind, Decide]:
    """Who deals with what is chosen at a card."""
    from roommate import hooks

    return {
        CardKind.EGRESS: lambda card, choice, by: house.gate.decide(card.room_id, card.subject, choice, by),
        CardKind.HOOK: hooks.decider(house.spool),
        CardKind.RESET_WORKSPACE: conversation.resetting(house.sandboxes, house.room),
        CardKind.REDEPLOY: house.redeploys.decide,
        CardKind.ROLLBACK: house.redeploys.decide,
    }


def bound(house: House) -> Sequence[Bound]:
    """Every operation, as this daemon does it."""
    return [one.of(feature) for kind, make in FEATURES for feature in [make(house)] for one in operations_of(kind)]
