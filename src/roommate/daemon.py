"""The daemon: opens what it has of this host, plugs the parts together, and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from roommate.administration.daemon_operations import Steering
from roommate.administration.health_watch import Alarm
from roommate.administration.settings_show_and_reload import LiveSettings
from roommate.administration.startup_order import Phase, Service, Startup
from roommate.administration.storage_health import Health
from roommate.composition.features import Features
from roommate.composition.from_settings import REAL, Borders
from roommate.composition.kernel import Kernel
from roommate.composition.rooms import contain, present_account, room_maker
from roommate.composition.status_and_socket import gauges, in_a_line, listen, methods
from roommate.composition.turns import Models, turn_needs
from roommate.control import NAME
from roommate.control.server import Server
from roommate.domain import MeshEvent, Redaction, RoomId, SyncBatch, Update
from roommate.features.egress.gate import Gate
from roommate.features.egress.registries_of_image import Registries
from roommate.features.hooks.watcher import Spool
from roommate.features.mesh.policy_file import PolicyFile
from roommate.features.mesh.trust import Trust
from roommate.features.room_settings.setup_run import RoomsOwn
from roommate.host import deadlines, malloc_trim
from roommate.host.flag_files import flags
from roommate.host.sd_notify import Systemd
from roommate.logs import Logs
from roommate.matrix import render
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.display_names import DisplayNames
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.intake import Intake
from roommate.matrix.sender import Sender
from roommate.matrix.sign_in import sign_in
from roommate.monitoring.alert_delivery import Alerts
from roommate.monitoring.counts import Counts
from roommate.operations import Operations
from roommate.rooms.background_jobs import BackgroundJobs
from roommate.rooms.control_room import ControlRoom, newest
from roommate.rooms.questions import Questions
from roommate.rooms.residents import Residents
from roommate.rooms.restore_notice import tell_of_restore
from roommate.rooms.turn_holds import FLAG, Holds
from roommate.rooms.turns_awaiting_people import WaitingTurns
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.settings.config import Settings
from roommate.store import (
    Audit,
    Cards,
    CryptoRecords,
    Database,
    Egress,
    Inbox,
    Outbox,
    Pauses,
    Restored,
    Retention,
    Rooms,
    RoomSettings,
    Upgrades,
    WatchedJobs,
)
from roommate.tools import room_tools
from roommate.updates.at_start import Trial
from roommate.updates.journal import Journal

log = logging.getLogger(__name__)

STOP_SECONDS = 4
"""Longest that closing may take; systemd and people wait no longer than five."""


class Daemon:
    """One running Roommate: holds the state folder, the login, and a task for every room that has something to do."""

    def __init__(
        self,
        settings: Settings,
        systemd: Systemd,
        logs: Logs,
        end: Callable[[bool], None],
        alerts: Alerts,
        trial: Update | None = None,
        borders: Borders = REAL,
    ) -> None:
        """`end` ends the process, with True for it to begin again. `trial` is the update that this release is on trial
        in: until it stays it takes messages in, and no more."""
        self._settings = LiveSettings(settings)
        self._systemd, self._logs, self._alerts = systemd, logs, alerts
        self._end, self._trial, self._borders = end, trial, borders
        self._counts = Counts()
        self._started, self._since = time.monotonic(), time.time()

    async def run(self) -> None:
        """Until cancelled, or a part of it cannot go on (RoommateError in an ExceptionGroup)."""
        settings = self._settings()
        database = Database.open(settings.state_dir)
        await asyncio.to_thread(self._alerts.begun)
        self._logs.keep()
        homeserver = Homeserver(
            settings.matrix_homeserver,
            settings.bot,
            keep=Inbox(database).keep_account,
            learned=lambda login: self._logs.redact.learn(login.access_token, login.refresh_token),
            ca=settings.matrix_ca,
            session=self._borders.session,
        )
        encryption, records = None, None
        if settings.e2ee != "off":
            records = CryptoRecords(settings.state_dir)
            encryption = Encryption(
                records,
                homeserver,
                homeserver,
                homeserver.members,
                settings.bot,
                settings.state_dir,
                required=settings.e2ee == "required",
                signed_only=settings.trust == "cross-signed",
                url=settings.matrix_homeserver.rstrip("/"),
            )
            homeserver.encryption = encryption
        spool = Spool()
        sandboxes = self._borders.sandboxes(settings, spool)
        try:
            await self._serve(await self._kernel(database, homeserver, sandboxes, spool, encryption))
        finally:
            try:
                async with deadlines.within(STOP_SECONDS):
                    await sandboxes.close()
                    await homeserver.close()
                    await database.close()
                    if records is not None:
                        await records.close()
            except TimeoutError:
                log.warning("not everything could be closed within %d s", STOP_SECONDS)

    async def _kernel(
        self,
        database: Database,
        homeserver: Homeserver,
        sandboxes: RoomSandboxes,
        spool: Spool,
        encryption: Encryption | None,
    ) -> Kernel:
        settings, inbox, outbox = self._settings(), Inbox(database), Outbox(database)
        sender = Sender(homeserver, outbox)
        operators = await newest(Upgrades(database), RoomId(settings.control_room))
        control = ControlRoom(operators, outbox, sender, homeserver.send)
        waiting = WaitingTurns()
        questions = Questions(Cards(database), outbox, sender, control, waiting, lambda: self._settings().operator_ids)
        gate = Gate(
            Egress(database),
            questions,
            registries=Registries(sandboxes.in_image),
            presets=settings.egress_presets,
            forever=settings.egress_forever,
        )
        residents = Residents(inbox.rooms_with_work)
        mesh_news = asyncio.Event()

        def stored(batch: SyncBatch) -> None:
            residents.stored(batch)
            if any(isinstance(one.what, Redaction) for one in batch.happened):
                sender.wake()  # the mark of what waited is taken off in the same transaction
            if any(isinstance(one.what, MeshEvent | Redaction) for one in batch.happened):
                mesh_news.set()

        policy = PolicyFile(settings.policy)
        policy.begin()
        holds = Holds(Pauses(database), residents.go_on)
        await holds.load(flags(settings.state_dir, FLAG))
        return Kernel(
            settings=self._settings,
            database=database,
            homeserver=homeserver,
            encryption=encryption,
            names=DisplayNames(homeserver.display_names),
            waiting=waiting,
            intake=Intake(homeserver, inbox, stored, encryption),
            outbox=outbox,
            sender=sender,
            sandboxes=sandboxes,
            spool=spool,
            control=control,
            questions=questions,
            gate=gate,
            residents=residents,
            jobs=BackgroundJobs(WatchedJobs(database), sandboxes, residents.wake),
            holds=holds,
            counts=self._counts,
            logs=self._logs,
            trust=Trust(settings.state_dir, database, settings.bot, policy, sender.wake, homeserver.members.of),
            on_trial=self._trial is not None,
            mesh_news=mesh_news,
        )

    async def _serve(self, kernel: Kernel) -> None:
        """Plug the parts together, and run each from its phase on."""
        settings, database, residents = self._settings(), kernel.database, kernel.residents
        inbox, audit, intake, sender = Inbox(database), Audit(database), kernel.intake, kernel.sender
        health, models = Health(database), Models(self._settings, self._borders.model)
        trial = Trial(self._trial, Journal(settings.state_dir), kernel.sandboxes.prove)
        features = Features(kernel)
        kernel.sandboxes.attach(features.ports.attach)
        kernel.sandboxes.differ(RoomsOwn(RoomSettings(database), kernel.outbox, sender, self._settings))
        operations = Operations(inbox.do, inbox.note, Rooms(database).named, lambda: self._settings().operator_ids)
        operations.add(features.operations)
        needs = turn_needs(kernel, features.tools, models)
        make = room_maker(kernel, needs, features.cards, features.prompts, operations)
        look = gauges(kernel, health, trial, systemd=self._systemd.watches, since=self._since).look
        steering = Steering(self._settings, self._logs, audit, look=look, end=self._end, reloaded=models.forget)
        server = Server(settings.run_dir / NAME, steering.methods, steering.refused)
        status = partial(in_a_line, kernel)
        services = (
            Service(Phase.OPEN, server.run),
            Service(Phase.OPEN, health.run),
            Service(Phase.OPEN, lambda: self._systemd.run(status, lambda: intake.stalled_seconds)),
            Service(Phase.OPEN, Alarm(look, self._alerts).run),
            Service(Phase.OPEN, lambda: listen(settings.http_address, look, self._counts)),
            Service(Phase.OPEN, render.load),
            Service(Phase.OPEN, room_tools.load),
            Service(Phase.CONNECT, malloc_trim.give_back),
            Service(Phase.CONNECT, intake.run),
            Service(Phase.CONNECT, trial.run),
            Service(Phase.PROVE, sender.run),
            Service(Phase.PROVE, kernel.questions.run),
            Service(Phase.SERVE, lambda: Retention(database).run(settings.keep_days)),
            Service(Phase.SERVE, lambda: contain(kernel)),
            Service(Phase.SERVE, models.load),
            Service(Phase.SERVE, kernel.jobs.run),
            Service(Phase.SERVE, lambda: present_account(kernel)),
            *features.services,
        )

        async def connected() -> None:
            await intake.ready.wait()
            await tell_of_restore(Restored(database))

        async def ready() -> None:
            await residents.open(group, make)
            server.complete(methods(kernel, operations))
            log.info("ready after %.1f s as %s", time.monotonic() - self._started, settings.bot)
            self._systemd.ready(status())

        reached = {
            Phase.OPEN: lambda: sign_in(kernel.homeserver, inbox.account, settings, kernel.encryption),
            Phase.CONNECT: connected,
            Phase.PROVE: trial.passed,
            Phase.READY: ready,
        }
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(features.ports.close)
            closing.push_async_callback(models.close)
            closing.callback(server.close)
            server.open()
            async with asyncio.TaskGroup() as group:
                await Startup(services, reached).run(group)
