"""The daemon's own cost: how long it takes to be ready and to answer what waited, and its memory."""

from __future__ import annotations

import asyncio
import time

from bench.stage import Figure, Stage, figure

MIB = 1 << 20
ROOMS = 20


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    daemon = await stage.daemon(scripted=False)  # its first start logs in and learns about Podman
    room = await daemon.room_with(stage.person)
    await stage.person.ask(room, "run: true", 60)
    starts = []
    for _ in range(max(3, rounds // 8)):
        await daemon.term()
        began = time.monotonic()
        await daemon.start()
        starts.append(time.monotonic() - began)
    before = daemon.rss() / MIB
    library = await stage.daemon(LLM_WIRE="litellm")
    await library.wait_for_log("the model is looked up", 60)
    await stage.person.ask(await library.room_with(stage.person), "SAY warm", 60)
    with_library = library.rss() / MIB
    await library.term()
    loaded = await stage.daemon()
    room = await loaded.room_with(stage.person)
    await stage.person.ask(room, "SAY warm", 60)
    firsts = []
    for _ in range(max(3, rounds // 8)):
        await loaded.term()
        asked = await stage.person.say(room, "SAY said while it was away")
        began = time.monotonic()
        starting = asyncio.create_task(loaded.start())
        await stage.person.answer_to(asked)
        firsts.append(time.monotonic() - began)
        await starting
    await loaded.term()
    await loaded.start()
    await loaded.wait_for_log("the model is looked up", 60)
    rooms = [await loaded.room_with(stage.person) for _ in range(ROOMS)]
    await stage.person.ask(rooms[0], "SAY warm", 60)
    await asyncio.sleep(1)
    after = loaded.rss() / MIB
    for room in rooms:
        await stage.person.ask(room, 'TOOL run_command {"command": "true"}\n---\nSAY warm', 60)
    each = (loaded.rss() / MIB - after) / ROOMS
    return [
        figure("start to ready", starts, goal=2000),
        figure("start to the answer to what was said before it", firsts, goal=1000),
        figure("memory without a model", [before], "MiB", goal=120),
        figure("memory with a model", [after], "MiB", goal=110),
        figure("memory with a model through LiteLLM", [with_library], "MiB", goal=220),
        figure("memory of the daemon for one more room", [each], "MiB"),
    ]
