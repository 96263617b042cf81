"""From a fresh clone to a service that answers, through updates, a backup and another machine, and away again.

The machine is ten to thirty times slower than the host: PATIENCE is what people write into `.env` there, too.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, MakePerson, register
from tests.origin import commit, git
from tests.person import Person, Shown
from tests.shell import HOME, USER
from tests.vm.conftest import Prepared
from tests.vm.image import HOST
from tests.vm.machine import VirtualMachine

SLOW = 1200.0
"""Seconds that a room may take for anything at all."""
INSTALL = 3600.0

pytestmark = pytest.mark.timeout(2 * INSTALL)

SEEN = r"""
import json, multiprocessing, os, re
from pathlib import Path
status = dict(re.findall(r"^(\w+):\s+(.*)$", Path("/proc/self/status").read_text(), re.M))
files = "memory.max", "memory.swap.max", "pids.max", "cpu.max"
limits = {name: Path("/sys/fs/cgroup", name).read_text().split() for name in files}
disk = os.statvfs("/workspace")
with multiprocessing.Pool(1) as pool:  # its semaphores are in /dev/shm
    there = pool.map(len, ["shm"])
print(json.dumps({
    "status": status, "limits": limits, "disk": disk.f_blocks * disk.f_frsize, "shm": there,
    "ids": Path("/proc/self/uid_map").read_text().split(), "net": os.listdir("/sys/class/net"),
}))
"""
"""What a room's container is, as a program in it sees that."""

FORKS = """
import os, signal, time
started = []
try:
    while len(started) < 200:
        if (child := os.fork()) == 0:
            time.sleep(600)
        started.append(child)
except BlockingIOError:
    print(len(started))
for child in started:
    os.kill(child, signal.SIGKILL)
"""
"""How many processes it may start."""

NOT_HERE = ("model", "backup", "build tools", "coding agents")
"""What doctor misses because these tests do not set it up."""


@dataclass(frozen=True, slots=True)
class Installed:
    """Roommate on a machine, installed by `user`, and a person who talks to it in a room."""

    machine: VirtualMachine
    user: str
    who: Person
    bot: str
    room: str

    @property
    def root(self) -> str:
        return "/opt/roommate" if self.user == "root" else f"{HOME}/.local/share/roommate"

    @property
    def systemctl(self) -> str:
        return "systemctl" if self.user == "root" else "systemctl --user"

    @property
    def program(self) -> str:
        return "/usr/local/bin/roommate" if self.user == "root" else f"{HOME}/.local/bin/roommate"

    async def sh(self, command: str, *, timeout: float = SLOW, fails: bool = False) -> str:
        return await self.machine.run(command, user=self.user, timeout=timeout, fails=fails)

    async def roommate(self, arguments: str) -> str:
        return await self.sh(f"{self.program} {arguments}")

    async def python(self, text: str) -> str:
        """What a program prints that runs in the room."""
        await self.machine.write("program.py", text, user=self.user)
        return await self.roommate(f"sandbox exec {shlex.quote(self.room)} python3 - <program.py")

    async def answers(self, text: str) -> Shown:
        return await self.who.ask(self.room, text, SLOW)

    async def says(self, *words: str) -> Shown:
        """The bot's message with all these words in it, as soon as it is there."""

        def look() -> Shown | None:
            return next(
                (m for m in self.who.messages(self.room, self.bot) if all(word in m.body for word in words)), None
            )

        found = await self.who.wait(look, SLOW, f"a message with {words}")
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def booted(prepared: Prepared) -> AsyncIterator[VirtualMachine]:
    machine = await prepared.boot()
    try:
        yield machine
    finally:
        machine.discard()


async def install(
    prepared: Prepared, machine: VirtualMachine, user: str, homeserver: Synapse, who: Person
) -> Installed:
    bot = await register(homeserver, f"debian13-{user}")
    url = homeserver.url.replace("127.0.0.1", HOST)
    settings = (
        f"SANDBOX_IMAGE={prepared.image}\nPATIENCE=20\nSANDBOX_MEMORY_MB=512\nSANDBOX_PIDS=100\nSANDBOX_CPUS=1.5\n"
    )
    await machine.write("clone/.env", settings + "WORKSPACE_QUOTA_MB=256\nIDLE_STOP_SECONDS=300\n", user=user)
    flags = f"--homeserver {url} --user {bot} --password {PASSWORD!r} --operators {who.user_id}"
    said = await machine.run(f"clone/scripts/install-service.sh -- --yes {flags}", user=user, timeout=INSTALL)
    assert f"Roommate runs as {bot}" in said
    room = await who.create_room([bot])
    await who.wait_for_member(room, bot, timeout=SLOW)
    return Installed(machine, user, who, bot, room)


async def look_around(one: Installed) -> None:
    """The first answer comes out of a container that is as it is on every host, and its limits hold."""
    assert "Python 3." in (await one.answers("run: python3 --version")).body
    seen = json.loads(await one.python(SEEN))
    assert seen["limits"] == {
        "memory.max": [str(512 << 20)], "memory.swap.max": ["0"], "pids.max": ["100"], "cpu.max": ["150000", "100000"],
    }  # fmt: skip
    assert (seen["status"]["CapEff"], seen["status"]["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (seen["status"]["NoNewPrivs"], seen["status"]["Seccomp"]) == ("1", "2")
    assert (seen["net"], seen["shm"]) == (["lo"], [3])
    assert seen["ids"][:2] != ["0", "0"], "it has a user namespace"
    if one.user == "root":
        assert 200 << 20 < seen["disk"] <= 256 << 20
    hog = (await one.answers("run: python3 -c 'bytearray(1 << 30)'")).body
    assert "the room's memory ran out" in hog, hog
    assert 50 < int(await one.python(FORKS)) < 100
    message = shlex.quote(json.dumps({"message": "The tests are green"}))
    await one.answers(f"run: printf %s {message} | /run/hooks/wrapper claude notification")
    await one.says("The tests are green")


async def check_with_doctor(one: Installed) -> None:
    _, said = await one.machine.try_to(f"{one.program} doctor --probe --json 2>/dev/null", user=one.user, timeout=SLOW)
    checks = {check["what"]: check for check in json.loads(said)}
    assert "crun" in checks["podman"]["found"]
    assert "cgroup v2" in checks["podman"]["found"]
    bad = {name: check for name, check in checks.items() if check["level"] != "ok" and name not in NOT_HERE}
    # Debian gives a user 128 inotify instances. Without root no file system is made for a room, and all are one user.
    assert set(bad) == {"inotify"} | ({"workspace limit", "epoll"} if one.user != "root" else set()), bad


async def idle_and_awake(one: Installed) -> None:
    """A container that nobody needs is stopped; the next call starts it."""
    running = f"{one.program} sandbox ls --json | grep -q '\"running'"
    await one.machine.until(f"! {running}", user=one.user, seconds=SLOW)
    assert "awake" in (await one.answers("run: echo awake")).body


async def update_and_back(one: Installed, repository: Path) -> None:
    """To a newer release and back, asked for in chat."""
    old, new = git(repository, "rev-parse", "HEAD"), commit(repository, f"Something new for {one.user}")
    await one.machine.push(repository, "HEAD", "main", "/srv/roommate.git")
    await one.who.say(one.room, "!redeploy")
    card = await one.says(f"Something new for {one.user}")
    await one.who.react(one.room, card.event_id, "✅")
    await one.says("✅ `", f"→ `{new[:12]}`")
    assert new[:12] in await one.roommate("version")
    assert "new as well" in (await one.answers("run: echo new as well")).body
    await one.who.say(one.room, "!rollback")
    await one.who.react(one.room, (await one.says("Go back from", old[:12])).event_id, "✅")
    await one.says("✅ `", f"→ `{old[:12]}`")
    assert "old again" in (await one.answers("run: echo old again")).body


async def remove(one: Installed) -> None:
    await one.sh("clone/scripts/uninstall.sh --yes --purge", timeout=INSTALL)
    assert await one.sh("podman ps --all --quiet") == ""
    assert "could not be found" in (await one.machine.try_to(f"{one.systemctl} status roommate", user=one.user))[1]
    await one.sh(f"test -e {one.root}", fails=True)


async def test_setup_takes_what_the_distribution_has(machine: VirtualMachine) -> None:
    assert "crun" in await machine.run("podman info --format '{{.Host.OCIRuntime.Name}}'", user="root")
    await machine.run("command -v runc", user="root", fails=True)
    assert "Python 3.13" in await machine.run(
        "clone/scripts/setup && clone/.venv/bin/python --version", timeout=INSTALL
    )


async def moved(prepared: Prepared, one: Installed) -> None:
    """By a backup and nothing else to another machine, and away."""
    await one.answers("run: echo kept > note.txt")
    backup = (await one.roommate("backup")).strip().splitlines()[-1]
    content = await one.machine.read(backup)
    await remove(one)
    one.machine.discard()
    async with booted(prepared) as machine:
        await machine.give("/srv/backup.tar", content)
        await machine.run(f"chown {one.user} /srv/backup.tar", user="root")
        await machine.run("clone/scripts/install-service.sh --restore /srv/backup.tar", user=one.user, timeout=INSTALL)
        elsewhere = replace(one, machine=machine)
        assert "kept" in (await elsewhere.answers("run: cat note.txt")).body
        await remove(elsewhere)


async def test_as_root(prepared: Prepared, homeserver: Synapse, person: MakePerson) -> None:
    async with booted(prepared) as machine:
        one = await install(prepared, machine, "root", homeserver, await person("alice"))
        await look_around(one)
        await check_with_doctor(one)
        await update_and_back(one, prepared.repository)
        await idle_and_awake(one)
        await moved(prepared, one)


async def test_as_an_ordinary_user(prepared: Prepared, homeserver: Synapse, person: MakePerson) -> None:
    async with booted(prepared) as machine:
        one = await install(prepared, machine, USER, homeserver, await person("alice"))
        await look_around(one)
        await check_with_doctor(one)
        await update_and_back(one, prepared.repository)
        await moved(prepared, one)
