"""A long conversation in an encrypted room: keys change every few messages, its person writes from two devices, and the
bot is restarted and killed while messages wait.

`python -m tests.e2ee.long --messages 1000` runs it at length, on a homeserver of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.e2ee import strict
from tests.e2ee.strict import Node, StrictPerson
from tests.harness import Daemon
from tests.nursery import Nursery
from tests.scripted_model import ScriptedModel

ANSWER = re.compile(r"^answer (\d+) END")
ROTATION = 20
AHEAD = 10
"""Messages that wait for their answers at a time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    messages: int
    lost: int
    doubled: int
    disordered: list[int]
    """Those that stand behind the answer to a later message."""
    unreadable: int
    """Events of the bot that one of the two devices could not read."""
    unread: int
    """Notices of the bot that it could not read something."""
    keys: int
    """Sessions that the bot wrote with."""
    rotation: int
    """After how many messages each writer takes another key."""
    restarts: int

    @property
    def kept(self) -> bool:
        clean = not (self.lost or self.doubled or self.unreadable or self.unread)
        return clean and not self.disordered and self.keys >= self.messages // self.rotation


class Answers:
    """What each of the two devices has read: the number that each message of the bot ends with."""

    def __init__(self, node: Node, room: str) -> None:
        self._node, self._room = node, room
        self._read = 0
        self._of: dict[str, dict[str, int]] = {}
        self._finals: dict[int, str] = {}

    def seen(self, person: StrictPerson) -> Counter[int]:
        fresh, self._read = self._node.seen[self._read :], len(self._node.seen)
        for one in fresh:
            if (
                one.room_id == self._room
                and one.shown.get("msgtype") == "m.text"
                and (match := ANSWER.search(one.body))
            ):
                self._of.setdefault(one.person, {})[one.message] = int(match[1])
                self._finals.setdefault(int(match[1]), one.event_id)
        return Counter(self._of.get(person.name, {}).values())

    def disordered(self, timeline: Sequence[str]) -> list[int]:
        at = {event: place for place, event in enumerate(timeline)}
        places = [at.get(event, -1) for _, event in sorted(self._finals.items())]
        return [number for number in range(1, len(places)) if places[number] < max(places[:number])]


async def run(
    daemon: Daemon,
    ann: StrictPerson,
    phone: StrictPerson,
    *,
    messages: int,
    rotation: int = ROTATION,
    restarts: int = 0,
) -> Verdict:
    """Each message is answered with its number; `phone` is another device of the same person. Every second restart is a
    SIGKILL."""
    room = str(await ann.do("createRoom", invite=[daemon.user_id], rotation=rotation))
    await ann.do("waitFor", room=room, user=daemon.user_id)
    await phone.do("waitFor", room=room, user=daemon.user_id)
    answers = Answers(ann.node, room)
    killed = False
    for number in range(messages):
        await (ann, phone)[number % 2].say(room, f"SAY answer {number} END")
        if number >= AHEAD:
            await ann.node.wait(lambda: answers.seen(ann)[number - AHEAD], f"answer {number - AHEAD}")  # noqa: B023
        if number * (restarts + 1) // messages < (number + 1) * (restarts + 1) // messages and number + 1 < messages:
            await (daemon.kill9() if killed else daemon.term())
            killed = not killed
            await daemon.start()
            print(f"{number + 1} messages", file=sys.stderr)
    for person in (ann, phone):
        await ann.node.wait(lambda: len(answers.seen(person)) == messages, f"all answers for {person.name}")  # noqa: B023
    seen = [answers.seen(person) for person in (ann, phone)]
    sessions = {str(one.wire["session_id"]) for one in ann.messages(room) if one.sender == daemon.user_id}
    return Verdict(
        messages,
        lost=sum(messages - len(one) for one in seen),
        doubled=sum(count - 1 for one in seen for count in one.values()),
        disordered=answers.disordered(await ann.do("timeline", room=room)),
        unreadable=sum(one.sender == daemon.user_id for person in (ann, phone) for one in person.failures(room)),
        unread=sum("cannot read" in one.body for one in ann.messages(room)),
        keys=len(sessions),
        rotation=rotation,
        restarts=restarts,
    )


async def two_devices(node: Node, url: str, user: str, password: str) -> tuple[StrictPerson, StrictPerson]:
    """Of one person: the first one signs, and the second is verified by nobody."""
    ann = await strict.person(node, url, user, password)
    return ann, await strict.person(node, url, user, password, called="phone", strict=False, crossSign=False)


async def main(messages: int, restarts: int) -> int:
    with tempfile.TemporaryDirectory(prefix="long-") as folder:
        synapse = Synapse(Path(folder), limits="open")
        await synapse.start()
        began = time.monotonic()
        try:
            async with ScriptedModel() as model, strict.started() as node:
                bot, ann = [await synapse.register(name, "secret") for name in ("bot", "ann")]
                settings = {
                    "LLM_MODEL": "openai/scripted",
                    "LLM_API_BASE": model.url,
                    "LLM_API_KEY": "scripted",
                    "SAME_PROMPT_SECONDS": "0",
                    "LOOP_LIMIT": "0",
                }
                daemon = Daemon(synapse.url, bot.user_id, "secret", settings, nursery=await Nursery.shared())
                try:
                    await daemon.start()
                    both = await two_devices(node, synapse.url, ann.user_id, "secret")
                    verdict = await run(daemon, *both, messages=messages, restarts=restarts)
                finally:
                    await daemon.discard()
        finally:
            await Nursery.close_shared()
            await synapse.stop()
    print(verdict, f"in {time.monotonic() - began:.0f} s")
    return 0 if verdict.kept else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000)
    parser.add_argument("--restarts", type=int, default=10)
    arguments = parser.parse_args()
    raise SystemExit(asyncio.run(main(arguments.messages, arguments.restarts)))
