"""The real `roommate run` as a process of its own, with its own state, that tests start, kill and read the log of."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

from roommate.settings.config import Settings
from tests import nursery as nursery_module
from tests.nursery import Child, Nursery
from tests.patience import OF_DAEMONS, PATIENCE
from tests.person import Person, Shown
from tests.sandbox_image import containers, remove_containers

ROOMMATE = Path(sys.executable).parent / "roommate"
MARK = "ROOMMATE_TEST_DAEMON"
"""Set in the daemon's environment and so in that of everything it starts: what is left over can be found."""
NETWORK = {"http_proxy", "https_proxy", "no_proxy", "ssl_cert_file"}
"""Settings that libraries and programs read themselves, in the environment."""


def no_settings() -> dict[str, str]:
    """Our environment without anything that Roommate would read, but for how this machine reaches others."""
    taken = Settings.model_fields.keys() - NETWORK
    return {name: value for name, value in os.environ.items() if name.lower() not in taken}


class Bot:
    """A bot as people meet it."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id

    async def room_with(self, *people: Person, name: str | None = None) -> str:
        """A new room of these people (the first one makes it) that the bot has joined; returns its id."""
        host, *others = people
        room = await host.create_room([self.user_id, *(person.user_id for person in others)], name=name)
        for person in others:
            await person.join(room)
        await host.wait_for_member(room, self.user_id)
        return room

    async def known_room_with(self, *people: Person, name: str | None = None) -> str:
        """A `room_with` them that the bot's database has, too, so that it is found at the command line."""
        room = await self.room_with(*people, name=name)
        await people[0].wait(lambda: self.said(people[0], room), what="the greeting")
        return room

    def said(self, person: Person, room: str) -> list[Shown]:
        """The bot's messages in the room, as `person` sees them."""
        return person.messages(room, self.user_id)


def tool(name: str, **arguments: object) -> str:
    """A line of a script: the model calls this tool."""
    return f"TOOL {name} {json.dumps(arguments)}"


def run(command: str) -> str:
    """A script: the model runs this command and says what it printed."""
    return tool("run_command", command=command) + "\n---\nECHO"


async def notice(bot: Bot, person: Person, room: str, words: str) -> Shown:
    """The bot's notice, or its card, with these words."""
    found = await person.wait(
        lambda: next(
            (m for m in bot.said(person, room) if words in m.body and (m.is_card or m.msgtype == "m.notice")), None
        ),
        what=f"a notice with {words!r}",
    )
    assert found is not None
    return found


async def command(bot: Bot, person: Person, room: str, text: str) -> Shown:
    """Say a command, and give the bot's next notice."""
    before = len(bot.said(person, room))
    await person.say(room, text)
    await person.wait(lambda: len(bot.said(person, room)) > before, what=f"the answer to {text}")
    return bot.said(person, room)[before]


class Daemon(Bot):
    """One bot with one state folder. `settings` are environment variables, such as ``MAX_AGENT_TURNS="3"``.

    The state outlives the process: start, `kill9` and start again is a crash and a restart. `discard` ends all.
    To find out what this machine gives takes a daemon seconds: it begins with the file `learned`, where there is one.
    To load its program takes seconds, too: a `nursery` has done that, and such a daemon is born there.
    """

    def __init__(
        self,
        homeserver: str,
        user_id: str,
        password: str,
        settings: dict[str, str],
        learned: Path | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        super().__init__(user_id)
        # Short, since sockets live below it and their paths may have 107 bytes at most.
        self.folder = Path(tempfile.mkdtemp(prefix="rm-"))
        self.state = self.folder / "state"
        self.cwd = self.folder
        self.log = self.folder / "daemon.log"
        self._learned = learned
        self._nursery = nursery
        self.main = nursery_module.ROOMMATE
        """What runs, of a nursery: the function of that name in this module."""
        self.mark = secrets.token_hex(8)
        self.settings = {
            "MATRIX_HOMESERVER": homeserver,
            "MATRIX_USER": user_id,
            "MATRIX_PASSWORD": password,
            "STATE_DIR": str(self.state),
            "BOT_DISPLAY_NAME": "none",
            "BOT_AVATAR": "none",
            "PATIENCE": str(OF_DAEMONS),
            "SAME_PROMPT_SECONDS": "0",  # people of tests write quickly
            **settings,
        }
        self._process: asyncio.subprocess.Process | Child | None = None
        self._starts_at = 0

    @property
    def process(self) -> asyncio.subprocess.Process | Child:
        assert self._process is not None, "the daemon was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def log_text(self) -> str:
        """What it said since its newest start."""
        with self.log.open("rb") as log:
            log.seek(self._starts_at)
            return log.read().decode(errors="replace")

    def rss(self) -> int:
        """Resident memory in bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def spawn(self, program: Path = ROOMMATE) -> Self:
        """Start the process and wait for nothing."""
        assert not self.running, "the daemon runs already"
        if self._learned and not self.state.exists():
            self.state.mkdir(mode=0o700)
            shutil.copy(self._learned, self.state / "host.json")
        with self.log.open("ab") as log:
            self._starts_at = log.tell()
            environment = {**no_settings(), **self.settings, MARK: self.mark}
            if self._nursery is not None and program == ROOMMATE:
                self._process = await self._nursery.bear(
                    [str(program), "run"], folder=self.cwd, environment=environment, out=self.log, main=self.main
                )
                return self
            self._process = await asyncio.create_subprocess_exec(
                "setpriv", "--pdeathsig", "KILL", str(program), "run",
                cwd=self.cwd,
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )  # fmt: skip
        return self

    async def start(self, timeout: float = PATIENCE, program: Path = ROOMMATE) -> Self:
        """Start it, and wait until it says that it is ready."""
        await self.spawn(program)
        await self.wait_for_log("ready", timeout)
        return self

    async def wait_for_log(self, words: str, timeout: float = PATIENCE) -> None:
        deadline = time.monotonic() + timeout
        while words not in self.log_text():
            assert self.running, f"the daemon ended with code {self.process.returncode}:\n{self.log_text()[-4000:]}"
            assert time.monotonic() < deadline, f"no {words!r} after {timeout} s:\n{self.log_text()[-4000:]}"
            await asyncio.sleep(0.01)

    async def wait_for_exit(self, timeout: float = PATIENCE) -> int:
        """Its exit code; negative for a signal."""
        async with asyncio.timeout(timeout):
            return await self.process.wait()

    async def kill9(self) -> None:
        """As bad luck does it."""
        if self.running:
            self.process.send_signal(signal.SIGKILL)
        await self.wait_for_exit()

    async def term(self, timeout: float = PATIENCE) -> int:
        """As systemd does it. Returns the exit code."""
        if self.running:
            self.process.send_signal(signal.SIGTERM)
        return await self.wait_for_exit(timeout)

    def containers(self) -> list[str]:
        """The names of its containers, running or not."""
        return containers(self.state)

    def container_of(self, room: str) -> str:
        """The name of this room's."""
        [name] = containers(self.state, room)
        return name

    async def discard(self) -> None:
        """End it, remove its containers and its state. Fails when a process is left over."""
        if self._process is not None:
            await self.term()
        # A container's monitor belongs to the container, which outlives the daemon on purpose.
        left = await self._left()
        remove_containers(self.state)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if (mounted := line.split()[1]).startswith(f"{self.folder}/"):
                await _output("umount", "--lazy", mounted)
        shutil.rmtree(self.folder)
        assert not left, f"the daemon left processes behind: {left}"
        assert not (left := marked_processes(self.mark)), f"the daemon's containers left processes behind: {left}"

    async def _left(self) -> dict[int, str]:
        """Processes that did not end with it. What the kernel is ending (PR_SET_PDEATHSIG) takes a moment."""
        deadline = time.monotonic() + PATIENCE
        while True:
            left = {pid: line for pid, line in marked_processes(self.mark).items() if "conmon" not in line}
            if not left or time.monotonic() > deadline:
                return left
            await asyncio.sleep(0.05)


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{' '.join(command)}: {err.decode()}"
    return out.decode().strip()


def marked_processes(mark: str) -> dict[int, str]:
    """Process id to command line of every living process that was started with this mark in its environment."""
    wanted = f"{MARK}={mark}".encode()
    found: dict[int, str] = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended while we looked
    return found
