"""One room's container and its hand: brought up when a call needs it, stopped, removed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from roommate import logs
from roommate.domain import JsonObject, RoomId
from roommate.errors import EngineError, HandLost, ImageError, SandboxError, ToolError
from roommate.host import own_thread
from roommate.sandbox import id_ranges, inotify_limit_per_room
from roommate.sandbox.container_foundation import Foundation, Ground
from roommate.sandbox.container_spec import STATE, Host, Limits, digest, spec
from roommate.sandbox.hand import HandHost
from roommate.sandbox.mounts import COMMAND, Layout
from roommate.sandbox.podman_client import Engine, Image
from roommate.sandbox.room_container_settings import NoneSet, Own, OwnSettings, Setup
from roommate.sandbox.workspace import Workspace
from roommate.text.amounts import size

log = logging.getLogger(__name__)

ROOM, DAEMON, MADE, OWN = "io.roommate.room", "io.roommate.daemon", "io.roommate.made", "io.roommate.own"
"""Labels of a container: its room, its daemon, the digest of how it was made, and of what it has of its own."""

_STARTABLE = ("created", "configured", "exited", "stopped")
_DIAL_SECONDS = 15
_END_SECONDS = 15
"""Beyond a call's own time, in which its hand has to end it."""
_SILENT_SECONDS = 5
"""Of a hand with calls in flight, until it is asked for a sign of life."""
_REDIAL_SECONDS = 0.25
_REDIALS = 12
_LOSSES = 3
"""Times in a row that a call lost its hand, after which the container is started again."""


class Spools(Protocol):
    """The folders through which hooks in the rooms and the daemon exchange IPC files."""

    def attach(self, room_id: RoomId, out: Path, into: Path, beside: Path | None = None) -> None:
        """A room's container is up: hooks write into `out`, hooks of others into `beside`, should the room make that
        folder, and read answers from `into`."""
        ...

    def detach(self, room_id: RoomId) -> None:
        """Its folders may go away."""
        ...

    async def answer(self, room_id: RoomId, asks: str, content: JsonObject, *, allow: str = "") -> None:
        """Answer a hook that waits; with `allow`, risks of that kind are not asked about in this room again."""
        ...


@dataclass(frozen=True, slots=True)
class ContainerPlan:
    """What the containers of all rooms have in common. `state` keeps the rooms' files, `run` has their sockets."""

    daemon: str
    image: str
    state: Path
    run: Path
    limits: Limits
    at_once: asyncio.Semaphore
    """How many may be brought up at the same time."""
    attached: list[Callable[[RoomId, HandHost], None]]
    """Who is told of each room's hand before it is listened for."""
    spool: Spools | None = None
    """Who reads what the rooms' hooks write."""
    forge: Sequence[str] = ()
    """What the URLs of the forge's repositories begin with: git finds them at the broker."""
    patience: float = 1.0
    """How many times longer than usual everything may take on this host."""
    own: OwnSettings = field(default_factory=NoneSet)
    """What operators have set for rooms alone."""

    @property
    def prefix(self) -> str:
        """Of the containers' names: two daemons on one host never clash."""
        return "roommate-" + _short(f"{self.daemon}\0{self.state}", 8)


class RoomContainer:
    """Made on first use; whatever state it is found in, `hand` brings it up."""

    def __init__(
        self,
        room_id: RoomId,
        plan: ContainerPlan,
        foundation: Foundation,
        *,
        key: str = "",
        labels: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`key` is what its folder and its container are called, if not by the room; it gets these `labels` besides."""
        self.room_id = room_id
        self.asked = 0.0
        """When somebody wanted the hand last, as loop.time()."""
        self.up = False
        """It was brought up and not stopped by us since."""
        of_room = key or _short(room_id, 16)
        self._labels = labels
        self.name = f"{plan.prefix}-{of_room}"
        self.files = Workspace(plan.state / "rooms" / of_room)
        self._layout = Layout(self.files, plan.run / of_room)
        self._setup = Setup(self.files.folder)
        self._plan = plan
        self._foundation = foundation
        self._hand: HandHost | None = None
        self._rising: asyncio.Task[HandHost] | None = None
        self._lock = asyncio.Lock()
        """Held by whoever changes the container."""

    async def hand(self) -> HandHost:
        """The hand, dialled in. Raises SandboxError."""
        self.asked = asyncio.get_running_loop().time()
        settled = self.up and self._rising is None  # else it is not set up yet
        if settled and self._hand is not None and self._hand.here and self._hand.losses < _LOSSES:
            return self._hand
        if self._rising is None:
            self._rising = asyncio.create_task(self._rise(), name=f"rise {self.name}")
            self._rising.add_done_callback(self._risen)
        # Who stops waiting (a `!stop`) does not stop it for the others.
        return await asyncio.shield(self._rising)

    async def risen(self) -> None:
        """Wait until it is up, or cannot be, where somebody has asked for it."""
        if self._rising is not None:
            await asyncio.wait([self._rising])

    async def adopt(self, labels: Mapping[str, str]) -> None:
        """The container runs, started by a daemon before us: let its hand dial in. Where it is not as was set since, or
        not set up, it is stopped instead, so that the next call brings it up as it should be."""
        own = await self._plan.own.of(self.room_id)
        if labels.get(OWN, Own().digest) != own.digest or (own.setup and await asyncio.to_thread(self._to_set_up)):
            await self.stop()
            return
        async with self._lock:
            await self._listen()
            self.asked = asyncio.get_running_loop().time()
            self.up = True
            self._attach()

    async def rest(self, since: float) -> None:
        """Stop it, unless it was used after `since` (loop.time()) or something runs in the background."""
        async with self._lock:
            if not self.up or self.used > since:
                return
            asked = self.asked
            if await self._works():
                self.asked = asyncio.get_running_loop().time()
                return
            if self.asked != asked:  # a call came while we looked
                return
            await self._stop()
            log.info("stopped the container of %s, which was idle", self.room_id)

    async def stop(self) -> None:
        """Stop it, whatever runs in it."""
        async with self._lock:
            await self._stop()

    async def _stop(self) -> None:
        was_up, self.up = self.up, False  # from now on a call waits for the lock, and starts it again
        try:
            ground = await self._foundation.ground()
            await ground.engine.stop(self.name)
        except EngineError:
            self.up = was_up
            raise
        self._detach()
        await asyncio.to_thread(self.files.release)

    async def remove(self, *, files: bool = False) -> None:
        """Remove it; its `files` only where that is wanted."""
        async with self._lock:
            self.up = False
            ground = await self._foundation.ground()
            await ground.engine.remove(self.name)
            self._detach()
            await self._hang_up()
            await asyncio.to_thread(shutil.rmtree, self._layout.run, ignore_errors=True)
            await own_thread.run(self.files.delete if files else self.files.release, "files")

    async def close(self) -> None:
        """Let go of it; it stays as it is."""
        if self._rising is not None:
            self._rising.cancel()
            await asyncio.gather(self._rising, return_exceptions=True)
        await self._hang_up()

    @property
    def used(self) -> float:
        """When it was used last, as loop.time(); a call in flight is use."""
        if self._hand is None:
            return self.asked
        return asyncio.get_running_loop().time() if self._hand.busy else max(self.asked, self._hand.last_used)

    @property
    def rising(self) -> bool:
        return self._rising is not None

    async def describe(self) -> str:
        """One line for people. Raises SandboxError."""
        ground = await self._foundation.ground()
        found = await ground.engine.find(self.name)
        image = (await self._plan.own.of(self.room_id)).image or self._plan.image
        if found is None:
            return f"none yet, made of {image} when it is needed"
        words = [found.state, image]
        if found.state == "running" and (load := await ground.engine.load(self.name)):
            words.append(f"{size(load.memory)} of {size(load.memory_limit)} memory")
            words.append(f"{load.processes} processes")
        if usage := await asyncio.to_thread(self.files.usage):
            words.append(f"{size(usage[0])} of {size(usage[1])} disk")
        return " · ".join(words)

    async def disk(self) -> tuple[int, int | None]:
        """Bytes that its files take, and how many they may take."""
        return await asyncio.to_thread(self.files.usage) or (await own_thread.run(self.files.size, "disk"), None)

    async def _rise(self) -> HandHost:
        own = await self._plan.own.of(self.room_id)
        async with self._lock, self._plan.at_once:
            hand = await self._bring_up(await self._foundation.ground(), own)
            self.up = True
            self._attach()
        name = await asyncio.to_thread(self._to_set_up) if own.setup else ""  # others are not held up by that
        if name and await self._plan.own.set_up(self.room_id, hand, own.setup, name):
            await asyncio.to_thread(self._setup.done, name)
        return hand

    def _to_set_up(self) -> str:
        return self._setup.to_do

    def _risen(self, task: asyncio.Task[HandHost]) -> None:
        self._rising = None
        if not task.cancelled():
            task.exception()  # everybody who waited may have gone away

    async def _bring_up(self, ground: Ground, own: Own) -> HandHost:
        engine = ground.engine
        cut_off = not self._layout.run.is_dir()
        hand = await self._listen()
        found = await engine.find(self.name)
        trusted = hand.losses < _LOSSES  # else something in the container ends its hands: that has to end, too
        for _ in range(_REDIALS if trusted else 0):  # its hand may be on its way; or Podman knows no better yet
            if found is None or found.state != "running":
                break
            if cut_off:  # it would look into the folder that was deleted
                await engine.stop(self.name)
                break
            with contextlib.suppress(HandLost):
                await hand.connected(_REDIAL_SECONDS * self._plan.patience)
                return hand
            found = await engine.find(self.name)
        else:
            log.warning(
                "the hand of %s %s: starting its container again",
                self.room_id,
                "does not dial in" if trusted else "is lost again and again",
            )
            await engine.stop(self.name)
        image = await self._image(own)
        host = await asyncio.to_thread(self._made_ready, ground.host)
        made = self._spec(image.id, ground, host, own)
        as_it_should_be = found is not None and found.labels.get(MADE) == made["labels"][MADE]
        if found is None or not (as_it_should_be and await self._start(engine, found.state)):
            await engine.remove(self.name)
            await asyncio.to_thread(self._setup.made)
            await engine.create(made)
            try:
                await engine.start(self.name)
            except EngineError:
                self._foundation.doubt()
                raise
        hand.losses = 0
        await self._limit_watches(engine, host)
        await hand.connected(_DIAL_SECONDS * self._plan.patience)
        return hand

    async def _image(self, own: Own) -> Image:
        try:
            return await self._foundation.image(own.image)
        except ImageError as error:
            if not own.image:
                raise
            raise ImageError(
                f"this room's own image cannot be had: {error}. `!room unset image` takes the usual one again"
            ) from error

    def _made_ready(self, host: Host) -> Host:
        """Its files are there, and belong to the user ids that it has. Blocks. Raises EngineError."""
        mine = id_ranges.of_room(self.files.folder, host)
        self.files.prepare(mine.owner, 0 if host.quota else self._plan.limits.workspace_mb)
        if self._layout.root != mine.root:
            self._layout.lay_out(mine.root)
        return mine

    async def _limit_watches(self, engine: Engine, host: Host) -> None:
        """Before anything of the room runs."""
        if host.userns and (pid := await engine.process(self.name)):
            await inotify_limit_per_room.limit(pid)

    async def _start(self, engine: Engine, state: str) -> bool:
        """Start a container that is there; False when it must be made anew."""
        if state not in (*_STARTABLE, "running"):
            return False
        try:
            await engine.start(self.name)
        except EngineError as problem:
            log.warning("making the container of %s anew: %s", self.room_id, problem)
            return False
        return True

    async def _works(self) -> bool:
        """Does something run in the background, or in the shell? It keeps the container up."""
        if self._hand is None or not self._hand.here:
            return False
        try:
            return await self._hand.works()
        except (SandboxError, ToolError):  # a hand refuses nothing here, but who speaks in its place may
            return False

    async def _listen(self) -> HandHost:
        """Listen for the hand, with its program beside the socket."""
        if self._hand is not None and not self._layout.socket.exists():  # somebody tidied up
            await self._hang_up()
        if self._hand is None:
            host = (await self._foundation.ground()).host
            as_it_is = await asyncio.to_thread(id_ranges.as_it_is, self.files.folder, host)
            await asyncio.to_thread(self._layout.lay_out, as_it_is.root)
            patience = self._plan.patience
            hand = HandHost(self._layout.socket, patience=_END_SECONDS * patience, silence=_SILENT_SECONDS * patience)
            for attach in self._plan.attached:
                attach(self.room_id, hand)
            with logs.about(room=self.room_id, turn=None):  # its connections outlive the turn that wanted it
                await hand.open()
            self._hand = hand
        return self._hand

    async def _hang_up(self) -> None:
        hand, self._hand = self._hand, None
        if hand is not None:
            await hand.close()

    def _attach(self) -> None:
        if self._plan.spool is not None:
            self._plan.spool.attach(self.room_id, self.files.spool, self._layout.answers, self.files.ipc)

    def _detach(self) -> None:
        if self._plan.spool is not None:
            self._plan.spool.detach(self.room_id)

    def _spec(self, image: str, ground: Ground, host: Host, own: Own) -> JsonObject:
        plan = self._plan
        made = spec(
            name=self.name,
            image=image,
            command=COMMAND,
            labels={ROOM: self.room_id, DAEMON: plan.daemon, STATE: str(plan.state), OWN: own.digest, **self._labels},
            mounts=self._layout.mounts(),
            limits=own.limits(plan.limits),
            host=host,
            seccomp=ground.seccomp,
            forge=plan.forge,
            certificates=self._layout.certificates,
        )
        made["env"] = {**own.environment, **made["env"]}
        made["labels"][MADE] = digest(made, ground.seccomp)
        return made


def _short(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
