"""Turns as a person sees them: from the request that sends the message to the event that a sync brings."""

from __future__ import annotations

import asyncio
import time

from bench.stage import Figure, Stage, beside, figure
from tests.harness import Daemon
from tests.person import Person

TRUE = 'TOOL run_command {"command": "true"}'


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    daemon = await stage.daemon()
    room = await stage.warm_room(daemon)
    figures = await _plain(stage, room, rounds)
    figures.append(await _first_sign(stage.person, daemon, room, rounds))
    figures.append(await _stream(stage, room, max(5, rounds // 4)))
    figures += await _tool_steps(stage.person, await stage.warm_room(daemon), max(3, rounds // 8))
    figures.append(await _parallel(stage.person, room))
    figures.append(await _cold(stage.person, daemon, max(3, rounds // 8)))
    figures.append(await _rooms_at_once(stage.person, daemon))
    return figures


async def _asked(person: Person, room: str, text: str) -> float:
    """Seconds from sending to the arrival of the answer."""
    began = time.monotonic()
    answer = await person.ask(room, text, 60)
    return answer.changed_at - began


async def _plain(stage: Stage, room: str, rounds: int) -> list[Figure]:
    ours, echo = [], []
    async with stage.echo_bot() as echo_room:
        for _ in range(rounds):
            ours.append(await _asked(stage.person, room, "SAY hello"))
            echo.append(await _asked(stage.person, echo_room, "hello"))
            await asyncio.sleep(0.02)
    baseline, turn = figure("echo bot", echo), figure("plain turn", ours)
    return [baseline, beside(turn, baseline, most=1.3)]


async def _first_sign(person: Person, daemon: Daemon, room: str, rounds: int) -> Figure:
    """The first thing a person sees: typing, or a message."""
    samples = []
    for _ in range(rounds):
        await person.wait(lambda: daemon.user_id not in person.typing.get(room, ()), what="no typing")
        seen, began = len(person.typing_log), time.monotonic()
        asked = await person.say(room, "DELAY 0.3\nSAY hello")
        await person.wait(
            lambda seen=seen: any(daemon.user_id in who for _, _, who in person.typing_log[seen:]),  # type: ignore[misc]
            what="typing",
        )
        samples.append(next(at for at, _, who in person.typing_log[seen:] if daemon.user_id in who) - began)
        await person.answer_to(asked)
    return figure("first sign", samples, goal=60)


async def _stream(stage: Stage, room: str, rounds: int) -> Figure:
    """From the model's first token to the text in the room."""
    samples = []
    for number in range(rounds):
        word = f"token{number}"
        asked = await stage.person.say(room, f"DELAY 0.2\nSAY {word}\nDELAY 0.8\nSAY end")
        shown = await stage.person.wait(
            lambda word=word: next(  # type: ignore[misc]
                (seen.at for seen in stage.person.seen if seen.room_id == room and seen.sender != stage.person.user_id
                 and word in str(seen.content)), None
            ),
            what=word,
        )  # fmt: skip
        first = stage.model.asked[-1].first_byte_at
        assert first is not None
        assert shown is not None
        samples.append(shown - first)
        await stage.person.answer_to(asked)
    return figure("first streamed text after the model's first token", samples, goal=150)


async def _tool_steps(person: Person, room: str, rounds: int) -> list[Figure]:
    """What one more step (model call, tool call, two commits) adds to a turn that shows a live message."""

    async def turn(steps: int) -> float:
        # Each another one: a turn that does the same again and again is stopped.
        calls = [f'TOOL run_command {{"command": "true {number}"}}' for number in range(steps)]
        return await _asked(person, room, "\n---\n".join(calls) + "\n---\nSAY end")

    samples = [(await turn(24) - await turn(8)) / 16 for _ in range(rounds)]
    return [figure("tool step of a turn", samples, goal=10)]


async def _parallel(person: Person, room: str) -> Figure:
    calls = "\n".join(['TOOL run_command {"command": "sleep 0.5"}'] * 20)
    samples = [await _asked(person, room, f"{calls}\n---\nSAY end") for _ in range(3)]
    return figure("20 parallel `sleep 0.5`", samples, goal=800)


async def _cold(person: Person, daemon: Daemon, rounds: int) -> Figure:
    """The first tool result of a room that has no container yet."""
    samples = []
    for _ in range(rounds):
        room = await daemon.room_with(person)
        await asyncio.sleep(0.3)
        samples.append(await _asked(person, room, f"{TRUE}\n---\nECHO"))
    return figure("cold room to its first tool result", samples, goal=700)


async def _rooms_at_once(person: Person, daemon: Daemon) -> Figure:
    rooms = [await daemon.room_with(person) for _ in range(20)]
    for room in rooms:
        await person.ask(room, f"{TRUE}\n---\nSAY warm", 60)
    began = time.monotonic()
    await asyncio.gather(*(person.ask(room, f"{TRUE}\n---\nSAY end", 60) for room in rooms))
    return figure("20 rooms at once, a turn with a tool each", [time.monotonic() - began])
