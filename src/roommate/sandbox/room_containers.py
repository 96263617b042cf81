"""The containers of all rooms: found again after a restart, stopped when idle, removed when a room is left."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

from roommate.domain import Check, HostPlace, RoomId
from roommate.errors import SandboxError
from roommate.host import deadlines
from roommate.sandbox import doctor, fresh_container, host_place, image_inspection_container
from roommate.sandbox.container import DAEMON, ROOM, ContainerPlan, RoomContainer, Spools
from roommate.sandbox.container_foundation import Foundation
from roommate.sandbox.container_spec import STATE, Limits
from roommate.sandbox.fresh_container import FreshContainer
from roommate.sandbox.hand import HandHost
from roommate.sandbox.host_capabilities import Probe
from roommate.sandbox.image import ABOVE_BASE, lacking
from roommate.sandbox.room_container_settings import OwnSettings

log = logging.getLogger(__name__)

DESCRIBE_SECONDS = 5
"""How long Podman may take to tell how a container is: a room's other commands wait behind it."""
LACKING_SECONDS = 1.0
"""How long it may take to tell what the image does not have: a room's greeting waits for it."""
_AT_ONCE = 4
"""Containers that are brought up at the same time; more only slow each other down."""


class RoomSandboxes:
    """`Sandboxes` on Podman. Nothing happens before something is asked, or `run` runs.

    `state` keeps the rooms' files (``rooms/``) and what was learned of the host. `run` gets the sockets: its path
    must be short. `daemon` tells this daemon's containers from those of others. On a slow host everything may take
    `patience` times as long as on others.
    """

    def __init__(
        self,
        *,
        state: Path,
        run: Path,
        image: str,
        daemon: str,
        podman: str = "podman",
        limits: Limits,
        idle_seconds: float,
        patience: float = 1.0,
        spool: Spools | None = None,
        forge: Sequence[str] = (),
        probe: Probe | None = None,
    ) -> None:
        """`probe` looks at the host, where it is not Podman that gives containers."""
        self._plan = ContainerPlan(
            daemon, image, state, run, limits, asyncio.Semaphore(_AT_ONCE), [], spool, tuple(forge), patience
        )
        probe = probe or Probe(podman=podman, state=state, run=run, limits=limits, patience=patience)
        self._foundation = Foundation(probe, state, image)
        self._idle_seconds = idle_seconds
        self._rooms: dict[RoomId, RoomContainer] = {}
        self._fresh: set[str] = set()
        """Keys of those that are there, or may be."""
        self._aside: set[str] = set()
        """The same of those that look into the image."""
        self._risen = asyncio.Event()
        """A container came up, so that there is something new to stop some day."""

    # ── `Sandboxes` ──

    async def hand(self, room_id: RoomId) -> HandHost:
        """The room's hand. Ask for each call: this is what brings a container up again. Raises SandboxError."""
        room = self._room(room_id)
        was_up = room.up
        hand = await room.hand()
        if not was_up:
            self._risen.set()
        return hand

    @contextlib.asynccontextmanager
    async def fresh(self, room_id: RoomId) -> AsyncGenerator[HandHost, None]:
        """See `Sandboxes`."""
        one = FreshContainer(room_id, self._plan, self._foundation)
        self._fresh.add(one.key)
        try:
            yield await one.hand()
        finally:
            # Who is cancelled once more does not stop this: it would stay until the daemon's next start.
            await asyncio.shield(asyncio.create_task(self._remove(one), name=f"remove {one.key}"))

    def on_host(self, place: HostPlace) -> AbstractAsyncContextManager[HandHost]:
        """See `Sandboxes`."""
        return host_place.entered(place, self._plan.state, self._plan.limits, self._plan.patience)

    async def _remove(self, one: FreshContainer) -> None:
        try:
            await one.remove()
        except SandboxError as problem:
            log.warning("sandboxes: %s is left until the next start: %s", one.key, problem)
        else:
            self._fresh.discard(one.key)

    def up(self, room_id: RoomId) -> bool:
        room = self._rooms.get(room_id)
        return room is not None and room.up

    @property
    def running(self) -> int:
        return sum(room.up for room in self._rooms.values())

    def has_files(self, room_id: RoomId) -> bool:
        return self._room(room_id).files.folder.exists()

    async def describe(self, room_id: RoomId) -> str:
        try:
            async with deadlines.within(DESCRIBE_SECONDS):
                return await self._room(room_id).describe()
        except TimeoutError:
            return f"Podman has not answered within {DESCRIBE_SECONDS} s"
        except SandboxError as problem:
            return f"not available: {problem}"

    async def disk(self, room_id: RoomId) -> tuple[int, int | None]:
        return await self._room(room_id).disk()

    async def stop(self, room_id: RoomId) -> None:
        await self._room(room_id).stop()

    async def reset_workspace(self, room_id: RoomId) -> None:
        """Raises SandboxError."""
        await self._room(room_id).remove(files=True)

    async def leave(self, room_id: RoomId) -> None:
        """Raises SandboxError; the container is then removed by the next `reconcile`."""
        room = self._room(room_id)
        await room.remove()
        if not room.rising:  # else somebody wants it again by now
            self._rooms.pop(room_id, None)

    async def move(self, old: RoomId, new: RoomId) -> bool:
        """Raises SandboxError when the files cannot be moved; a container that cannot be removed is by `reconcile`."""
        for room_id in (old, new):
            try:
                await self.leave(room_id)
            except SandboxError as problem:
                log.warning("sandboxes: %s: %s", room_id, problem)
        return await asyncio.to_thread(self._room(old).files.move, self._room(new).files)

    # ── The daemon's side ──

    def attach(self, attach: Callable[[RoomId, HandHost], None]) -> None:
        """From now on give each room's hand to `attach` before it is listened for."""
        self._plan.attached.append(attach)

    def differ(self, own: OwnSettings) -> None:
        """From now on rooms have this of their own: to be said before the first is asked for."""
        self._plan = replace(self._plan, own=own)

    async def fits(self, image: str) -> None:
        """Could a room have a container of this image? Raises EngineError, ImageError."""
        await self._foundation.image(image)

    async def prove(self) -> None:
        """Could a room have a container? Raises SandboxError."""
        await self._foundation.image()

    async def lacking(self) -> Mapping[str, str]:
        """See `Sandboxes`. Who asks does not wait for a Podman that hangs."""
        try:
            async with deadlines.within(LACKING_SECONDS * self._plan.patience):
                return {one: ABOVE_BASE[one] for one in lacking((await self._foundation.image()).labels)}
        except (SandboxError, TimeoutError):
            return {}

    async def in_image(self, script: str) -> str:
        """What a shell script prints in a container of the image that no room has had. Raises SandboxError."""
        image, ground = await self._foundation.image(), await self._foundation.ground()
        key = image_inspection_container.fresh_key()
        self._aside.add(key)
        try:
            return await image_inspection_container.run_aside(ground, image.id, script, plan=self._plan, key=key)
        finally:
            self._aside.discard(key)

    async def run(self, joined: Iterable[RoomId]) -> None:
        """Find the containers of the rooms again; then, until cancelled, stop what is idle.

        When Podman does not work, that is a line in the log here and an error for whoever asks for a hand.
        """
        try:
            await self.reconcile(joined)
            await self._foundation.image()
        except SandboxError as problem:
            log.warning("sandboxes: %s", problem)
        while True:
            await self._stop_idle()

    async def reconcile(self, joined: Iterable[RoomId]) -> None:
        """Keep the containers of these rooms, running ones running; remove those of others. No file is deleted."""
        rooms = frozenset(joined)
        ground = await self._foundation.ground()
        await self._foundation.clear()
        await fresh_container.clear(ground.engine, self._plan, self._fresh)
        await image_inspection_container.clear(ground.engine, self._plan, self._aside)
        for container in await ground.engine.list(DAEMON, self._plan.daemon):
            if container.labels.get(STATE) != str(self._plan.state) or fresh_container.LABEL in container.labels:
                continue  # of a daemon with the same name and another state; or no room's
            room = self._room(RoomId(container.labels.get(ROOM, "")))
            try:
                if room.room_id in rooms:
                    if container.state == "running" and not room.up:
                        await room.adopt(container.labels)
                        self._risen.set()
                elif not room.up and not room.rising:  # else it was joined since we looked
                    log.info("removing the container of %s, which is no room of ours any more", room.room_id)
                    await self.leave(room.room_id)
            except SandboxError as problem:
                log.warning("sandboxes: %s: %s", room.room_id, problem)

    async def close(self) -> None:
        """Let go of everything. Containers, and what runs in them, stay as they are."""
        for room in self._rooms.values():
            await room.close()
        await self._foundation.close()

    async def check(self) -> list[Check]:
        """What doctor wants to know; a host on which nothing works is an answer, too."""
        try:
            return await doctor.examine(self._foundation, self._plan)
        except SandboxError as problem:
            return [doctor.failed(problem)]

    async def check_limits(self) -> list[Check]:
        """Do the limits hold in a container? One is run to see."""
        try:
            return doctor.limits_seen(await self.in_image(doctor.LIMITS_SCRIPT), self._plan.limits)
        except SandboxError as problem:
            return [doctor.failed(problem)]

    def _room(self, room_id: RoomId) -> RoomContainer:
        if room_id not in self._rooms:
            self._rooms[room_id] = RoomContainer(room_id, self._plan, self._foundation)
        return self._rooms[room_id]

    async def _stop_idle(self) -> None:
        """One round: wait until something may have been idle for long enough, and stop it."""
        loop = asyncio.get_running_loop()
        due = [room.used + self._idle_seconds for room in self._rooms.values() if room.up]
        try:
            async with deadlines.at(min(due) if due else None):
                await self._risen.wait()
                self._risen.clear()
        except TimeoutError:
            for room in list(self._rooms.values()):
                try:
                    await room.rest(loop.time() - self._idle_seconds)
                except SandboxError as problem:
                    room.asked = loop.time()  # tried again when it is due again
                    log.warning("the idle container of %s was not stopped: %s", room.room_id, problem)
