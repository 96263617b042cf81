"""One noisy room and one quiet room of one daemon: what a program in the first does, and what the second feels of it.

    async def test_so_and_so(two_rooms: TwoRooms) -> None:
        felt = await two_rooms.under("line = dial()\n" "line.sendall(frame(DATA, 77, b'x'))")
        felt.assert_quiet()

The program runs as uid 1000 in the noisy room's container, behind `PREAMBLE`: the real hand is stopped by SIGSTOP, and
`dial` speaks to the daemon in its place. While it runs, and once after it, the quiet room is measured.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from socket import socket
from typing import Self

import roommate.sandbox.inside.frames
from tests.harness import Daemon, run, tool
from tests.patience import PATIENCE, until
from tests.person import Person

MIB = 1 << 20
MEMORY = 300 * MIB
"""More than this the daemon never takes, whatever a room does."""
TIMES, FLOOR = 3.0, 1.0
"""What the quiet room asks for takes so many times as long as before at most; below so many seconds nobody minds."""
MEASURABLE = 0.1
"""Seconds: what takes less is compared as if it took that."""

PREAMBLE = '''\
import json, os, signal, socket, sys, time
from frames import *

SECONDS = 20.0

def others():
    """All processes of this container that are ours, but this one and the first."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in (1, os.getpid())
            and os.stat("/proc/" + name).st_uid == os.getuid()]

def signal_others(number):
    for pid in others():
        try:
            os.kill(pid, number)
        except OSError:
            pass

def dial(hello=b'{"version": %d}' % VERSION):
    """A connection to the daemon that has greeted it as the hand does; it reads what comes with `hear`."""
    line = socket.socket(socket.AF_UNIX)
    line.settimeout(SECONDS)
    line.connect("/run/room/hand.sock")
    line.sendall(frame(HELLO, 0, hello))
    return line

def hear(line):
    """The frames (kind, number, payload) that come, until the daemon hangs up."""
    frames = Frames()
    while piece := line.recv(1 << 16):
        yield from frames.feed(piece)

def attack():
    __ATTACK__

def say(state):
    with open(sys.argv[1] + "~", "w") as file:
        file.write(state)
    os.rename(sys.argv[1] + "~", sys.argv[1])

say("begun")
if "__HUSH__" == "True":
    signal_others(signal.SIGSTOP)
ended = "ended"
try:
    ended = f"ended {attack() or ''}".rstrip()
except OSError as error:
    ended = f"ended: {error}"  # the daemon hung up
except BaseException as error:
    ended = f"failed: {error!r}"
finally:
    signal_others(signal.SIGCONT)
    say(ended)
'''


def program(attack: str, *, hush: bool = True) -> dict[str, str]:
    """The files, by their names, that belong beside each other; ``attack.py`` is run with the path of its state file.

    `attack` are lines of Python; `hush` stops the real hand, and all else of the room, while they run.
    """
    indented = "\n    ".join(attack.strip("\n").splitlines())
    text = PREAMBLE.replace("__ATTACK__", indented).replace("__HUSH__", str(hush))
    return {"frames.py": Path(roommate.sandbox.inside.frames.__file__).read_text("utf-8"), "attack.py": text}


@dataclass(slots=True)
class Felt:
    """How long what the quiet room asked for took, in seconds, and what the daemon took of the machine."""

    ping: list[float] = field(default_factory=list)
    call: list[float] = field(default_factory=list)
    """A tool call in its container."""
    peer: list[float] = field(default_factory=list)
    """The same way through homeserver and client without the daemon: how slow the machine is."""
    host: list[float] = field(default_factory=list)
    """What a call asks of the machine's processes and disk, without the daemon."""
    rss: int = 0
    """Most bytes of memory at any time."""
    cpu: float = 0.0
    """Seconds of processor time."""

    def figures(self) -> str:
        pings, calls = (f"{statistics.median(times):.2f}/{max(times):.2f} s" for times in (self.ping, self.call))
        return f"ping {pings}, call {calls} (median/worst), {self.rss // MIB} MiB, {self.cpu:.1f} s of CPU"


@dataclass(frozen=True, slots=True)
class Quiet:
    """The quiet room before, under and after an attack. `ended` is the last word of the attacking program."""

    before: Felt
    under: Felt
    after: Felt
    ended: str

    def assert_quiet(self, memory: int = MEMORY) -> None:
        """It felt nothing. Slowness of the machine, as `peer` and `host` had it, too, is not counted."""
        for name, felt in {"under": self.under, "after": self.after}.items():
            slower = max(
                max(times) / statistics.median(before)
                for times, before in ((felt.peer, self.before.peer), (felt.host, self.before.host), ([1.0], [1.0]))
            )
            for what in ("ping", "call"):
                allowed = max(TIMES * statistics.median(getattr(self.before, what)), FLOOR) * slower
                assert max(getattr(felt, what)) <= allowed, f"{name} attack, {what} took over {allowed:.2f} s: {self}"
            assert felt.rss <= memory, f"{name} attack: {self}"

    def assert_in_the_middle(self) -> None:
        """Half of what it asked for took up to three times as long as before, however little that is."""
        slower = max(
            statistics.median(getattr(self.under, what)) / statistics.median(getattr(self.before, what))
            for what in ("peer", "host")
        )
        for what in ("ping", "call"):
            usual = max(statistics.median(getattr(self.before, what)), MEASURABLE)
            assert statistics.median(getattr(self.under, what)) <= TIMES * usual * max(slower, 1.0), f"{what}: {self}"

    def __str__(self) -> str:
        parts = {"before": self.before, "under": self.under, "after": self.after}
        return "; ".join(f"{name}: {felt.figures()}" for name, felt in parts.items()) + f"; the attack: {self.ended}"


class TwoRooms:
    """Both have run a command, so both have a container."""

    def __init__(
        self, bot: Daemon, alice: Person, mallory: Person, quiet: str, noisy: str, aside: str, deaf_provider: socket
    ) -> None:
        self.bot, self.alice, self.mallory = bot, alice, mallory
        self.quiet, self.noisy = quiet, noisy
        self.deaf_provider = deaf_provider
        self._aside = aside
        self._before: Felt | None = None
        self._memory = 0
        self._started = ""

    @classmethod
    async def of(cls, bot: Daemon, alice: Person, mallory: Person, deaf_provider: socket) -> Self:
        """`alice` makes the quiet room, `mallory` the noisy one. The daemon knows the provider as ``anthropic``."""
        quiet, noisy, aside = await asyncio.gather(
            bot.room_with(alice, name="quiet"), bot.room_with(mallory, name="noisy"), alice.create_room(name="aside")
        )
        await asyncio.gather(alice.ask(quiet, run("echo warm")), mallory.ask(noisy, run("echo warm")))
        return cls(bot, alice, mallory, quiet, noisy, aside, deaf_provider)

    async def under(
        self,
        attack: str,
        *,
        hush: bool = True,
        files: Mapping[str, bytes] | None = None,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> Quiet:
        """Run `attack`, lines of Python, and measure the quiet room until it has ended, three times at the least.

        `hush` stops the real hand, and all else of the room, while it runs; `files` are put beside it by the test;
        `meanwhile` is done once it has begun, such as calls of the noisy room. At the end that room works as before.
        """
        before = await self.calm()
        state = await self.start(attack, hush=hush, files=files)
        await until(state.exists, "the attack's beginning")
        doing = asyncio.ensure_future(meanwhile()) if meanwhile is not None else None
        under = await self.measure(lambda: not state.read_text().startswith("begun"))
        ended = state.read_text()
        assert not ended.startswith("failed"), f"the attack itself went wrong: {ended}"
        if doing is not None:
            await doing
        found = Quiet(before, under, await self.measure(lambda: True), ended)
        print(found)
        await self.mallory.answer_to(self._started)
        await until(self._noisy_works, "the noisy room's own hand")
        return found

    async def withstands(self, attack: str, *, rounds: int = 3) -> Quiet:
        """As `under`, with the real hand there; the quiet room does not feel it. What else runs on this machine comes,
        also between two measurements: it has to hold in one of several rounds, each measured anew."""
        for left in reversed(range(rounds)):
            quiet = await self.under(attack, hush=False)
            try:
                quiet.assert_quiet()
                quiet.assert_in_the_middle()
            except AssertionError:
                if not left:
                    raise
                self._before = None
            else:
                break
        return quiet

    async def memory_returns(self) -> None:
        """The daemon takes what it took before any attack, and what it kept for good to have seen one."""
        before = self._memory
        await until(lambda: self.bot.rss() < before + 20 * MIB, f"memory to return to {before // MIB} MiB", every=0.1)

    async def start(self, attack: str, *, hush: bool = True, files: Mapping[str, bytes] | None = None) -> Path:
        """Start it in the noisy room's background; gives the file that says "begun", and then "ended…"."""
        mark = f"attack-{secrets.token_hex(4)}"
        made = [
            tool("write_file", path=f"{mark}/{name}", content=text) for name, text in program(attack, hush=hush).items()
        ]
        await self.mallory.ask(self.noisy, "\n---\n".join([*made, "SAY ready"]))
        [folder] = self.bot.state.glob(f"rooms/*/files/workspace/{mark}")
        for name, content in (files or {}).items():
            (folder / name).write_bytes(content)
        command = f"exec python3 {mark}/attack.py {mark}/state"
        # Who says it does not wait for the answer: the tool's own may be lost with the hand that it stops.
        begins = tool("run_command", command=command, background=True, wake=False) + "\n---\nSAY started"
        self._started = await self.mallory.say(self.noisy, begins)
        return folder / "state"

    async def calm(self) -> Felt:
        """How it is without noise; measured once."""
        if self._before is None:
            self._before = await self.measure(lambda: True, least=5)
            self._memory = self._memory or self._before.rss
        return self._before

    async def measure(self, done: Callable[[], bool], *, least: int = 3) -> Felt:
        """Ping and call from the quiet room, one after the other, until it is `done`."""
        felt = Felt()
        Path(f"/proc/{self.bot.pid}/clear_refs").write_text("5")  # its peak of memory begins anew: proc(5)
        cpu = self._cpu()
        end = time.monotonic() + PATIENCE
        while len(felt.ping) < least or not done():
            assert time.monotonic() < end, f"the attack did not end in {PATIENCE:.0f} s"
            ping, peer = await asyncio.gather(_timed(self._ping()), _timed(self._peer()))
            felt.ping.append(ping)
            felt.peer.append(peer)
            call, host = await asyncio.gather(_timed(self._call()), _timed(_host()))
            felt.call.append(call)
            felt.host.append(host)
        felt.cpu = self._cpu() - cpu
        felt.rss = self._peak()
        return felt

    async def _ping(self) -> None:
        before = len(self.bot.said(self.alice, self.quiet))
        await self.alice.say(self.quiet, "!ping")
        await self.alice.wait(lambda: len(self.bot.said(self.alice, self.quiet)) > before, what="the answer to !ping")

    async def _peer(self) -> None:
        """Two messages one after the other, as a question and its answer are."""
        for _ in range(2):
            said = await self.alice.say(self._aside, "hello, anybody here?")
            await self.alice.wait(lambda said=said: any(one.event_id == said for one in self.alice.seen))  # type: ignore[misc]

    async def _call(self) -> None:
        assert "still here" in (await self.alice.ask(self.quiet, run("echo still here"))).body

    async def _noisy_works(self) -> bool:
        return "as before" in (await self.mallory.ask(self.noisy, run("echo as before"))).body

    def _cpu(self) -> float:
        words = Path(f"/proc/{self.bot.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / 100

    def _peak(self) -> int:
        status = Path(f"/proc/{self.bot.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def _host() -> None:
    def write() -> None:
        with tempfile.NamedTemporaryFile() as file:
            for _ in range(5):
                file.write(bytes(4096))
                file.flush()
                os.fsync(file.fileno())

    await asyncio.to_thread(write)
    await (await asyncio.create_subprocess_exec("sh", "-c", "true; true | true")).wait()


async def _timed(what: Awaitable[object]) -> float:
    began = time.monotonic()
    await what
    return time.monotonic() - began
