"""The demo: image, homeserver, accounts, daemon and a room with the bot in it, started in order and ended together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self
from urllib.parse import quote

from roommate import control
from roommate.composition.from_settings import sandboxes_of
from roommate.control.client import Client as Socket
from roommate.demo.background_server import Background
from roommate.demo.embedded_synapse import Synapse
from roommate.domain import Account, EventId, RoomId, UserId
from roommate.errors import ImageError, StateError
from roommate.host import deadlines, durable_files, file_lock, folder_modes
from roommate.sandbox import image
from roommate.sandbox.workspace import Workspace
from roommate.settings.config import Settings
from roommate.user_client import Client

READY_SECONDS = 180.0
IPC = "ipc"
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
    control: str = ""
    """Where operators are asked, with `mesh`."""
    met: str = ""
    """The two daemons have been introduced to each other, and trusted."""
    builder: str = ""
    builder_password: str = ""

    @classmethod
    def read(cls, file: Path) -> Self:
        try:
            return cls(**json.loads(file.read_text()))
        except FileNotFoundError:
            return cls(bot_password=secrets.token_urlsafe(24), password=secrets.token_urlsafe(9))

    def write(self, file: Path) -> None:
        durable_files.replace(file, json.dumps(asdict(self)).encode())


BUILDER = "builder"
POLICIES = {
    "roommate": f"""version = 1

[[outgoing]]
peers = ["{BUILDER}"]
rooms = ["*"]
methods = ["ping", "who", "exec"]
""",
    BUILDER: """version = 1

[[allow]]
peers = ["roommate"]
rooms = ["*"]
methods = ["ping", "who"]
approval = "none"

[[allow]]
peers = ["roommate"]
rooms = ["*"]
methods = ["exec"]
commands = ["/usr/bin/uname"]
arguments = ["*"]
approval = "none"

[[allow]]
peers = ["roommate"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
arguments = ["*"]
stdin = true
pty = true
approval = "people"
""",
}
"""What each daemon lets its model ask, and does for the other: most commands after a tap in the room."""


class Demo:
    """One demo in one folder. With `keep` its servers outlive us; a later start finds and takes them. With `mesh` a
    second daemon is in the room; the two trust each other."""

    def __init__(self, folder: Path, settings: Settings, *, keep: bool = False, mesh: bool = False) -> None:
        self._folder = folder.absolute()
        self._settings = settings
        self._homeserver = Synapse(self._folder / "homeserver", detached=keep)
        self._daemon = Background(self._folder, "daemon", detached=keep)
        self._state = self._folder / "state"
        self._mesh = mesh
        self._builder = Background(self._folder, BUILDER, detached=keep)
        self._builder_state = self._folder / BUILDER
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
    def bot(self) -> UserId:
        """The first daemon's account."""
        return UserId(self._kept.bot)

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
        if self._mesh and not self._kept.control:
            await self._daemon.stop()  # one that was kept knows no such room
            await self._open_control_room()
        with step("daemon") as say:
            await self._start_daemon()
            say(f"model {self._settings.llm_model}")
        with step("room"):
            await self._open_room()
        if self._mesh:
            with step("second daemon") as say:
                await self._start_builder()
                say(f"{BUILDER}; the two trust each other, by a card each in the room Operators")

    async def stop(self) -> None:
        """End the daemon, its containers and the homeserver. What they know stays in the folder."""
        await asyncio.gather(self._daemon.stop(), self._builder.stop())
        for state, bot in ((self._state, self._kept.bot), (self._builder_state, self._kept.builder)):
            if not state.exists():
                continue
            settings = self._settings.model_copy(update={"state_dir": state, "matrix_user": bot})
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
        for state in (self._state, self._builder_state):
            for room in (state / "rooms").glob("*"):
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
        await self._start(self._daemon, self._state, self.bot, self._kept.bot_password, {})

    async def _start(self, daemon: Background, state: Path, bot: str, password: str, more: Mapping[str, str]) -> None:
        if daemon.runs():
            return
        environment = {
            "MATRIX_HOMESERVER": self.url,
            "MATRIX_USER": bot,
            "MATRIX_PASSWORD": password,
            "MATRIX_ADMIN_USER": self._kept.user_id,
            "STATE_DIR": str(state),
            "CONTROL_ROOM": self._kept.control,
            # The demo has its own people and places, whatever .env says: empty is as good as not set.
            **dict.fromkeys(("VPS_IP", "OPERATORS", "ALLOWED_USERS", "POLICY_FILE", "IPC_BASE_DIR"), ""),
            **more,
        }
        await daemon.start([sys.executable, "-m", "roommate", "run"], environment)
        deadline = time.monotonic() + READY_SECONDS
        while "ready" not in daemon.said():
            if not daemon.runs():
                raise StateError(f"the daemon did not start: {daemon.last_words()}")
            if time.monotonic() > deadline:
                raise StateError(f"the daemon was not ready after {READY_SECONDS:.0f} s: {daemon.last_words()}")
            await asyncio.sleep(0.02)

    async def _start_builder(self) -> None:
        """The second daemon, in the same room, and the trust between the two."""
        if not self._kept.builder:
            self._keep(builder_password=secrets.token_urlsafe(24))
            account = await self._homeserver.register(BUILDER, self._kept.builder_password)
            await self._homeserver.lift_limit(account.user_id)
            self._keep(builder=account.user_id)
        await self._start(
            self._builder,
            self._builder_state,
            self._kept.builder,
            self._kept.builder_password,
            {"BOT_DISPLAY_NAME": BUILDER},
        )
        bot, builder = UserId(self._kept.bot), UserId(self._kept.builder)
        for state, name in ((self._state, "roommate"), (self._builder_state, BUILDER)):
            if not (policy := state / "policy.toml").exists():
                durable_files.replace(policy, POLICIES[name].encode())
        async with Client(self.me) as client, deadlines.within(READY_SECONDS):
            operators = RoomId(self._kept.control)
            for room in (self.room, operators):
                if builder not in await client.members(room):
                    await client.call("POST", f"rooms/{quote(room)}/invite", {"user_id": builder})
            for state, room in (
                (self._builder_state, self.room),
                (self._state, operators),
                (self._builder_state, operators),
            ):
                while not await asyncio.to_thread(knows, state, room):  # noqa: ASYNC110 — another process knows
                    await asyncio.sleep(0.05)
            if self._kept.met:  # what the person has said of it since counts
                return
            ours, theirs = (self._state, bot), (self._builder_state, builder)
            for (state, asks), (other, _) in ((ours, theirs), (theirs, ours)):
                words = await asyncio.to_thread(introduced, state, other, self.room)
                if not await asyncio.to_thread(trusts, state, words):
                    await _say_yes(client, operators, asks, words)
                while not await asyncio.to_thread(trusts, state, words):  # noqa: ASYNC110 — another process knows
                    await asyncio.sleep(0.05)
            self._keep(met="yes")

    async def _open_control_room(self) -> None:
        """Where both daemons ask their operator, who is the person."""
        async with Client(self.me) as client:
            self._keep(control=await client.create_room("Operators", [self.bot]))

    async def _open_room(self) -> None:
        """The room of the last time, or a new one whose greeting we have seen."""
        bot = UserId(self._kept.bot)
        async with Client(self.me) as client, deadlines.within(READY_SECONDS):
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


def introduced(ours: Path, theirs: Path, room: RoomId) -> str:
    """The daemon of the state folder `theirs` says in the room who it is, so that ours asks its operator, where it has
    not said so by itself; gives the words of its key, for comparing them."""
    with Socket(theirs / IPC / control.NAME) as other, Socket(ours / IPC / control.NAME) as daemon:
        identity = other.call("mesh.identity")
        if all(one["key"] != identity["key"] for one in daemon.call("trust.list")):
            other.call("mesh.introduce", room=room)
        return str(identity["words"])


async def _say_yes(client: Client, room: RoomId, bot: UserId, words: str) -> None:
    """As an operator does at the card with these words."""
    async with contextlib.aclosing(client.follow(room, back=20)) as events:
        async for event in events:
            if event.get("sender") == bot and words in str(event.get("content", {}).get("body")):
                await client.react(room, EventId(event["event_id"]), "✅")
                return


def knows(state: Path, room: RoomId) -> bool:
    """Is the bot in that room, to its own knowledge? It learns so some time after the homeserver."""
    with Socket(state / IPC / control.NAME) as daemon:
        return any(one["room_id"] == room for one in daemon.call("rooms.list"))


def trusts(ours: Path, words: str) -> bool:
    with Socket(ours / IPC / control.NAME) as daemon:
        return any((one["words"], one["state"]) == (words, "pinned") for one in daemon.call("trust.list"))
