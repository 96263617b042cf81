"""What waits can be looked at and dropped, by whoever may talk to the bot."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.conftest import PASSWORD
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.homeserver import MemoryHomeserver, MemoryResponse, MemorySession
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakePerson
from tests.harness import command, notice
from tests.patience import until


async def test_what_waits_is_listed_and_dropped(bot: MemoryDaemon, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    assert "write my name first" in (await notice(bot, alice, room, "Hello")).body, "there are others"
    assert "Nothing waits" in (await command(bot, alice, room, "!queue")).body
    await alice.say(room, "DELAY 30\nSAY never", mentions=[bot.user_id])
    await alice.wait(lambda: any("working" in m.body for m in bot.said(alice, room)), what="a turn that runs")
    first = await bob.say(room, "SAY `first`\nSAY and more", mentions=[bot.user_id])
    await alice.wait(lambda: bool(alice.reactions(room, first)), what="⏳")
    second = await alice.say(room, "SAY second", mentions=[bot.user_id])
    await alice.wait(lambda: bool(alice.reactions(room, second)), what="⏳")
    elsewhere = await alice.say(room, "!queue", thread=await alice.say(room, "about this", msgtype="m.notice"))
    await notice(bot, alice, room, "Nothing waits in this conversation")
    await alice.say(room, "!queue")
    listed = await notice(bot, alice, room, "queue drop N")
    lines = listed.body.splitlines()
    assert [line[:2] for line in lines[:2]] == ["1.", "2."], elsewhere
    assert bob.user_id.split(":")[0][1:] in lines[0]
    assert "SAY second" in lines[1]
    await bob.say(room, "!queue drop 3")
    await notice(bot, alice, room, "nothing waits at place 3")
    await bob.say(room, "!queue drop 1")
    await notice(bot, alice, room, "Dropped")
    await alice.wait(lambda: not alice.reactions(room, first), what="the mark taken off")
    await alice.say(room, "!stop")
    await alice.wait(
        lambda: any(m.body.startswith("second") and m.reply_to == second for m in bot.said(alice, room)), what="second"
    )
    assert not [m for m in bot.said(alice, room) if "and more" in m.body and m.msgtype == "m.text"]


async def test_an_answer_to_what_waited_says_what_it_answers(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    assert "my name" not in (await notice(bot, alice, room, "Hello")).body
    asked = [await alice.say(room, "DELAY 1\nSAY first")]
    await alice.wait(lambda: any("working" in m.body for m in bot.said(alice, room)), what="a turn that runs")
    for text in ("SAY second", "SAY third"):
        asked.append(await alice.say(room, text))
        await alice.wait(lambda: bool(alice.reactions(room, asked[-1])), what="⏳")
    for text, of in (("first", None), ("second", asked[1]), ("third", asked[2])):
        answer = await alice.wait(
            lambda text=text: next((m for m in bot.said(alice, room) if m.body.startswith(text)), None),  # type: ignore[misc]
            what=text,
        )
        assert answer is not None
        assert answer.reply_to == of


class _Held(MemorySession):
    """What somebody replies to is given when the gate opens."""

    def __init__(self, homeserver: MemoryHomeserver, asked: asyncio.Event, gate: asyncio.Event) -> None:
        super().__init__(homeserver)
        self._asked, self._gate = asked, gate

    async def _ask(self, method: str, url: str, data: Any, headers: dict[str, str]) -> MemoryResponse:
        if "/event/" in url:
            self._asked.set()
            await self._gate.wait()
        return await super()._ask(method, url, data, headers)


class _Slow(MemoryDaemon):
    def __init__(self, homeserver: MemoryHomeserver, user_id: str, model: MemoryModel, **settings: str) -> None:
        super().__init__(homeserver, user_id, settings, model)
        self.asked, self.gate = asyncio.Event(), asyncio.Event()

    def session(self, **_: Any) -> MemorySession:
        return _Held(self._homeserver, self.asked, self.gate)


async def test_what_is_changed_while_it_is_made_a_prompt_is_asked_as_it_is_then(
    homeserver: MemoryHomeserver, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    bot = await _Slow(homeserver, homeserver.register("slow-events", PASSWORD), model).start()
    try:
        room = await alice.create_room()
        long_ago = await alice.say(room, "of long ago")
        await alice.invite(room, bot.user_id)
        await alice.wait_for_member(room, bot.user_id)
        said = await alice.say(room, "SAY old", reply_to=long_ago)
        await bot.asked.wait()
        await alice.edit(room, said, "SAY new")
        await until(lambda: _kept(bot.state, said) == "SAY new", "the edit")
        bot.gate.set()
        assert (await alice.answer_to(said)).body.endswith("new")
        assert len(alice.finals(room)) == 1
    finally:
        await bot.discard()


async def test_what_is_changed_while_it_is_made_a_line_is_told_as_it_is_then(
    homeserver: MemoryHomeserver, person: MakePerson, model: MemoryModel
) -> None:
    alice = await person("alice")
    user_id = homeserver.register("slow-lines", PASSWORD)
    bot = await _Slow(homeserver, user_id, model, SAME_PROMPT_SECONDS="60").start()
    try:
        room = await alice.create_room()
        long_ago = await alice.say(room, "of long ago")
        await alice.invite(room, bot.user_id)
        await alice.wait_for_member(room, bot.user_id)
        first = await alice.say(room, "DELAY 60\nSAY never alone")
        await alice.wait(lambda: bot.user_id in alice.typing.get(room, ()), what="typing")
        line = await alice.say(room, "with old words", reply_to=long_ago)
        await bot.asked.wait()
        await alice.edit(room, line, "with new words")
        await until(lambda: _kept(bot.state, line) == "with new words", "the edit")
        bot.gate.set()
        await until(lambda: "words" in model.asked[-1].prompt, "the line")
        assert "with new words" in model.asked[-1].prompt
        assert "with old words" not in model.asked[-1].prompt
        await alice.say(room, "!stop")
        assert (await alice.answer_to(first)).content["io.roommate.turn"]["also"] == [line]
    finally:
        await bot.discard()


def _kept(state: Path, event: str) -> str:
    with closing(sqlite3.connect(state / "roommate.db")) as c:
        [text] = c.execute("SELECT json_extract(body, '$.text') FROM inbox WHERE event_id=?", (event,)).fetchone()
    return str(text)
