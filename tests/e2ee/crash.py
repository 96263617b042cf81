"""An encrypted conversation during which the daemon is killed with SIGKILL around its commits and its requests.

`python -m tests.e2ee.crash --points 100` runs it at length, on a homeserver of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from tests.e2e import aimed
from tests.e2ee import strict
from tests.e2ee.strict import StrictPerson
from tests.front import Front
from tests.harness import Daemon
from tests.nursery import Nursery
from tests.patience import PATIENCE
from tests.scripted_model import ScriptedModel

ANSWER = re.compile(r"answer (tok\d{4}) END")
REQUESTS = re.compile(r"/(sendToDevice|keys/\w+|send|sync)\b")


@dataclass(frozen=True, slots=True)
class Verdict:
    points: int
    messages: int
    lost: list[str]
    doubled: list[str]
    in_order: bool
    unreadable: int
    """Events of the bot that the person's client could not read."""
    unread: int
    """Notices of the bot that it could not read something."""

    @property
    def kept(self) -> bool:
        return not (self.lost or self.doubled or self.unreadable or self.unread) and self.in_order


async def run(daemon: Daemon, front: Front, person: StrictPerson, *, points: int, seed: int) -> Verdict:
    """Kill the daemon that many times: half of them at a commit, half of them around a request. It reaches its
    homeserver through `front`, and was not started yet."""
    chance = random.Random(seed)
    daemon.main = aimed.__name__
    await daemon.start()
    room = await person.room_with(daemon.user_id)
    await person.say(room, "SAY warm")
    await person.answer(room, "warm")
    sent: list[str] = []

    def answers() -> list[str]:
        found = {one.message: match[1] for one in person.finals(room) if (match := ANSWER.search(one.body))}
        return list(found.values())

    for point in range(points):
        left = chance.randint(1, 14)
        if point % 2:
            coming = daemon.cwd / "aim.coming"
            coming.write_text(str(left))
            coming.replace(daemon.cwd / aimed.AIM)
        else:
            _kill_at_request(front, daemon, left // 2 + 1, before=chance.random() < 0.5)
        for _ in range(chance.randint(1, 2)):
            token = f"tok{len(sent):04d}"
            sent.append(token)
            await person.say(room, f"DELAY 0.1\nSAY answer {token} END")
            if chance.random() < 0.3:
                await person.do("discardSession", room=room)
        async with asyncio.timeout(PATIENCE):
            while daemon.running and len(set(answers())) < len(sent):
                await asyncio.sleep(0.02)
        front.before = front.after = None
        await daemon.kill9()
        (daemon.cwd / aimed.AIM).unlink(missing_ok=True)
        await daemon.spawn()
    for token in sent:
        await person.answer(room, f"answer {token} END")
    await person.say(room, "SAY all over")
    await person.answer(room, "all over")
    got = answers()
    return Verdict(
        points=points,
        messages=len(sent),
        lost=[token for token in sent if token not in got],
        doubled=[token for token in sent if got.count(token) > 1],
        in_order=got == sorted(got),
        unreadable=len(person.failures(room)),
        unread=sum("cannot read" in one.body for one in person.messages(room)),
    )


def _kill_at_request(front: Front, daemon: Daemon, left: int, *, before: bool) -> None:
    count = left

    async def hit(request: web.Request) -> None:
        nonlocal count
        if REQUESTS.search(request.path) and daemon.running:
            count -= 1
            if count == 0:
                await daemon.kill9()

    if before:

        async def first(request: web.Request) -> None:
            await hit(request)

        front.before = first
    else:
        front.after = lambda request, _: hit(request)


async def main(points: int, seed: int) -> int:
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        synapse = Synapse(Path(folder), limits="open")
        await synapse.start()
        try:
            async with ScriptedModel() as model, strict.started() as node, Front(synapse.url) as front:
                bot, ann = [await synapse.register(name, "secret") for name in ("bot", "ann")]
                settings = {"LLM_MODEL": "openai/scripted", "LLM_API_BASE": model.url, "LLM_API_KEY": "scripted"}
                daemon = Daemon(front.url, bot.user_id, "secret", settings, nursery=await Nursery.shared())
                try:
                    person = await strict.person(node, synapse.url, ann.user_id, "secret")
                    verdict = await run(daemon, front, person, points=points, seed=seed)
                finally:
                    await daemon.discard()
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
    print(f"seed {arguments.seed}")
    raise SystemExit(asyncio.run(main(arguments.points, arguments.seed)))
