"""The daemon: builds every part, plugs them together, runs until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from roommate import __version__, logs
from roommate.administration.health_watch import Alarm
from roommate.administration.http_pages import routes
from roommate.administration.lifecycle import Steering
from roommate.administration.storage_health import Health
from roommate.agent.litellm_model import LiteLLMModel
from roommate.app import bound, deciders
from roommate.broker import (
    Addresses,
    Forge,
    Gate,
    Gateway,
    GitServer,
    Registries,
    RoomProposals,
    gateway,
    git,
    providers,
    proxy,
)
from roommate.broker.proxy import EgressProxy
from roommate.chat import texts
from roommate.chat.commands import names_of
from roommate.coding_agents import RoomAgents
from roommate.control import NAME
from roommate.control.server import Server
from roommate.domain import IN_TURN, Answered, Draft, HookEvent, RoomId, SyncBatch, Update
from roommate.doors import command_line, socket
from roommate.doors.socket import SocketDoor
from roommate.errors import ControlError, TokenRevoked, Transient
from roommate.from_settings import REAL, Borders, choice_of, site_of
from roommate.host import malloc_trim
from roommate.host.systemd import Systemd
from roommate.house import House
from roommate.logs import Logs
from roommate.matrix import render
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.intake import Intake
from roommate.matrix.sender import Sender
from roommate.monitoring.alert_delivery import Alerts
from roommate.monitoring.counting_ports import CountedModel, CountedTools, CountedUsages
from roommate.monitoring.counts import Counts
from roommate.operations import Operations
from roommate.ports import Model
from roommate.redeploy import Redeploys
from roommate.rooms.control_room import ControlRoom
from roommate.rooms.file_delivery import TurnShare
from roommate.rooms.questions import Questions
from roommate.rooms.room import Room
from roommate.rooms.turn_holds import FLAG, Holds
from roommate.sandbox.rooms import RoomSandboxes
from roommate.settings.config import Settings
from roommate.spool import Spool, flags, watch_flags
from roommate.store import (
    Agents,
    AgentUsages,
    Audit,
    Cards,
    Database,
    Egress,
    Inbox,
    Ipc,
    Outbox,
    Pauses,
    Repos,
    Restored,
    Retention,
    Rooms,
    Turns,
    Upgrades,
    Vitals,
)
from roommate.tools import RoomTools, TurnPorts
from roommate.tunnels.room_ports import RoomPorts
from roommate.updates.at_start import confirmed
from roommate.updates.journal import FILE, Journal
from roommate.updates.releases import own

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
        self._trial = trial
        self._borders = borders
        self._alerts = alerts
        self._counts = Counts()
        self._systemd = systemd
        self._journal = journal
        self._started = time.monotonic()
        self._models: dict[str, Model] = {}
        self._steering = Steering(settings, journal, systemd, end=end, reloaded=self._models.clear)
        self._control = Server(settings.run_dir / NAME, self._steering.methods, self._steering.refused)
        self._rooms: dict[RoomId, Room] = {}
        self._intake: Intake | None = None

    @property
    def _settings(self) -> Settings:
        return self._steering.settings

    async def run(self) -> None:
        """Until cancelled, or a part of it cannot go on (RoommateError in an ExceptionGroup)."""
        database = Database.open(self._settings.state_dir)
        await asyncio.to_thread(self._alerts.begun)
        self._journal.keep()
        inbox, health = Inbox(database), Health(database)
        homeserver = Homeserver(
            self._settings.matrix_homeserver,
            self._settings.bot,
            keep=inbox.keep_account,
            learned=lambda login: self._journal.redact.learn(login.access_token, login.refresh_token),
            ca=self._settings.matrix_ca,
            session=self._borders.session,
        )
        spool = Spool()
        sandboxes = self._borders.sandboxes(self._settings, spool)
        try:
            self._control.open()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._control.run())
                group.create_task(health.run())
                group.create_task(self._systemd.run(self._in_a_line, self._stalled_seconds))
                group.create_task(Alarm(self._steering.look, self._alerts).run())
                if address := self._settings.http_address:
                    group.create_task(self._listen(*address))
                await self._sign_in(homeserver, inbox)
                await self._serve(database, health, inbox, homeserver, sandboxes, spool)
        finally:
            self._control.close()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await sandboxes.close()
                    await homeserver.close()
                    await database.close()
            except TimeoutError:
                log.warning("not everything could be closed within %d s", STOP_SECONDS)

    async def _listen(self, host: str, port: int) -> None:
        from roommate.monitoring.listener import Listener  # for those who want it

        about = release[1].about if (release := own()) else None
        shown = routes(self._steering.look, self._counts, about.commit[:12] if about else "")
        await Listener(host, port, shown).run()

    async def _sign_in(self, homeserver: Homeserver, inbox: Inbox) -> None:
        """With the settings' token, else the saved login, else the password, as soon as the homeserver answers."""
        delay, dead = 1.0, ""
        password = self._settings.matrix_password.get_secret_value()
        token = self._settings.matrix_access_token.get_secret_value()
        while True:
            saved = await inbox.account()  # anew each time: a try that failed may have changed it
            if saved is not None and saved.access_token == dead:
                saved = None
            try:
                await homeserver.sign_in(password, saved, token)
            except TokenRevoked:
                if token or saved is None or not password:
                    raise
                log.warning("the saved login is dead: logging in anew with MATRIX_PASSWORD")
                dead = saved.access_token
            except Transient as error:
                log.warning("%s; trying again in %.0f s", error, delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 60)
            else:
                return

    async def _serve(
        self,
        database: Database,
        health: Health,
        inbox: Inbox,
        homeserver: Homeserver,
        sandboxes: RoomSandboxes,
        spool: Spool,
    ) -> None:
        rooms, outbox, cards, ipc = Rooms(database), Outbox(database), Cards(database), Ipc(database)
        audit = Audit(database)
        sender = Sender(homeserver, outbox)
        upgrades = Upgrades(database)
        control_room = await upgrades.newest(RoomId(self._settings.control_room))
        if control_room != self._settings.control_room:
            log.warning("the control room was replaced: set CONTROL_ROOM=%s", control_room)
        control = ControlRoom(control_room, outbox, sender, homeserver.send)
        questions = Questions(cards, sender, control)
        redeploys = Redeploys(lambda: self._settings, outbox, questions, sender, audit, control)
        egress, agent_usages = Egress(database), AgentUsages(database)
        counted_usages = CountedUsages(agent_usages, self._counts)
        registries = Registries(sandboxes.in_image)
        presets, forever = self._settings.egress_presets, self._settings.egress_forever
        gate = Gate(egress, questions, registries=registries, presets=presets, forever=forever)
        repos, forge, protected = Repos(database), Forge(site_of(self._settings)), self._settings.protected_branches
        addresses = Addresses(internal=self._settings.egress_internal_hosts, mirrors=registries)
        known = providers(self._settings.provider_keys, self._settings.provider_bases)
        folder = self._settings.state_dir
        ports = RoomPorts(
            {
                proxy.PORT: EgressProxy(gate, addresses),
                gateway.PORT: Gateway(known, counted_usages),
                git.PORT: GitServer(forge, repos, gate.refusal, audit, protected=protected, folder=folder),
            }
        )
        sandboxes.attach(ports.attach)
        async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
            stack.push_async_callback(ports.close)

            def stored(batch: SyncBatch) -> None:
                concerned = [one.room_id for one in batch.happened if not isinstance(one.what, Answered)]
                concerned += [room.room_id for room in batch.rooms if room.joined == 1]  # the bot alone
                for room_id in dict.fromkeys(concerned):
                    self._wake(room_id, group, house)

            async def heard(room_id: RoomId, found: Sequence[tuple[str, HookEvent]]) -> None:
                await ipc.commit(room_id, found)
                self._wake(room_id, group, house)

            agent_log = Agents(database)

            def agents(room_id: RoomId, conversation: int = 0, turn: int = 0) -> RoomAgents:
                return RoomAgents(room_id, choice_of(self._settings), agent_log, conversation, turn)

            locks: dict[RoomId, defaultdict[str, asyncio.Lock]] = defaultdict(lambda: defaultdict(asyncio.Lock))

            async def go_on() -> None:
                for room_id in await inbox.rooms_with_work():
                    self._wake(room_id, group, house)

            holds = Holds(Pauses(database), go_on)

            async def noticed(files: Mapping[str, float]) -> None:
                await holds.flagged({name: at for name, at in files.items() if name.startswith(FLAG)})
                redeploys.look()

            await holds.load(flags(self._settings.state_dir, FLAG))

            def proposals(room_id: RoomId) -> RoomProposals | None:
                there = RoomProposals(room_id, forge, repos, audit, protected=protected)
                return there if forge.site.token else None

            async def named(name: str) -> RoomId:
                return (await rooms.find(name)).room_id

            operations = Operations(inbox.do, named, lambda: self._settings.operator_ids)
            self._intake = intake = Intake(homeserver, inbox, stored)
            self._steering.house = house = House(
                set_to=lambda: self._settings,
                names=names_of(homeserver.me.user_id, homeserver.me.display_name),
                inbox=inbox,
                outbox=outbox,
                turns=Turns(database),
                rooms=rooms,
                holds=holds,
                operations=operations,
                cards=cards,
                questions=questions,
                upgrades=upgrades,
                redeploys=redeploys,
                ipc=ipc,
                spool=spool,
                audit=audit,
                control=control,
                egress=egress,
                gate=gate,
                repos=repos,
                forge=forge,
                agent_usages=agent_usages,
                progress=sender,
                doors=homeserver,
                window=homeserver,
                sandboxes=sandboxes,
                model=lambda name: CountedModel(self._model(name), self._counts),
                tools=lambda turn: CountedTools(
                    RoomTools(
                        lambda: sandboxes.hand(turn.room_id),
                        TurnPorts(
                            command_timeout=self._settings.command_timeout_seconds,
                            longest_timeout=self._settings.coding_timeout_seconds,
                            agents=agents(turn.room_id, turn.conversation_id, turn.id),
                            share=TurnShare(turn, outbox, sender, homeserver.upload_limit),
                            redeploy=redeploys.asked_in(turn.room_id, turn.asked_by),
                            proposals=proposals(turn.room_id),
                            sees=lambda: self._model(turn.model).sees,
                            env={IN_TURN: f"{turn.id}"},
                            locks=locks[turn.room_id],
                        ),
                    ),
                    self._counts,
                ),
                agent_log=agent_log,
                agents=agents,
                room=lambda room_id: self._resident(room_id, group, house),
                wake=lambda room_id: self._wake(room_id, group, house),
                vitals=Vitals(database),
                counts=self._counts,
                silent_seconds=lambda: intake.silent_seconds,
                joining=set(),
                trouble=lambda: health.trouble,
            )
            operations.add(bound(house))
            questions.deciders = deciders(house)
            group.create_task(malloc_trim.give_back())
            group.create_task(intake.run())
            group.create_task(audit.run(self._settings.audit_days))
            group.create_task(control.watch(self._journal))
            if self._trial is not None:
                holds.begin_trial()
                proven = group.create_task(sandboxes.prove())
            # What a sync says of our own messages comes before anything is sent or begun: the database may be a copy of
            # last week, and the rooms know better what was answered.
            await intake.ready.wait()
            await self._tell_of_restore(Restored(database))
            group.create_task(sender.run())
            group.create_task(questions.run())
            group.create_task(redeploys.run())
            if self._trial is not None:
                await proven
                await confirmed(Journal(self._settings.state_dir), self._trial)
                await holds.end_trial()
            group.create_task(spool.run(heard))
            group.create_task(watch_flags(self._settings.state_dir, FLAG, FILE, tell=noticed))
            redeploys.look()  # what was written before the watch
            await go_on()
            door = SocketDoor(audit, questions)
            self._control.methods |= socket.methods(operations, door)
            self._control.methods[command_line.NAME] = command_line.method(operations, door)
            self._control.starting = False
            log.info("ready after %.1f s as %s", time.monotonic() - self._started, self._settings.bot)
            self._systemd.ready(self._in_a_line())
            group.create_task(Retention(database).run(self._settings.keep_days))
            await control.tell(f"Roommate {__version__} is up.")
            group.create_task(sandboxes.run(await rooms.joined()))
            model = self._model(self._settings.llm_model)
            if isinstance(model, LiteLLMModel):
                await model.load()
                log.info("the model library is loaded")

    async def _tell_of_restore(self, restored: Restored) -> None:
        """Where something has happened since the backup that this state comes from, people are told."""
        if past := await restored.untold():
            content = render.content(texts.restored(past.at), notice=True)
            log.warning("this state is of a backup: %d rooms are told", len(past.rooms))
            await restored.told([Draft(room_id, content) for room_id in past.rooms])

    def _in_a_line(self) -> str:
        silent = self._intake.silent_seconds if self._intake else None
        homeserver = self._settings.matrix_homeserver
        if silent is None:
            return f"waiting for {homeserver}"
        return f"{self._settings.bot}: {homeserver} answered {silent:.0f} s ago"

    def _stalled_seconds(self) -> float:
        return self._intake.stalled_seconds if self._intake else 0.0

    def _wake(self, room_id: RoomId, group: asyncio.TaskGroup, house: House) -> None:
        if not house.holds.on_trial and self._intake and self._intake.ready.is_set():
            self._room(room_id, group, house).wake()

    def _room(self, room_id: RoomId, group: asyncio.TaskGroup, house: House) -> Room:
        if room_id not in self._rooms:
            self._rooms[room_id] = room = Room(room_id, house)
            group.create_task(self._run_room(room, group, house))
        return self._rooms[room_id]

    def _resident(self, room_id: RoomId, group: asyncio.TaskGroup, house: House) -> Room:
        if house.holds.on_trial:
            raise ControlError("a release is on trial: try again in a minute")
        return self._room(room_id, group, house)

    async def _run_room(self, room: Room, group: asyncio.TaskGroup, house: House) -> None:
        logs.about(room=room.room_id)
        await room.run()
        del self._rooms[room.room_id]
        if room.woken:
            self._wake(room.room_id, group, house)

    def _model(self, name: str) -> Model:
        if name not in self._models:
            self._models[name] = self._borders.model(self._settings, name)
        return self._models[name]
