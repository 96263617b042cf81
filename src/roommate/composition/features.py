"""All features, a line for each: its operations, and how it is made with what it uses of the daemon."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from roommate import __version__, store
from roommate.administration.startup_order import Phase, Service
from roommate.composition.from_settings import site_of
from roommate.composition.kernel import Kernel
from roommate.composition.rooms import heard
from roommate.composition.turns import agents_of, budget_of
from roommate.domain import CardKind
from roommate.features import (
    account_devices,
    ask_person,
    audit_log,
    audit_of_outside_backups,
    doctor,
    help_and_ping,
    pauses,
    plans,
    queue,
    recovery,
    reset,
    rooms,
    sandboxes,
    say_as_bot,
    shells,
    thread_per_task,
    turn_changes_and_output,
    turns,
    usage,
    verbose,
    verification,
    workspace_files,
)
from roommate.features.coding_agents import delegation_tools
from roommate.features.coding_agents.operations import CodingAgents
from roommate.features.egress import proxy
from roommate.features.egress.late_answer import take_up
from roommate.features.egress.operations import Egress
from roommate.features.egress.proxy import EgressProxy
from roommate.features.egress.safe_connect import Addresses
from roommate.features.feature import Feature
from roommate.features.github import git_server, pull_request_tool
from roommate.features.github.forge import Forge
from roommate.features.github.git_server import GitServer
from roommate.features.github.operations import Repositories
from roommate.features.github.pull_requests import RoomProposals
from roommate.features.hooks import reports
from roommate.features.mesh import feature as mesh
from roommate.features.mesh import place_checks
from roommate.features.mesh.answering_composition import answering_part
from roommate.features.mesh.asking_composition import asking_part
from roommate.features.mesh.asking_operations import PeerOperations
from roommate.features.mesh.policy_trials import PolicyOperations
from roommate.features.mesh.request_operations import RequestOperations
from roommate.features.mesh.trust_operations import TrustOperations
from roommate.features.model_and_prompt import ModelAndPrompt
from roommate.features.model_gateway import gateway
from roommate.features.model_gateway.gateway import Gateway
from roommate.features.model_gateway.providers import providers
from roommate.features.pending_approvals import Approvals
from roommate.features.redeploy import redeploy_tool
from roommate.features.redeploy.operations import Updates
from roommate.features.redeploy.update_conversation import Redeploys
from roommate.features.room_settings import operations as room_settings
from roommate.features.room_settings.operations import RoomSettingOperations
from roommate.features.schedules.due import Due
from roommate.features.schedules.operations import ScheduleOperations
from roommate.host.flag_files import watch_flags
from roommate.matrix.media_download import Media
from roommate.monitoring.counting_ports import CountedUsages
from roommate.operations import Bound, Operation, operations_of
from roommate.rooms.file_delivery import largest
from roommate.rooms.turn_holds import FLAG
from roommate.store import Turn
from roommate.tools.tool import Source
from roommate.tunnels.port_services import RoomPorts

F = TypeVar("F")


def _rooms(kernel: Kernel) -> rooms.Rooms:
    database = kernel.database
    return rooms.Rooms(
        rooms=store.Rooms(database),
        inbox=store.Inbox(database),
        turns=store.Turns(database),
        agent_usages=store.AgentUsages(database),
        holds=kernel.holds,
        sandboxes=kernel.sandboxes,
        doors=kernel.homeserver,
        settings=kernel.settings,
        name=kernel.names.of,
    )


def _turns(kernel: Kernel) -> turns.Turns:
    residents = kernel.residents
    return turns.Turns(store.Turns(kernel.database), residents.room, residents.wake, kernel.settings)


def _queue(kernel: Kernel) -> queue.MessageQueue:
    return queue.MessageQueue(store.Inbox(kernel.database), kernel.names.of, kernel.residents.wake)


def _usage(kernel: Kernel) -> usage.Usages:
    database = kernel.database
    agents, reactions = store.AgentUsages(database), store.MessageReactions(database)
    return usage.Usages(store.Rooms(database), store.Turns(database), agents, reactions, budget_of(kernel))


def _doctor(kernel: Kernel) -> doctor.Doctor:
    inbox = store.Inbox(kernel.database)
    places = partial(place_checks.examine, kernel.trust.policy.path, kernel.sandboxes)
    return doctor.Doctor(kernel.settings, inbox, kernel.outbox, kernel.sandboxes, kernel.silent_seconds, places)


def _workspace_files(kernel: Kernel) -> workspace_files.Files:
    return workspace_files.Files(kernel.sandboxes, kernel.settings, partial(largest, kernel.homeserver.upload_limit))


def _speaking(kernel: Kernel) -> say_as_bot.Speaking:
    homeserver, wake = kernel.homeserver, kernel.residents.wake
    return say_as_bot.Speaking(kernel.settings, homeserver, kernel.outbox, kernel.sender, wake)


def _room_settings(kernel: Kernel) -> Feature:
    database, containers = kernel.database, kernel.sandboxes
    operations = RoomSettingOperations(store.RoomSettings(database), kernel.settings, containers, kernel.sender.wake)
    return Feature([operations], cards={CardKind.DEVCONTAINER: room_settings.deciding(database, containers)})


def _egress(kernel: Kernel) -> Feature:
    gate, internal = kernel.gate, kernel.settings().egress_internal_hosts
    return Feature(
        [Egress(gate, store.Egress(kernel.database))],
        cards={CardKind.EGRESS: lambda card, choice, by: gate.decide(card.room_id, card.subject, choice, by)},
        prompts={CardKind.GO_ON: lambda card, _: take_up(card)},
        ports={proxy.PORT: EgressProxy(gate, Addresses(internal=internal, mirrors=gate.registries))},
    )


def _model_gateway(kernel: Kernel) -> Feature:
    settings, usages = kernel.settings(), store.AgentUsages(kernel.database)
    known = providers(settings.provider_keys, settings.provider_bases)
    return Feature(ports={gateway.PORT: Gateway(known, CountedUsages(usages, kernel.counts), budget_of(kernel))})


def _github(kernel: Kernel) -> Feature:
    settings, forge = kernel.settings(), Forge(site_of(kernel.settings()))
    repos, audit, protected = store.Repos(kernel.database), store.Audit(kernel.database), settings.protected_branches
    server = GitServer(forge, repos, kernel.gate.refusal, audit, protected=protected, folder=settings.state_dir)

    def tools(turn: Turn) -> Source:
        proposals = RoomProposals(turn.room_id, forge, repos, audit, protected=protected)
        return pull_request_tool.offered(proposals if forge.site.token else None)

    return Feature([Repositories(forge, repos)], tools=tools, ports={git_server.PORT: server})


def _ask_person(kernel: Kernel) -> Feature:
    cards, inbox = store.Cards(kernel.database), store.Inbox(kernel.database)
    return ask_person.feature(cards, inbox, kernel.questions, kernel.settings, kernel.names.of, kernel.residents.wake)


def _plans(kernel: Kernel) -> Feature:
    return plans.feature(kernel.settings, store.Inbox(kernel.database), kernel.residents.wake)


def _coding_agents(kernel: Kernel) -> Feature:
    def tools(turn: Turn) -> Source:
        return delegation_tools.offered(
            agents_of(kernel, turn.room_id, turn.conversation_id, turn.id, kernel.waiting.of(turn.id))
        )

    choices, agents = store.Agents(kernel.database), partial(agents_of, kernel)
    return Feature([CodingAgents(kernel.settings, choices, agents, kernel.sandboxes)], tools)


def _redeploy(kernel: Kernel) -> Feature:
    audit = store.Audit(kernel.database)
    redeploys = Redeploys(kernel.settings, kernel.outbox, kernel.questions, kernel.sender, audit, kernel.control)
    return Feature(
        [Updates(redeploys)],
        tools=lambda turn: redeploy_tool.offered(redeploys.asked_in(turn.room_id, turn.asked_by)),
        cards={CardKind.REDEPLOY: redeploys.decide, CardKind.ROLLBACK: redeploys.decide},
        services=(Service(Phase.PROVE, redeploys.run), Service(Phase.READY, redeploys.watch)),
    )


def _hooks(kernel: Kernel) -> Feature:
    watching = Service(Phase.READY, lambda: kernel.spool.run(partial(heard, kernel)))
    return Feature(cards={CardKind.HOOK: reports.decider(kernel.spool)}, services=(watching,))


def _pauses(kernel: Kernel) -> Feature:
    folder = kernel.settings().state_dir
    watching = Service(Phase.READY, lambda: watch_flags(folder, FLAG, tell=kernel.holds.flagged))
    return Feature([pauses.Pauses(kernel.holds, kernel.names.of)], services=(watching,))


def _schedules(kernel: Kernel) -> Feature:
    schedules, settings, wake = store.Schedules(kernel.database), kernel.settings, kernel.residents.wake
    bot, name = settings().bot, kernel.names.of

    def allowed(who: str) -> bool:
        return settings().is_allowed(who)

    due = Due(schedules, kernel.outbox, kernel.sender, bot=bot, name=name, wake=wake, allowed=allowed)
    return Feature([ScheduleOperations(schedules, settings, due.look)], services=(Service(Phase.READY, due.run),))


def _verification(kernel: Kernel) -> Feature:
    return verification.feature(
        verification.Verifying(
            kernel.encryption,
            store.Rooms(kernel.database),
            kernel.homeserver.members.of,
            kernel.questions,
            kernel.outbox,
            kernel.sender,
            kernel.control,
            kernel.settings,
        )
    )


def _devices(kernel: Kernel) -> Feature:
    return account_devices.feature(account_devices.Devices(kernel.encryption, kernel.control, kernel.settings))


def _recovery(kernel: Kernel) -> Feature:
    services = (Service(Phase.SERVE, kernel.encryption.run),) if kernel.encryption else ()
    return Feature([recovery.RecoveryOfRooms(kernel.encryption)], services=services)


def _audit_log(kernel: Kernel) -> Feature:
    audit, days = store.Audit(kernel.database), kernel.settings().audit_days
    return Feature([audit_log.AuditLog(audit)], services=(Service(Phase.CONNECT, lambda: audit.run(days)),))


def _control_room(kernel: Kernel) -> Feature:
    control = kernel.control
    return Feature(
        services=(
            Service(Phase.CONNECT, lambda: control.watch(kernel.logs)),
            Service(Phase.SERVE, lambda: control.tell(f"Roommate {__version__} is up.")),
        )
    )


def _mesh(kernel: Kernel) -> Feature:
    trust = kernel.trust
    asking = asking_part(
        kernel.database,
        kernel.homeserver,
        kernel.outbox,
        kernel.sender,
        Media(kernel.homeserver),
        trust,
        members=kernel.homeserver.members.of,
        wait_seconds=lambda: kernel.settings().peer_wait_seconds,
    )
    answering = answering_part(
        kernel.database,
        kernel.homeserver,
        kernel.outbox,
        kernel.sender,
        Media(kernel.homeserver),
        trust,
        sandboxes=kernel.sandboxes,
        questions=kernel.questions,
        holds=kernel.holds,
        name=kernel.names.of,
        is_operator=lambda who: kernel.settings().is_operator(who),
    )
    return mesh.feature(
        kernel.database,
        kernel.mesh_news,
        trust,
        asking,
        answering,
        kernel.questions,
        kernel.control,
        after_trial=kernel.on_trial,
    )


class Declared(NamedTuple):
    operations: Sequence[type]
    """Its classes of operations, which are known where there is no daemon, too."""
    made: Callable[[Kernel], Feature]


def asked_for(operations: type[F], made: Callable[[Kernel], F]) -> Declared:
    """A feature that is operations and nothing else."""
    return Declared([operations], lambda kernel: Feature([made(kernel)]))


FEATURES: tuple[Declared, ...] = (
    asked_for(help_and_ping.About, lambda kernel: help_and_ping.About(kernel.settings, lambda: DECLARED)),
    asked_for(rooms.Rooms, _rooms),
    asked_for(turns.Turns, _turns),
    asked_for(queue.MessageQueue, _queue),
    asked_for(verbose.Verbosity, lambda kernel: verbose.Verbosity(store.RoomSettings(kernel.database))),
    asked_for(thread_per_task.Threads, lambda kernel: thread_per_task.Threads(store.Rooms(kernel.database))),
    asked_for(
        turn_changes_and_output.Results, lambda kernel: turn_changes_and_output.Results(store.Turns(kernel.database))
    ),
    Declared([reset.Resets], lambda kernel: reset.feature(kernel.sandboxes, kernel.residents.room)),
    asked_for(ModelAndPrompt, lambda kernel: ModelAndPrompt(kernel.settings, store.Rooms(kernel.database))),
    Declared([RoomSettingOperations], _room_settings),
    Declared([Egress], _egress),
    Declared([], _model_gateway),
    Declared([Repositories], _github),
    Declared([CodingAgents], _coding_agents),
    Declared([], _ask_person),
    Declared([plans.Plans], _plans),
    Declared([], _hooks),
    Declared([pauses.Pauses], _pauses),
    asked_for(usage.Usages, _usage),
    Declared([ScheduleOperations], _schedules),
    Declared([recovery.RecoveryOfRooms], _recovery),
    Declared([audit_log.AuditLog], _audit_log),
    asked_for(doctor.Doctor, _doctor),
    Declared([verification.Verifying], _verification),
    Declared([account_devices.Devices], _devices),
    Declared([Updates], _redeploy),
    Declared([], _control_room),
    asked_for(sandboxes.Sandboxes, lambda kernel: sandboxes.Sandboxes(store.Rooms(kernel.database), kernel.sandboxes)),
    asked_for(Approvals, lambda kernel: Approvals(store.Cards(kernel.database), kernel.residents.room)),
    asked_for(audit_of_outside_backups.Backups, lambda kernel: audit_of_outside_backups.Backups()),
    asked_for(TrustOperations, lambda kernel: TrustOperations(kernel.trust)),
    asked_for(PolicyOperations, lambda kernel: PolicyOperations(kernel.trust.policy, kernel.trust.peers)),
    Declared([PeerOperations, RequestOperations], _mesh),
    asked_for(shells.Shells, lambda kernel: shells.Shells(kernel.sandboxes, store.Audit(kernel.database))),
    asked_for(workspace_files.Files, _workspace_files),
    asked_for(say_as_bot.Speaking, _speaking),
)
"""In the order in which people read of what can be asked for, and a model of its tools."""

DECLARED: Sequence[Operation[Any, Any, Any]] = [
    one for feature in FEATURES for operations in feature.operations for one in operations_of(operations)
]


class Features:
    """What all of them give to one daemon."""

    def __init__(self, kernel: Kernel) -> None:
        made = [one.made(kernel) for one in FEATURES]
        self.operations: Sequence[Bound] = [
            one.of(operations)
            for feature in made
            for operations in feature.operations
            for one in operations_of(type(operations))
        ]
        self.cards = {kind: decide for feature in made for kind, decide in feature.cards.items()}
        self.prompts = {kind: becomes for feature in made for kind, becomes in feature.prompts.items()}
        self.ports = RoomPorts({port: serves for feature in made for port, serves in feature.ports.items()})
        self.services = [service for feature in made for service in feature.services]
        self._tools = [feature.tools for feature in made if feature.tools]

    def tools(self, turn: Turn) -> Sequence[Source]:
        return [tools(turn) for tools in self._tools]
