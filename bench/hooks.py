"""What hooks cost: an agent, which waits for them; the daemon, from a file's name to its row; and the rooms around."""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.stage import ROOM, Figure, Stage, beside, figure, sandboxes
from roommate.domain import Hand, HookEvent, RoomId
from roommate.features.hooks.watcher import Spool
from roommate.store import Database, Ipc

FLOOD = 20_000
ROOMS = (1, 10, 100)
SAID = {
    "session_id": "s",
    "tool_name": "Bash",
    "tool_input": {"command": "ls -la"},
    "tool_response": {"stdout": "x" * 2000},
}

_TIMED = """
import json, os, sys, time
rounds, *commands = json.loads(sys.argv[1])
said, null = os.memfd_create("said"), os.open("/dev/null", os.O_WRONLY)
os.write(said, sys.argv[2].encode())
files = [(os.POSIX_SPAWN_DUP2, said, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
for _ in range(rounds):
    for command in commands:
        os.lseek(said, 0, os.SEEK_SET)
        began = time.perf_counter()
        process = os.posix_spawnp(command[0], command, os.environ, file_actions=files)
        assert os.waitpid(process, 0)[1] == 0, command
        print(time.perf_counter() - began)
"""
"""Runs commands in turn, and prints the seconds of each: as an agent starts its hooks, from within the container."""


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    async with sandboxes(stage.image) as (rooms, _):
        figures = await _runs(await rooms.hand(ROOM), rounds)
    for count in ROOMS:
        async with _Rooms.listening(count) as many:
            samples = [await many.report(number % count) for number in range(rounds * 5)]
        name = f"a hook's file to its row, {count} room{'s'[: count > 1]}"
        figures.append(figure(name, samples, p95_goal=20))
    async with _Rooms.listening(2) as two:
        quiet = [await two.report(1) for _ in range(rounds)]
        flood = threading.Thread(target=two.flood, args=(0,))
        flood.start()
        flooded: list[float] = []
        while flood.is_alive() or len(flooded) < rounds:
            flooded.append(await two.report(1))
        flood.join()
    calm = figure("the same while all is quiet", quiet)
    return [
        *figures,
        calm,
        beside(figure(f"the same while another room leaves {FLOOD} files", flooded, p95_goal=100), calm),
    ]


async def _runs(hand: Hand, rounds: int) -> list[Figure]:
    commands = {
        "a shell that does nothing": ["sh", "-c", ":"],
        "python3 that does nothing": ["python3", "-I", "-S", "-c", ""],
        "hook before-tool": ["/run/hooks/wrapper", "claude", "before-tool"],
        "hook after-tool": ["/run/hooks/wrapper", "claude", "after-tool"],
    }
    printed = bytearray()
    plan = json.dumps([rounds, *commands.values()])
    ended = await hand.run(["python3", "-I", "-S", "-c", _TIMED, plan, json.dumps(SAID)], on_output=printed.extend)
    assert ended.code == 0, printed.decode()
    seconds = [float(line) for line in printed.split()]
    taken = {name: seconds[number :: len(commands)] for number, name in enumerate(commands)}
    shell, python, *hooks = (
        figure(name, samples, goal=10 if name.startswith("hook") else None) for name, samples in taken.items()
    )
    return [shell, python, *(beside(hook, python) for hook in hooks)]


class _Rooms:
    """Folders of rooms that a spool watches, with the real database behind it."""

    def __init__(self, folder: Path, count: int, ipc: Ipc) -> None:
        self.spool = Spool()
        self._ipc = ipc
        self._outs = []
        self._stored: dict[str, asyncio.Future[float]] = {}
        for number in range(count):
            out = folder / str(number) / "out"
            out.mkdir(parents=True)
            self._outs.append(out)
            self.spool.attach(RoomId(f"!{number}:bench"), out, out)

    @classmethod
    @contextlib.asynccontextmanager
    async def listening(cls, count: int) -> AsyncIterator[_Rooms]:
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            database = Database.open(Path(folder) / "state")
            rooms = cls(Path(folder), count, Ipc(database))
            running = asyncio.create_task(rooms.spool.run(rooms.commit))
            try:
                await rooms.report(0)
                yield rooms
            finally:
                running.cancel()
                await asyncio.wait([running])
                await database.close()

    async def report(self, number: int) -> float:
        """Seconds from the renaming of a file to the end of the transaction that keeps its event."""
        out, name = self._outs[number], f"{time.time_ns():020d}-1-event-progress-bench.json"
        stored = self._stored[name] = asyncio.get_running_loop().create_future()
        fresh = out / f".{name}"
        fresh.write_text(json.dumps({"agent": "bench", "summary": "x" * 100}))
        await asyncio.sleep(0.02)
        began = time.perf_counter()
        fresh.rename(out / name)
        kept: float = await stored
        return kept - began

    def flood(self, number: int) -> None:
        for count in range(FLOOD):
            (self._outs[number] / f"{count:020d}-1-event-progress-flood.json").write_text('{"text": "flood"}')

    async def commit(self, room_id: RoomId, found: Sequence[tuple[str, HookEvent]]) -> None:
        await self._ipc.commit(room_id, found)
        for name, _ in found:
            if stored := self._stored.pop(name, None):
                stored.set_result(time.perf_counter())
