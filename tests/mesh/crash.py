"""A daemon that answers another one and is killed with SIGKILL meanwhile, around its commits and at any moment.

`python -m tests.mesh.crash --points 100` runs it at length, on a homeserver of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roommate.cli.streamed_input import streamed
from roommate.control import NAME
from roommate.demo.embedded_synapse import Synapse
from roommate.errors import ControlError
from roommate.features.mesh.envelope import REPLY, REQUEST
from tests.e2e import aimed
from tests.harness import Daemon
from tests.mesh.pair import roommate, trusts, with_both
from tests.nursery import Nursery
from tests.patience import PATIENCE
from tests.person import Person

POLICY = """\
version = 1

[limits]
at_once = 4
per_minute = 1000

[[allow]]
peers = ["asker"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
arguments = ["*"]
folders = ["*"]
approval = "none"
"""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the requests; all lists are empty when the promise was kept."""

    points: int
    asked: int
    results: int
    unknown: int
    busy: int
    """Refused, since too many ran already."""
    run_twice: list[str]
    ends: dict[str, list[str]]
    """Of those that have not exactly one in the room."""
    untrue: dict[str, str]
    """What its asker heard, of those that ran and were refused, did not run and have a result, or have another end in
    the room."""

    @property
    def kept(self) -> bool:
        return not (self.run_twice or self.ends or self.untrue)

    def __str__(self) -> str:
        return (
            f"{self.points} kills, {self.asked} requests: {self.results} results, {self.unknown} unknown, {self.busy} "
            f"busy; run twice {self.run_twice}, not one end {self.ends}, untrue {self.untrue}"
        )


MOST_OPEN = 20
"""Requests without an end, before another kill."""
LONGEST = 400.0
"""Seconds after which who asks has given up itself what was not answered."""


def _rows(daemon: Daemon) -> Sequence[object]:
    """What it has not come to an end with."""
    queries = (
        "SELECT * FROM mesh_requests WHERE state != 'done'",
        "SELECT * FROM mesh_asked WHERE state != 'done'",
        "SELECT * FROM mesh_events",
        "SELECT * FROM outbox WHERE state != 'sent'",
    )
    with sqlite3.connect(daemon.state / "roommate.db") as c:
        found = [row for query in queries for row in c.execute(query)]
    c.close()
    return found


async def run(
    asker: Daemon, answerer: Daemon, person: Person, *, points: int, seed: int, encrypted: bool = False
) -> Verdict:
    """Kill the answering daemon that many times, three of four at a commit. Neither was started yet."""
    chance = random.Random(seed)
    answerer.main = aimed.__name__
    await asyncio.gather(asker.start(), answerer.start())
    (answerer.state / "policy.toml").write_text(POLICY)
    await asyncio.gather(trusts(asker, answerer, "answerer"), trusts(answerer, asker, "asker"))
    room = await with_both(person, asker, answerer, encrypted=encrypted)
    await _asked(asker, "true")  # its container is there
    heard: dict[str, asyncio.Task[str]] = {}
    for point in range(points):
        new = [f"tok{len(heard) + number:04d}" for number in range(chance.randint(2, 5))]
        if at_commit := point % 4 != 3:
            coming = answerer.cwd / "aim.coming"
            coming.write_text(str(chance.randint(1, 40)))
            coming.replace(answerer.cwd / aimed.AIM)
        for token in new:
            asking = _asked(asker, "sh", "-c", f"echo {token} >>/workspace/ran; sleep 0.1")
            heard[token] = asyncio.create_task(asking)
        round_over = asyncio.gather(*(heard[token] for token in new))
        if at_commit:
            async with asyncio.timeout(PATIENCE):
                while answerer.running and not round_over.done():
                    await asyncio.sleep(0.02)
        else:
            await asyncio.sleep(chance.random() * 2)
        await answerer.kill9()
        (answerer.cwd / aimed.AIM).unlink(missing_ok=True)
        await answerer.spawn()
        while sum(not task.done() for task in heard.values()) > MOST_OPEN:  # who asks has only so many connections
            await asyncio.sleep(0.05)
    await asyncio.wait(heard.values(), timeout=LONGEST)
    told = {token: task.result() if task.done() else "nothing" for token, task in heard.items()}
    assert "nothing" not in told.values(), f"{_rows(answerer)}\n{_rows(asker)}\n{answerer.log.read_text()[-20_000:]}"
    shown = await roommate(asker, "exec", "--peer", "answerer", "--", "cat", "/workspace/ran")
    assert shown.code == 0, shown.errors
    ran = Counter(shown.out.split())
    ends = _ends_heard(asker, list(heard)) if encrypted else await _ends(person, room, list(heard))
    return Verdict(
        points=points,
        asked=len(heard),
        results=sum(end == ["result"] for end in ends.values()),
        unknown=sum(end == ["unknown"] for end in ends.values()),
        busy=sum(end == ["busy"] for end in ends.values()),
        run_twice=[token for token in heard if ran[token] > 1],
        ends={token: end for token, end in ends.items() if len(end) != 1},
        untrue={
            token: told[token]
            for token, end in ends.items()
            if [told[token]] != end or (end != ["unknown"] and ran[token] != (end == ["result"]))
        },
    )


async def _asked(asker: Daemon, *argv: str) -> str:
    """What an operator hears: ``result``, ``busy``, ``unknown``, or what else went wrong."""
    params = {"peer": "answerer", "argv": list(argv)}
    try:
        await streamed(asker.state / "ipc" / NAME, "mesh.exec", params, None, lambda _: None)
    except ControlError as error:
        meanings = {"too many requests run": "busy", "may have run": "unknown"}
        return next((code for words, code in meanings.items() if words in str(error)), str(error))
    return "result"


async def _ends(person: Person, room: str, tokens: list[str]) -> dict[str, list[str]]:
    """The last words to each request that are in the room, when those to the last request are."""

    def found() -> dict[str, list[str]]:
        ends: dict[str, list[str]] = {}
        requests: dict[str, str] = {}
        for seen in person.seen:
            if seen.room_id == room and seen.type == REQUEST:
                command = str(seen.content["params"]["argv"][-1])
                requests[seen.content["id"]] = command.split()[1] if command.startswith("echo") else command
            elif seen.room_id == room and seen.type == REPLY and seen.content["body"]["kind"] in ("result", "refused"):
                body = seen.content["body"]
                token = requests[seen.content["request"]]
                ends.setdefault(token, []).append(str(body.get("code", body["kind"])))
        return ends

    await person.wait(lambda: "/workspace/ran" in found(), what="the end of the last request")
    ends = found()
    return {token: ends.get(token, []) for token in tokens}


def _ends_heard(asker: Daemon, tokens: list[str]) -> dict[str, list[str]]:
    """The same of a room that nobody else can read: as who asks has it of their events."""
    query = "SELECT params, body FROM mesh_answers JOIN mesh_asked ON mesh_asked.id = request"
    with sqlite3.connect(asker.state / "roommate.db") as c:
        pieces = [(json.loads(params)["argv"][-1], json.loads(body)) for params, body in c.execute(query)]
    c.close()
    ends: dict[str, list[str]] = {token: [] for token in tokens}
    for command, body in pieces:
        if command.startswith("echo") and body["kind"] in ("result", "refused"):
            ends[command.split()[1]].append(str(body.get("code", body["kind"])))
    return ends


async def main(points: int, seed: int, *, encrypted: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        synapse = Synapse(Path(folder), limits="open")
        await synapse.start()
        try:
            one, two, ann = [await synapse.register(name, "secret") for name in ("one", "two", "ann")]
            nursery = await Nursery.shared()
            asker, answerer = [
                Daemon(synapse.url, account.user_id, "secret", {}, nursery=nursery) for account in (one, two)
            ]
            try:
                async with await Person.at(synapse.url, ann.user_id, "secret") as person:
                    verdict = await run(asker, answerer, person, points=points, seed=seed, encrypted=encrypted)
                    if not verdict.kept:
                        print(asker.log.read_text(), answerer.log.read_text(), sep="\n── the answering one\n")
            finally:
                await asyncio.gather(asker.discard(), answerer.discard())
        finally:
            await Nursery.close_shared()
            await synapse.stop()
    print(verdict)
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100, help="how often the daemon is killed")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the random moments")
    parser.add_argument("--encrypted", action="store_true", help="in an encrypted room")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    raise SystemExit(asyncio.run(main(arguments.points, arguments.seed, encrypted=arguments.encrypted)))
