"""A day of work, with a real homeserver and a real container: some fifty messages, files, cards, threads and taps, and
a kill -9 in the middle. Each is answered once, and in order in its conversation."""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial

from tests.conftest import MakeDaemon, MakePerson
from tests.fast.test_ask_person import card, over
from tests.fast.test_threads import waits
from tests.harness import Daemon, command, notice, tool
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel
from tests.tools.test_showing import png

TOKEN = re.compile(r"answer (t\d\d) END")


@dataclass
class Day:
    """What alice says in her room, and what is said to it."""

    bot: Daemon
    alice: Person
    room: str
    asked: dict[str | None, list[str]] = field(default_factory=lambda: defaultdict(list))
    """By thread, the tokens that are to be answered there."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def task(self, *rounds: str, thread: str | None = None) -> str:
        self.asked[thread].append(token := f"t{next(self._numbers):02}")
        return "\n---\n".join([*rounds, f"ECHO\nSAY answer {token} END"])

    async def say(self, *rounds: str, thread: str | None = None, reply_to: str | None = None) -> str:
        return await self.alice.say(self.room, self.task(*rounds, thread=thread), thread=thread, reply_to=reply_to)

    async def upload(self, name: str, content: bytes, kind: str, *rounds: str) -> str:
        return await self.alice.upload(self.room, name, content, kind, caption=self.task(*rounds))

    def answered(self, thread: str | None) -> list[str]:
        finals = [m for m in self.alice.finals(self.room) if m.thread == thread]
        return [token for m in finals for token in TOKEN.findall(m.body)]

    async def settled(self) -> None:
        """All is answered; and as it was asked."""
        for thread, asked in self.asked.items():
            await self.alice.wait(partial(self._all_of, thread, asked), what=f"{asked}")
            assert self.answered(thread) == asked

    def _all_of(self, thread: str | None, asked: list[str]) -> bool:
        return len(self.answered(thread)) >= len(asked)

    async def live(self, words: str) -> Shown:
        """The message of a turn that runs, with these words."""

        def look() -> Shown | None:
            said = self.bot.said(self.alice, self.room)
            return next((m for m in said if words in m.body and m.msgtype == "m.notice"), None)

        found = await self.alice.wait(look, what=words)
        assert found is not None
        return found


async def test_a_day(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room = await bot.room_with(alice)
    day = Day(bot, alice, room)

    # Morning: quick questions, and files.
    for _ in range(5):
        await day.say()
    notes = await alice.upload(room, "notes.txt", b"bread", "text/plain")
    await alice.wait(lambda: (bot.user_id, "📎") in alice.reactions(room, notes), what="📎")
    data = await day.upload(
        "data.csv", b"1,2,3", "text/csv", tool("run_command", command="cat inbox/data.csv inbox/notes.txt")
    )
    await day.upload("shot.png", png(40, 30), "image/png")
    await day.settled()
    [told] = {one.prompt for one in model.asked if "inbox/notes.txt" in one.prompt}
    assert "inbox/data.csv" in told
    assert (await alice.answer_to(data)).body.startswith("1,2,3bread")

    # A plan, which is carried out.
    await alice.say(room, f"!plan {day.task(tool('list_files'))}")
    plan = await card(bot, alice, room)
    await alice.react(room, plan.event_id, "👍")
    assert (await over(bot, alice, room, plan)).startswith("✅")
    await alice.wait(lambda: any("echo: Carry out the plan." in m.body for m in alice.finals(room)), what="the work")

    # Long work: what is done, a question, a word in between, and what waits behind it.
    first = tool("todo", items=["[x] look", "[>] mend", "[ ] test"])
    asks = tool("ask_person", question="Which way?", choices=["left", "right"])
    await day.say(first, asks, tool("run_command", command="until [ -e go ]; do sleep 0.05; done"))
    token = day.asked[None][-1]
    question = await card(bot, alice, room)
    live = await day.live("Which way?")
    assert "▶ **mend**" in live.body, "the list stands there"
    await alice.say(room, "2")
    assert "right" in await over(bot, alice, room, question)
    await day.live("until [ -e go ]")
    steered = await alice.say(room, f"!steer use tabs\nSAY answer {token} END")
    await waits(bot, alice, room, steered)
    extra = await alice.upload(room, "extra.txt", b"x", "text/plain")
    await alice.wait(lambda: (bot.user_id, "📎") in alice.reactions(room, extra), what="📎")
    changed = await alice.say(room, "SAY never said")
    dropped = await alice.say(room, "SAY never dropped")
    for event in (changed, dropped):
        await waits(bot, alice, room, event)
    await alice.edit(room, changed, day.task())
    await alice.say(room, "!queue")
    await notice(bot, alice, room, "never dropped")
    await alice.say(room, "!queue drop 3")  # behind the line that was said to the turn
    await notice(bot, alice, room, "Dropped")
    thread = (await alice.answer_to(data)).event_id
    await day.say(tool("run_command", command="touch go"), thread=thread)
    await day.settled()
    answer = next(m for m in alice.finals(room) if token in m.body)
    assert "use tabs" in answer.html
    assert "inbox/extra.txt" in answer.html, "the turn was told of it"
    assert "☑ look" in answer.html

    # A thread beside slow work, which is stopped with a tap.
    await alice.say(room, "SAY slowly\nDELAY 100\nSAY never")
    slow = await day.live("slowly")
    for _ in range(3):
        await day.say(thread=thread)
    await day.settled()
    await alice.react(room, slow.event_id, "🛑")
    await alice.wait(lambda: any("Stopped by" in m.body for m in alice.finals(room)), what="the stop")
    quoted = await alice.answer_to(await day.say(reply_to=answer.event_id))
    assert f"> answer {token} END" in next(one.prompt for one in reversed(model.asked) if "This replies" in one.prompt)
    day.asked[None].append(day.asked[None][-1])
    await alice.react(room, quoted.event_id, "🔁")
    await alice.react(room, quoted.event_id, "👍")
    await day.settled()

    # Noon: the daemon is killed in the midst of work, with a question open and a job in the background.
    waits_for_wake = "until [ -e wake ]; do sleep 0.05; done; echo the build is green; exit 3"
    await day.say(tool("run_command", command=waits_for_wake, background=True))
    await day.settled()
    await day.say(tool("ask_person", question="Ready?"), thread=thread)
    await alice.wait(lambda: any("Ready?" in m.body and m.is_card for m in bot.said(alice, room)), what="the question")
    await day.say(tool("run_command", command="echo once >>trace; echo it r''uns; sleep 100"))
    await day.live("it runs")
    last = [await day.say(), await day.say()][-1]
    await waits(bot, alice, room, last)
    await bot.kill9()
    for _ in range(3):
        await day.say()
    await day.upload("late.txt", b"late", "text/plain", tool("run_command", command="cat inbox/late.txt; touch wake"))
    await bot.start()
    ready = next(m for m in bot.said(alice, room) if "Ready?" in m.body and m.is_card)
    await alice.say(room, "yes", reply_to=ready.event_id, thread=thread)
    await day.say(thread=thread)
    await day.settled()
    job = await alice.wait(lambda: next((m for m in alice.finals(room) if "Background command" in m.body), None))
    assert job is not None
    assert "exit code 3" in job.body
    assert "the build is green" in job.body

    # Evening: a group, and what is there of the day.
    group = await bot.room_with(alice, bob)
    name = bot.user_id[1:].partition(":")[0]
    await bob.say(group, f"SAY never\nmy {name} said so")
    await bob.say(group, f"The build is red. Hey {name} can you look?\nSAY at it")
    await bob.wait(lambda: any("at it" in m.body for m in bob.finals(group)), what="the answer in the group")
    assert (await command(bot, alice, room, "!queue")).body.startswith("Nothing waits")
    assert "late.txt" in (await command(bot, alice, room, "!files inbox")).body
    assert "👍 1" in (await command(bot, alice, room, "!usage")).body
    await alice.edit(room, data, "SAY something else")
    await notice(bot, alice, room, "begun with the first wording")
    trace = await alice.answer_to(await day.say(tool("run_command", command="cat trace")))
    assert trace.body.count("once") == 1, "no command runs twice"
    await day.settled()
    said = [m for m in (*alice.finals(room), *bob.finals(group)) if "never" in m.body]
    assert not said
    mine = {seen.event_id for seen in alice.seen if seen.sender == alice.user_id and seen.type == "m.room.message"}
    assert len(mine) >= 40
    assert not [event for event in mine if (bot.user_id, "⏳") in alice.reactions(room, event)], "nothing waits"
