"""Files that people send, with a real homeserver and real containers: where they lie, a full disk, and kills."""

import asyncio
import os
import random
import re
from collections import Counter

from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon, notice, run
from tests.scripted_model import ScriptedModel


async def test_a_file_is_the_rooms_own(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    content = os.urandom(3 << 20)
    sent = await alice.upload(room, "../data.bin", content, caption=run("ls -ln inbox; id -u; sha256sum inbox/*"))
    answer = await alice.answer_to(sent)
    mode, _, uid, *_ = next(line for line in answer.body.splitlines() if "data.bin" in line).split()
    assert mode.startswith("-rw-r--r--")
    assert f"\n{uid}\n" in answer.body, "it belongs to whoever runs commands there"


async def test_a_full_disk_is_told_and_can_be_mended(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model, WORKSPACE_QUOTA_MB="24"), await person("alice")
    room = await bot.room_with(alice)
    content = os.urandom(12 << 20)
    await alice.ask(room, run("head -c 10M /dev/zero >big"))
    await alice.upload(room, "lies.bin", content, caption="SAY never", info={})
    said = await notice(bot, alice, room, "lies.bin")
    assert "the room's disk is full" in said.body
    await alice.upload(room, "honest.bin", content, caption="SAY never")
    assert "this room's disk has" in (await notice(bot, alice, room, "honest.bin")).body
    await alice.ask(room, run("rm big"))
    await alice.react(room, said.event_id, "🔁")
    await alice.wait(lambda: any("never" in m.body for m in alice.finals(room)), what="the answer to the caption")
    listed = (await alice.ask(room, run("ls -A inbox"))).body
    assert "lies.bin" in listed
    assert ".part" not in listed
    assert "honest.bin" not in listed


async def test_files_come_in_exactly_once_whatever_is_killed(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    seed = int.from_bytes(os.urandom(3))
    chance = random.Random(seed)
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY warm")
    names: list[str] = []
    for _ in range(6):
        for _ in range(2):
            names.append(name := f"file{len(names):02d}.bin")
            content = name.encode() * chance.choice((1, 100_000))
            caption = f"SAY answer {name} END" if chance.random() < 0.5 else ""
            await alice.upload(room, name, content, caption=caption)
        await asyncio.sleep(chance.uniform(0, 0.6))
        await bot.kill9()
        await bot.spawn()
    await alice.say(room, run("echo all of it; ls -A inbox"))
    last = await alice.wait(lambda: next((m for m in alice.finals(room) if "all of it" in m.body), None))
    assert last is not None
    assert sorted(re.findall(r"\S+\.(?:bin|part)\S*", last.body)) == names, seed
    answers = Counter(name for m in alice.finals(room) for name in re.findall(r"answer (\S+) END", m.body))
    assert set(answers.values()) <= {1}, (seed, answers)
    prompts = {one.prompt for one in model.asked if "inbox/file" in one.prompt}
    told = Counter(name for prompt in prompts for name in re.findall(r"sent inbox/(\S+)", prompt))
    assert told == Counter(names), (seed, told)
    captioned = sum(any(f"answer {name} END" in prompt for prompt in prompts) for name in names)
    assert sum(answers.values()) == captioned, seed
