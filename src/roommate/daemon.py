"""The daemon: opens what it has of this host, plugs the parts together, and runs them until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from functools import partial

from roommate import __version__
from roommate.administration.health_watch import Alarm
from roommate.administration.lifecycle import Steering
from roommate.administration.settings_reload import LiveSettings
from roommate.administration.storage_health import Health
from roommate.composition.features import PROMPTS, bound, deciders
from roommate.composition.from_settings import REAL, Borders
from roommate.composition.kernel import Kernel
from roommate.composition.operators import gauges, in_a_line, listen, methods, operators, watch_state_dir
from roommate.composition.phases import Phase, Service, Startup
from roommate.composition.room_outbound import way_out
from roommate.composition.rooms import contain, heard, room_maker
from roommate.composition.turns import Models, agents_of, turn_needs
from roommate.control import NAME
from roommate.control.server import Server
from roommate.domain import Update
from roommate.features.hooks.watcher import Spool
from roommate.host import malloc_trim
from roommate.host.flag_files import flags
from roommate.host.sd_notify import Systemd
from roommate.logs import Logs
from roommate.matrix.display_names import DisplayNames
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.intake import Intake
from roommate.matrix.sender import Sender
from roommate.matrix.sign_in import sign_in
from roommate.monitoring.alert_delivery import Alerts
from roommate.monitoring.counts import Counts
from roommate.operations import Operations
from roommate.rooms.residents import Residents
from roommate.rooms.restore_notice import tell_of_restore
from roommate.rooms.turn_holds import FLAG, Holds
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.settings.config import Settings
from roommate.store import Audit, Database, Inbox, Outbox, Pauses, Restored, Retention, Rooms
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
        journal: Logs,
        end: Callable[[bool], None],
        alerts: Alerts,
        trial: Update | None = None,
        borders: Borders = REAL,
    ) -> None:
        """`end` ends the process, with True for it to begin again. `trial` is the update that this release is on trial
        in: until it stays it takes messages in, and no more."""
        self._settings = LiveSettings(settings)
        self._systemd, self._journal, self._alerts = systemd, journal, alerts
        self._end, self._trial, self._borders = end, trial, borders
        self._counts = Counts()
        self._started, self._since = time.monotonic(), time.time()

    async def run(self) -> None:
        """Until cancelled, or a part of it cannot go on (RoommateError in an ExceptionGroup)."""
        settings = self._settings()
        database = Database.open(settings.state_dir)
        await asyncio.to_thread(self._alerts.begun)
        self._journal.keep()
        homeserver = Homeserver(
            settings.matrix_homeserver,
            settings.bot,
            keep=Inbox(database).keep_account,
            learned=lambda login: self._journal.redact.learn(login.access_token, login.refresh_token),
            ca=settings.matrix_ca,
            session=self._borders.session,
        )
        spool = Spool()
        sandboxes = self._borders.sandboxes(settings, spool)
        try:
            await self._serve(await self._kernel(database, homeserver, sandboxes, spool))
        finally:
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await sandboxes.close()
                    await homeserver.close()
                    await database.close()
            except TimeoutError:
                log.warning("not everything could be closed within %d s", STOP_SECONDS)

    async def _kernel(
        self, database: Database, homeserver: Homeserver, sandboxes: RoomSandboxes, spool: Spool
    ) -> Kernel:
        inbox, outbox = Inbox(database), Outbox(database)
        residents = Residents(inbox.rooms_with_work)
        holds = Holds(Pauses(database), residents.go_on)
        await holds.load(flags(self._settings().state_dir, FLAG))
        return Kernel(
            settings=self._settings,
            database=database,
            homeserver=homeserver,
            names=DisplayNames(homeserver.display_names),
            intake=Intake(homeserver, inbox, residents.stored),
            outbox=outbox,
            sender=Sender(homeserver, outbox),
            sandboxes=sandboxes,
            spool=spool,
            residents=residents,
            holds=holds,
            counts=self._counts,
        )

    async def _serve(self, kernel: Kernel) -> None:
        """Plug the parts together, and run each from its phase on."""
        settings, database, residents = self._settings(), kernel.database, kernel.residents
        inbox, audit, intake, sender = Inbox(database), Audit(database), kernel.intake, kernel.sender
        health, models = Health(database), Models(self._settings, self._borders.model)
        trial = Trial(self._trial, Journal(settings.state_dir), kernel.sandboxes.prove)
        control, questions, redeploys = await operators(kernel)
        gate, forge, ports = way_out(kernel, questions)
        operations = Operations(inbox.do, Rooms(database).named, lambda: self._settings().operator_ids)
        operations.add(bound(kernel, gate, forge, redeploys, partial(agents_of, kernel)))
        needs, deciding = turn_needs(kernel, forge, redeploys, models), deciders(kernel, gate, redeploys)
        make = room_maker(kernel, needs, control, questions, deciding, PROMPTS, operations)
        look = gauges(kernel, self._journal, health, trial, systemd=self._systemd.watches, since=self._since).look
        steering = Steering(self._settings, self._journal, audit, look=look, end=self._end, reloaded=models.forget)
        server = Server(settings.run_dir / NAME, steering.methods, steering.refused)
        status = partial(in_a_line, kernel)
        services = (
            Service(Phase.OPEN, server.run),
            Service(Phase.OPEN, health.run),
            Service(Phase.OPEN, lambda: self._systemd.run(status, lambda: intake.stalled_seconds)),
            Service(Phase.OPEN, Alarm(look, self._alerts).run),
            Service(Phase.OPEN, lambda: listen(settings.http_address, look, self._counts)),
            Service(Phase.CONNECT, malloc_trim.give_back),
            Service(Phase.CONNECT, intake.run),
            Service(Phase.CONNECT, lambda: audit.run(settings.audit_days)),
            Service(Phase.CONNECT, lambda: control.watch(self._journal)),
            Service(Phase.CONNECT, trial.run),
            Service(Phase.PROVE, sender.run),
            Service(Phase.PROVE, questions.run),
            Service(Phase.PROVE, redeploys.run),
            Service(Phase.READY, lambda: kernel.spool.run(partial(heard, kernel))),
            Service(Phase.READY, lambda: watch_state_dir(kernel, redeploys)),
            Service(Phase.SERVE, lambda: Retention(database).run(settings.keep_days)),
            Service(Phase.SERVE, lambda: control.tell(f"Roommate {__version__} is up.")),
            Service(Phase.SERVE, lambda: contain(kernel)),
            Service(Phase.SERVE, models.load),
        )

        async def connected() -> None:
            await intake.ready.wait()
            await tell_of_restore(Restored(database))

        async def ready() -> None:
            redeploys.look()  # what was written before the watch
            await residents.open(group, make)
            server.complete(methods(operations, audit, questions))
            log.info("ready after %.1f s as %s", time.monotonic() - self._started, settings.bot)
            self._systemd.ready(status())

        reached = {
            Phase.OPEN: lambda: sign_in(kernel.homeserver, inbox.account, settings),
            Phase.CONNECT: connected,
            Phase.PROVE: trial.passed,
            Phase.READY: ready,
        }
        async with contextlib.AsyncExitStack() as closing:
            closing.push_async_callback(ports.close)
            closing.push_async_callback(models.close)
            closing.callback(server.close)
            server.open()
            async with asyncio.TaskGroup() as group:
                await Startup(services, reached).run(group)
