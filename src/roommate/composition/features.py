"""All that the bot can be asked for: the features, and what each of them uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from roommate.domain import CardKind, RoomId
from roommate.doors.reference import of_chat
from roommate.features import (
    audit_log,
    backup_records,
    doctor,
    help_and_ping,
    model_and_prompt,
    pauses,
    pending_approvals,
    reset,
    results,
    rooms,
    sandboxes,
    shells,
    speaking,
    turns,
    usage,
    workspace_files,
)
from roommate.features.coding_agents.operations import CodingAgents
from roommate.features.egress.operations import Egress
from roommate.features.github.operations import Repositories
from roommate.features.redeploy.operations import Updates
from roommate.operations import Bound, Operation, operations_of

if TYPE_CHECKING:  # who asks for help, or completes a word, needs none of it
    from roommate.composition.kernel import Kernel
    from roommate.features.coding_agents.delegated_tasks import RoomAgents
    from roommate.features.egress.gate import Gate
    from roommate.features.github.forge import Forge
    from roommate.features.redeploy.update_conversation import Redeploys
    from roommate.rooms.card_decisions import Becomes
    from roommate.rooms.questions import Decide

FEATURES: tuple[type, ...] = (
    help_and_ping.About,
    rooms.Rooms,
    turns.Turns,
    results.Results,
    reset.Resets,
    model_and_prompt.ModelAndPrompt,
    Egress,
    Repositories,
    CodingAgents,
    pauses.Pauses,
    usage.Usages,
    audit_log.AuditLog,
    doctor.Doctor,
    Updates,
    sandboxes.Sandboxes,
    pending_approvals.Approvals,
    backup_records.Backups,
    shells.Shells,
    workspace_files.Files,
    speaking.Speaking,
)
"""Whose methods are operations, in the order in which people read of them."""

DECLARED: Sequence[Operation[Any, Any, Any]] = [one for feature in FEATURES for one in operations_of(feature)]


def bound(
    kernel: Kernel, gate: Gate, forge: Forge, redeploys: Redeploys, agents: Callable[[RoomId], RoomAgents]
) -> Sequence[Bound]:
    """Every operation as this daemon does it, with what its feature uses."""
    from roommate import store
    from roommate.rooms.file_delivery import largest

    settings, database, outbox, progress = kernel.settings, kernel.database, kernel.outbox, kernel.sender
    holds, residents, containers = kernel.holds, kernel.residents, kernel.sandboxes
    known, audit, cards = store.Rooms(database), store.Audit(database), store.Cards(database)
    inbox, past, usages = store.Inbox(database), store.Turns(database), store.AgentUsages(database)
    made = (
        help_and_ping.About(settings, lambda: of_chat(DECLARED)),
        rooms.Rooms(
            rooms=known,
            inbox=inbox,
            turns=past,
            agent_usages=usages,
            holds=holds,
            sandboxes=containers,
            doors=kernel.homeserver,
            settings=settings,
            name=kernel.names.of,
        ),
        turns.Turns(past, residents.room, residents.wake, settings),
        results.Results(past),
        reset.Resets(residents.room),
        model_and_prompt.ModelAndPrompt(settings, known),
        Egress(gate, store.Egress(database)),
        Repositories(forge, store.Repos(database)),
        CodingAgents(settings, store.Agents(database), agents, containers),
        pauses.Pauses(holds, kernel.names.of),
        usage.Usages(known, past, usages),
        audit_log.AuditLog(audit),
        doctor.Doctor(settings, inbox, outbox, containers, kernel.silent_seconds),
        Updates(redeploys),
        sandboxes.Sandboxes(known, containers),
        pending_approvals.Approvals(cards, residents.room),
        backup_records.Backups(),
        shells.Shells(containers, audit),
        workspace_files.Files(containers, settings, partial(largest, kernel.homeserver.upload_limit)),
        speaking.Speaking(settings, kernel.homeserver, outbox, progress, residents.wake),
    )
    by_kind: Mapping[type, object] = {type(feature): feature for feature in made}
    return [one.of(by_kind[kind]) for kind in FEATURES for one in operations_of(kind)]


def deciders(kernel: Kernel, gate: Gate, redeploys: Redeploys) -> Mapping[CardKind, Decide]:
    """Who deals with what is chosen at a card."""
    from roommate.features.hooks import reports

    return {
        CardKind.EGRESS: lambda card, choice, by: gate.decide(card.room_id, card.subject, choice, by),
        CardKind.HOOK: reports.decider(kernel.spool),
        CardKind.RESET_WORKSPACE: reset.resetting(kernel.sandboxes, kernel.residents.room),
        CardKind.REDEPLOY: redeploys.decide,
        CardKind.ROLLBACK: redeploys.decide,
    }


PROMPTS: Mapping[str, Becomes] = {}
"""Kinds of cards whose answer is a prompt, and what the model is told then."""
