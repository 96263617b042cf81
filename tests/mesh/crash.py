"""A daemon that answers another one and is killed with SIGKILL meanwhile, around its commits and at any moment.

`python -m tests.mesh.crash --points 100` runs it at length, on a homeserver of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections import Counter
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
    untrue: list[str]
    """Those that ran and were refused, did not run and have a result, or whose asker heard something else."""

    @property
    def kept(self) -> bool:
        return not (self.run_twice or self.ends or self.untrue)

    def __str__(self) -> str:
        return (
            f"{self.points} kills, {self.asked} requests: {self.results} results, {self.unknown} unknown, {self.busy} "
            f"busy; run twice {self.run_twice}, not one end {self.ends}, untrue {self.untrue}"
        )


async def run(asker: Daemon, answerer: Daemon, person: Person, *, points: int, seed: int) -> Verdict:
    """Kill the answering daemon that many times, three of four at a commit. Neither was started yet."""
    chance = random.Random(seed)
    answerer.main = aimed.__name__
    await asyncio.gather(asker.start(), answerer.start())
    (answerer.state / "policy.toml").write_text(POLICY)
    await asyncio.gather(trusts(asker, answerer, "answerer"), trusts(answerer, asker, "asker"))
    room = await with_both(person, asker, answerer, encrypted=False)
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
    async with asyncio.timeout(PATIENCE):
        told = {token: await task for token, task in heard.items()}
    shown = await roommate(asker, "exec", "--peer", "answerer", "--", "cat", "/workspace/ran")
    assert shown.code == 0, shown.errors
    ran = Counter(shown.out.split())
    ends = await _ends(person, room, list(heard))
    return Verdict(
        points=points,
        asked=len(heard),
        results=sum(end == ["result"] for end in ends.values()),
        unknown=sum(end == ["unknown"] for end in ends.values()),
        busy=sum(end == ["busy"] for end in ends.values()),
        run_twice=[token for token in heard if ran[token] > 1],
        ends={token: end for token, end in ends.items() if len(end) != 1},
        untrue=[
            token
            for token, [end, *_] in ends.items()
            if told[token] != end or (end != "unknown" and ran[token] != (end == "result"))
        ],
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


async def main(points: int, seed: int) -> int:
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
                    verdict = await run(asker, answerer, person, points=points, seed=seed)
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
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    raise SystemExit(asyncio.run(main(arguments.points, arguments.seed)))
