"""The demo: image, homeserver, accounts, daemon and a room with the bot in it, started in order and ended together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from roommate.composition.from_settings import sandboxes_of
from roommate.demo.embedded_synapse import Synapse
from roommate.demo.process import Background
from roommate.domain import Account, RoomId, UserId
from roommate.errors import ImageError, StateError
from roommate.host import durable_files, file_lock, folder_modes
from roommate.sandbox import image
from roommate.sandbox.workspace import Workspace
from roommate.settings.config import Settings
from roommate.user_client import Client

READY_SECONDS = 180.0
WATCH_SECONDS = 0.5

Say = Callable[[str], None]
Step = Callable[[str], AbstractContextManager[Say]]
"""``with step("homeserver") as say:`` shows that a step runs, what it says, and how long it took."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one run of the demo leaves for the next, besides the servers' own folders."""

    bot_password: str
    password: str
    user_id: str = ""
    device_id: str = ""
    access_token: str = ""
    bot: str = ""
    room: str = ""

    @classmethod
    def read(cls, file: Path) -> Self:
        try:
            return cls(**json.loads(file.read_text()))
        except FileNotFoundError:
            return cls(bot_password=secrets.token_urlsafe(24), password=secrets.token_urlsafe(9))

    def write(self, file: Path) -> None:
        durable_files.replace(file, json.dumps(asdict(self)).encode())


class Demo:
    """One demo in one folder. With `keep` its servers outlive us; a later start finds and takes them."""

    def __init__(self, folder: Path, settings: Settings, *, keep: bool = False) -> None:
        self._folder = folder.absolute()
        self._settings = settings
        self._homeserver = Synapse(self._folder / "homeserver", detached=keep)
        self._daemon = Background(self._folder, "daemon", detached=keep)
        self._state = self._folder / "state"
        self._kept_file = self._folder / "demo.json"
        self._kept = Kept.read(self._kept_file)

    @property
    def url(self) -> str:
        return self._homeserver.url

    @property
    def me(self) -> Account:
        """The person's account."""
        kept = self._kept
        return Account(self.url, UserId(kept.user_id), kept.device_id, kept.access_token)

    @property
    def password(self) -> str:
        """The person's, for other clients."""
        return self._kept.password

    @property
    def room(self) -> RoomId:
        return RoomId(self._kept.room)

    @property
    def log(self) -> Path:
        """The daemon's."""
        return self._daemon.log

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else runs a demo in this folder meanwhile. Raises StateError."""
        folder_modes.private(self._folder)
        taken = StateError(f"a demo runs already in {self._folder}: end that one first")
        with file_lock.alone(self._folder / "lock", taken):
            yield

    async def start(self, step: Step) -> None:
        """Everything, up to the bot's greeting in the room. Raises RoommateError."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._make_image(step))
            group.create_task(self._start_homeserver(step))
        with step("daemon") as say:
            await self._start_daemon()
            say(f"model {self._settings.llm_model}")
        with step("room"):
            await self._open_room()

    async def stop(self) -> None:
        """End the daemon, its containers and the homeserver. What they know stays in the folder."""
        await self._daemon.stop()
        if self._state.exists():
            settings = self._settings.model_copy(update={"state_dir": self._state, "matrix_user": self._kept.bot})
            sandboxes = sandboxes_of(settings)
            try:
                with contextlib.suppress(ImageError):  # without the image there is no container of it
                    await sandboxes.reconcile(())
            finally:
                await sandboxes.close()
        await self._homeserver.stop()

    async def reset(self) -> None:
        """End everything and forget it."""
        await self.stop()
        for room in (self._state / "rooms").glob("*"):
            await asyncio.to_thread(Workspace(room).delete)
        for path in self._folder.iterdir():
            if path.name != "lock":
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self._kept = Kept.read(self._kept_file)

    async def watch(self) -> None:
        """Raises StateError when one of the servers ends; else returns never."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if not self._daemon.runs():
                raise StateError(f"the daemon has ended: {self._daemon.last_words()}")
            if self._homeserver.pid is None:
                raise StateError("the homeserver has ended")

    async def _make_image(self, step: Step) -> None:
        name = self._settings.sandbox_image
        if name.startswith("localhost/"):
            await image.build(name, new="base", podman=self._settings.podman_path, step=step)
        else:
            with step("sandbox image") as say:
                say(f"{name}, as SANDBOX_IMAGE says")  # somebody else's: not ours to make

    async def _start_homeserver(self, step: Step) -> None:
        with step("homeserver") as say:
            await self._homeserver.start()
            say(self.url)
            if not self._kept.user_id:
                self._keep()  # the passwords first: they must be known when this ends in the middle
                bot = await self._homeserver.register("roommate", self._kept.bot_password)
                await self._homeserver.lift_limit(bot.user_id)
                me = await self._homeserver.register("me", self._kept.password)
                await self._homeserver.lift_limit(me.user_id)
                self._keep(bot=bot.user_id, user_id=me.user_id, device_id=me.device_id, access_token=me.access_token)

    async def _start_daemon(self) -> None:
        if self._daemon.runs():
            return
        environment = {
            "MATRIX_HOMESERVER": self.url,
            "MATRIX_USER": self._kept.bot,
            "MATRIX_PASSWORD": self._kept.bot_password,
            "MATRIX_ADMIN_USER": self._kept.user_id,
            "STATE_DIR": str(self._state),
            # The demo has its own people and places, whatever .env says: empty is as good as not set.
            **dict.fromkeys(("VPS_IP", "OPERATORS", "ALLOWED_USERS"), ""),
        }
        await self._daemon.start([sys.executable, "-m", "roommate", "run"], environment)
        deadline = time.monotonic() + READY_SECONDS
        while "ready" not in self._daemon.said():
            if not self._daemon.runs():
                raise StateError(f"the daemon did not start: {self._daemon.last_words()}")
            if time.monotonic() > deadline:
                raise StateError(f"the daemon was not ready after {READY_SECONDS:.0f} s: {self._daemon.last_words()}")
            await asyncio.sleep(0.02)

    async def _open_room(self) -> None:
        """The room of the last time, or a new one whose greeting we have seen."""
        bot = UserId(self._kept.bot)
        async with Client(self.me) as client, asyncio.timeout(READY_SECONDS):
            if self._kept.room and bot in await client.members(self.room):
                return
            room = await client.create_room("Roommate demo", [bot])
            async with contextlib.aclosing(client.follow(room, back=20)) as events:
                async for event in events:
                    if event.get("type") == "m.room.message" and event["sender"] == bot:
                        break
            self._keep(room=room)

    def _keep(self, **news: str) -> None:
        self._kept = replace(self._kept, **news)
        self._kept.write(self._kept_file)
