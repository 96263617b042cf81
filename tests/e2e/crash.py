"""Conversations during which the daemon is killed with SIGKILL at random points; at the end everything must be there.

They are the main timeline of a room and two threads, which run side by side. Lines are said to turns that run, and some
turns ask a question, which is answered as soon as its card is seen.

`python -m tests.e2e.crash --points 200` runs it at length, on a homeserver of its own; with `--limited` that one has
Synapse's default limits for the bot.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.harness import Daemon
from tests.patience import PATIENCE
from tests.person import Person
from tests.scripted_model import Action, Asked, Call, ScriptedModel, Text, from_chat

BURST = 10
"""Most messages that wait at the same time."""
LIMITED_PATIENCE = 5 * PATIENCE
"""Seconds in which those have their answers where an account may send twelve events a minute."""

ANSWER = re.compile(r"answer (tok\d{4}) END")
HEARD = re.compile(r"heard((?: lin\d{4})+)")
LINE = re.compile(r"line (lin\d{4})")
CARD = re.compile(r"Is it (tok\d{4})\?")
TRACE = re.compile(r"tok\d{4}-\d")
SHOW_TRACE = 'TOOL run_command {"command": "cat trace.txt"}\n---\nECHO'


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the messages; all three lists are empty when the promise was kept."""

    points: int
    messages: int
    lost: list[str]
    doubled: list[str]
    run_twice: list[str]
    in_order: bool
    """In each of the conversations."""
    unknown: int
    """Calls whose result the crash took: the model was told so, and they were not run again."""

    def __str__(self) -> str:
        return (
            f"{self.points} kills, {self.messages} messages: {len(self.lost)} lost, {len(self.doubled)} doubled, "
            f"{len(self.run_twice)} commands run twice, {'in order' if self.in_order else 'OUT OF ORDER'}, "
            f"{self.unknown} results unknown"
        )


def script(token: str) -> str:
    """Two rounds of tools that leave a trace each, then an answer."""
    trace = 'TOOL run_command {"command": "echo %s-%d >> trace.txt; sleep 0.05"}'
    return "\n".join((trace % (token, 1), "---", "SAY next", trace % (token, 2), "---", f"SAY answer {token} END"))


def question(token: str) -> str:
    """A round that asks, then an answer with what was answered."""
    return f'TOOL ask_person {{"question": "Is it {token}?"}}\n---\nECHO\nSAY answer {token} END'


def hearing(asked: Asked) -> Iterable[Action]:
    """As the script in the chat says; and in the end all lines that were said to the turn."""
    lines: list[str] = []
    rest = []
    for message in asked.messages:
        text = message.get("content") or ""
        if message["role"] == "user" and (said := LINE.findall(text)):
            lines += said
            if script := LINE.sub("", text).strip():  # what was said before the model was first asked
                rest.append({**message, "content": script})
        elif message["role"] != "assistant" or not text.startswith("(I am at work."):
            if message["role"] == "assistant" and not message.get("tool_calls"):
                lines = []  # that turn has ended, and told of them
            rest.append(message)
    heard = Text(" heard " + " ".join(lines))
    if rest[-1]["role"] in ("assistant", "system"):  # nothing ran: a line was the prompt
        return [heard]
    actions = list(from_chat(replace(asked, body={**asked.body, "messages": rest})))
    return [*actions, heard] if lines and not any(isinstance(one, Call) for one in actions) else actions


async def answering(person: Person, room: str) -> None:
    """Answer each question once, as soon as it is seen; for ever."""
    done: set[str] = set()
    while True:
        for card in person.messages(room):
            if card.is_card and card.event_id not in done and (token := CARD.search(card.body)):
                done.add(card.event_id)
                await person.say(room, f"yes {token[1]}", reply_to=card.event_id, thread=card.thread)
        await asyncio.sleep(0.02)


async def run(
    daemon: Daemon,
    person: Person,
    model: ScriptedModel,
    *,
    points: int,
    seed: int,
    burst: int = 0,
    patience: float = PATIENCE,
    quiet: bool = True,
) -> Verdict:
    """Kill the daemon at `points` random moments; gives what became of the messages. `daemon` runs already.

    With a `burst` so many messages are sent at once first, and no others. `patience` is in seconds, for one answer.
    """
    room, rules = await daemon.room_with(person), model.rules
    model.rules = hearing
    answers = asyncio.create_task(answering(person, room))
    try:
        return await _run(daemon, person, model, room, points, random.Random(seed), burst, patience, quiet=quiet)
    finally:
        answers.cancel()
        model.rules = rules


async def _run(
    daemon: Daemon,
    person: Person,
    model: ScriptedModel,
    room: str,
    points: int,
    chance: random.Random,
    burst: int,
    patience: float,
    *,
    quiet: bool,
) -> Verdict:
    await person.ask(room, script("warm"), patience)
    places = [None, *[await person.say(room, "about this", msgtype="m.notice") for _ in range(2)]]
    sent: dict[str, str] = {}
    asking: dict[str | None, str] = {}
    lines: list[str] = []
    for _ in range(burst):
        token = f"tok{len(sent):04d}"
        sent[token] = await person.say(room, script(token), thread=chance.choice(places))
    asked = len(model.asked)
    for point in range(points):
        open_tokens = len(sent) - len(_answers(person, room))
        more = chance.randint(0 if open_tokens else 1, max(1, min(3, BURST - open_tokens)))
        for _ in range(0 if burst else more):
            token = f"tok{len(sent):04d}"
            asks, place = chance.random() < 0.25, chance.choice(places)
            if before := asking.pop(place, None):  # what is said where a question is open is the answer to it
                await _wait_for(before, lambda: _answers(person, room), person, patience)
            if asks:
                asking[place] = token
            sent[token] = await person.say(room, question(token) if asks else script(token), thread=place)
            await asyncio.sleep(chance.choice((0, 0, 0.02)))
        if not burst and chance.random() < 0.6:
            lines.append(f"lin{len(lines):04d}")
            await person.say(room, f"!steer line {lines[-1]}", thread=chance.choice(places))
        # Some kills hit the start, or a quiet moment; most hit a running turn: the model was asked since that start.
        if chance.random() < 0.75:
            async with asyncio.timeout(patience):
                while len(model.asked) == asked and len(_answers(person, room)) < len(sent):
                    await asyncio.sleep(0.005)
            await asyncio.sleep(chance.uniform(0, 0.25))
        else:
            await asyncio.sleep(chance.uniform(0, 1.5))
        await daemon.kill9()
        asked = len(model.asked)
        await daemon.spawn()
        if not quiet:
            print(f"\r{point + 1}/{points} kills, {len(sent)} messages", end="", flush=True)
    for token in sent:
        await _wait_for(token, lambda: _answers(person, room), person, patience)
    for line in lines:
        await _wait_for(line, lambda: _heard(person, room), person, patience)
    trace = Counter(TRACE.findall((await person.ask(room, SHOW_TRACE, patience)).body))
    answers = [_answers(person, room, place) for place in places]
    cards = Counter(token for m in person.messages(room) if m.is_card for token in CARD.findall(m.body))
    answered = Counter(re.findall(r"answers: yes (tok\d{4})", "\n".join(m.body for m in person.finals(room))))
    counts = Counter(token for place in answers for token in place) + Counter(_heard(person, room))
    return Verdict(
        points=points,
        messages=len(sent),
        lost=[*(one for one in (*sent, *lines) if one not in counts), *(one for one in cards if one not in answered)],
        doubled=[one for count in (counts, cards, answered) for one in count if count[one] > 1],
        run_twice=[line for line, count in trace.items() if count > 1],
        in_order=all(place == sorted(place) for place in answers),
        unknown=sum(message.html.count("the daemon restarted while this ran") for message in person.finals(room)),
    )


async def _wait_for(one: str, seen: Callable[[], list[str]], person: Person, patience: float) -> None:
    await person.wait(lambda: one in seen(), patience, f"what comes of {one}")


def _answers(person: Person, room: str, *places: str | None) -> list[str]:
    """Of the whole room, or of one conversation in it."""
    finals = [message for message in person.finals(room) if not places or message.thread in places]
    return [token for message in finals for token in ANSWER.findall(message.body)]


def _heard(person: Person, room: str) -> list[str]:
    return [line for message in person.finals(room) for found in HEARD.findall(message.body) for line in found.split()]


async def main(points: int, seed: int, *, limited: bool) -> int:
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        synapse = Synapse(Path(folder), limits="default" if limited else "open")
        await synapse.start()
        try:
            async with ScriptedModel() as model:
                bot = await synapse.register("bot", "secret")
                alice = await synapse.register("alice", "secret")
                await synapse.lift_limit(alice.user_id)
                settings = {"LLM_MODEL": "openai/scripted", "LLM_API_BASE": model.url, "LLM_API_KEY": "scripted"}
                daemon = Daemon(synapse.url, bot.user_id, "secret", settings)
                try:
                    await daemon.start()
                    async with await Person.at(synapse.url, alice.user_id, "secret") as person:
                        verdict = await run(
                            daemon,
                            person,
                            model,
                            points=points,
                            seed=seed,
                            patience=LIMITED_PATIENCE if limited else PATIENCE,
                            quiet=False,
                        )
                finally:
                    await daemon.discard()
        finally:
            await synapse.stop()
    print(f"\n{verdict}")
    return 0 if not (verdict.lost or verdict.doubled or verdict.run_twice) and verdict.in_order else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=200, help="how often the daemon is killed")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="of the random moments")
    parser.add_argument("--limited", action="store_true", help="with Synapse's default limits on what the bot sends")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}")
    raise SystemExit(asyncio.run(main(arguments.points, arguments.seed, limited=arguments.limited)))
