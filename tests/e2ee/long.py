"""A long conversation in an encrypted room: keys change every few messages, and both sides have a second device.

`python -m tests.e2ee.long --messages 1000` runs it at length, on a homeserver of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.e2ee import strict
from tests.e2ee.strict import Node, StrictPerson
from tests.harness import Daemon
from tests.nursery import Nursery
from tests.patience import PATIENCE
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
    in_order: bool
    unreadable: int
    """Events of the bot that one of the two devices could not read."""
    unread: int
    """Notices of the bot that it could not read something."""
    keys: int
    """Sessions that the bot wrote with."""

    @property
    def kept(self) -> bool:
        clean = not (self.lost or self.doubled or self.unreadable or self.unread)
        return clean and self.in_order and self.keys >= self.messages // ROTATION


async def run(daemon: Daemon, ann: StrictPerson, phone: StrictPerson, *, messages: int) -> Verdict:
    """Each message is answered with its number; `phone` is another device of the same person."""
    room = str(await ann.do("createRoom", invite=[daemon.user_id], rotation=ROTATION))
    await ann.do("waitFor", room=room, user=daemon.user_id)
    await phone.do("waitFor", room=room, user=daemon.user_id)

    def answered(person: StrictPerson) -> Counter[int]:
        found = {one.message: int(match[1]) for one in person.finals(room) if (match := ANSWER.search(one.body))}
        return Counter(found.values())

    for number in range(messages):
        await (ann, phone)[number % 2].say(room, f"SAY answer {number} END")
        if number >= AHEAD:
            await ann.answer(room, f"answer {number - AHEAD} END")
    for person in (ann, phone):
        await person.answer(room, f"answer {messages - 1} END")
        async with asyncio.timeout(PATIENCE):
            while len(answered(person)) < messages:
                await asyncio.sleep(0.1)
    seen = [answered(person) for person in (ann, phone)]
    sessions = {str(one.wire["session_id"]) for one in ann.messages(room) if one.sender == daemon.user_id}
    return Verdict(
        messages,
        lost=sum(messages - len(one) for one in seen),
        doubled=sum(count - 1 for one in seen for count in one.values()),
        in_order=all(list(one) == sorted(one) for one in seen),
        unreadable=sum(one.sender == daemon.user_id for person in (ann, phone) for one in person.failures(room)),
        unread=sum("cannot read" in one.body for one in ann.messages(room)),
        keys=len(sessions),
    )


async def two_devices(node: Node, url: str, user: str, password: str) -> tuple[StrictPerson, StrictPerson]:
    """Of one person: the first one signs, and the second is verified by nobody."""
    ann = await strict.person(node, url, user, password)
    return ann, await strict.person(node, url, user, password, called="phone", strict=False, crossSign=False)


async def main(messages: int) -> int:
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
                    verdict = await run(daemon, *both, messages=messages)
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
    raise SystemExit(asyncio.run(main(parser.parse_args().messages)))
