"""Busy rooms under Synapse's default limits: how often a live message is edited, how old what it shows gets, and how
soon another room is answered meanwhile. And many conversations at once, without a limit."""

from __future__ import annotations

import asyncio
import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import aiohttp

from bench.stage import PASSWORD, Figure, Stage, figure
from roommate.demo.embedded_synapse import Synapse
from tests.harness import Daemon
from tests.person import Person, Shown

TICK = 0.5
"""Seconds between two words that a model streams."""
SETTLING, WATCHED = 30, 60
"""Seconds until the burst that is allowed is used up; and of the time that is looked at."""
QUIET = 6
"""Messages in a quiet room meanwhile."""
SEEN = re.compile(r"\bn(\d+)\b")


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        limited = Synapse(Path(folder))
        await limited.start()
        try:
            account = await limited.register("person", PASSWORD)
            await limited.lift_limit(account.user_id)
            async with await Person.at(limited.url, account.user_id, PASSWORD) as person:
                there = replace(stage, synapse=limited, person=person)
                admin = (await limited.register("admin", PASSWORD, admin=True)).access_token
                found = [await _busy(there, admin, rooms) for rooms in (1, 5, 20)]
        finally:
            await limited.stop()
    return [*(one for figures in found for one in figures), await _conversations_at_once(stage)]


async def _busy(stage: Stage, admin: str, rooms: int) -> list[Figure]:
    """With models that stream in so many rooms at once, and somebody who speaks in one more."""
    stage.daemons = []
    person, daemon = stage.person, await stage.daemon()
    try:
        await stage.synapse.lift_limit(daemon.user_id)
        quiet, *busy = [await daemon.room_with(person) for _ in range(rooms + 1)]
        for room in (quiet, *busy):
            await person.ask(room, "SAY warm", 120)
        await _limit(stage.synapse.url, admin, daemon.user_id)
        ticks = round((SETTLING + WATCHED + 60) / TICK)
        words = "\n".join(f"SAY n{number}\nDELAY {TICK}" for number in range(ticks))
        for number, room in enumerate(busy):
            await person.say(room, f"room {number} of {rooms}\n{words}")
        await asyncio.sleep(SETTLING)
        began = time.monotonic()
        signs, answers = [], []
        for number in range(QUIET):
            await asyncio.sleep(max(0.0, began + number * WATCHED / QUIET - time.monotonic()))
            sign, answer = await _spoken_to(person, daemon, quiet)
            signs.append(sign)
            answers.append(answer)
        await asyncio.sleep(max(0.0, began + WATCHED - time.monotonic()))
        ended = time.monotonic()
        edits, ages = [], list[float]()
        for number, room in enumerate(busy):
            asked = next(one for one in stage.model.asked if one.prompt.startswith(f"room {number} of {rooms}\n"))
            assert asked.first_byte_at is not None
            shown = _shown(person, room, daemon.user_id)
            edits.append(60 * sum(began < at <= ended for at, _ in shown) / (ended - began))
            ages += _ages(shown, asked.first_byte_at, began, ended)
        beside = f"{rooms} busy room{'s' if rooms > 1 else ''}"
        return [
            figure(f"edits of a live message a minute, {beside}", edits, "/ min"),
            figure(f"edits a minute of all, {beside}", [sum(edits)], "/ min"),
            figure(f"how old the oldest text is that is not shown, {beside}", ages, "s"),
            figure(f"first sign in a quiet room, {beside}", signs),
            figure(f"answer in a quiet room, {beside}", answers, "s"),
        ]
    finally:
        await daemon.discard()
        stage.daemons = []


async def _spoken_to(person: Person, daemon: Daemon, room: str) -> tuple[float, float]:
    """Seconds from sending to the bot being seen typing, and to its answer."""
    seen, began = len(person.typing_log), time.monotonic()
    asked = await person.say(room, "DELAY 0.3\nSAY hello")
    signs = await person.wait(
        lambda: [at for at, where, who in person.typing_log[seen:] if where == room and daemon.user_id in who],
        what="typing",
    )
    answer = await person.answer_to(asked)
    return signs[0] - began, answer.changed_at - began


async def _limit(url: str, admin: str, user: str) -> None:
    """Give an account Synapse's default limit back."""
    path = f"{url}/_synapse/admin/v1/users/{quote(user)}/override_ratelimit"
    async with aiohttp.ClientSession() as http, http.delete(path, headers={"Authorization": f"Bearer {admin}"}) as said:
        said.raise_for_status()


def _shown(person: Person, room: str, bot: str) -> list[tuple[float, int]]:
    """When which word was the newest that people saw there, in order."""
    seen = [one for one in person.seen if (one.room_id, one.sender) == (room, bot)]
    # Of an edit what takes the message's place: its own text, for clients that know no edits, is cut.
    looks = [(one.at, one.content.get("m.new_content", one.content)) for one in seen]
    found = [(at, SEEN.findall(str(look.get("body")))) for at, look in looks]
    return [(at, int(words[-1])) for at, words in found if words]


def _ages(shown: list[tuple[float, int]], first: float, began: float, ended: float) -> list[float]:
    """Every half second: since when there has been a word that is not shown. The `first` was said then, and one more
    each TICK."""
    ages, moment = [], began
    while moment < ended:
        newest = max((word for at, word in shown if at <= moment), default=-1)
        ages.append(max(0.0, moment - (first + (newest + 1) * TICK)))
        moment += TICK
    return ages


async def _conversations_at_once(stage: Stage) -> Figure:
    """Fifty: the main timeline and the threads of thirteen rooms, a turn with a tool in each."""
    person, daemon = stage.person, await stage.daemon()
    rooms = await asyncio.gather(*(stage.warm_room(daemon) for _ in range(13)))
    places: list[tuple[str, str | None]] = []
    for room in rooms:
        threads = [await person.say(room, "about this", msgtype="m.notice") for _ in range(3)]
        places += [(room, None), *((room, thread) for thread in threads)]
    script = 'TOOL run_command {"command": "sleep 0.5"}\n---\nSAY end'
    began = time.monotonic()

    async def turn(room: str, thread: str | None) -> float:
        await person.say(room, script, thread=thread)

        def over() -> Shown | None:
            finals = (m for m in person.finals(room) if m.thread == thread and m.body.startswith("end"))
            return next(finals, None)

        answer = await person.wait(over, 120, "the answer")
        assert answer is not None
        return answer.changed_at - began

    samples = await asyncio.gather(*(turn(*place) for place in places[:50]))
    return figure("50 conversations at once, a tool of 0.5 s in each", samples)
