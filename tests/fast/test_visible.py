"""What was done stays visible: under the answer, after a stop, and by commands that ask no model."""

import re
from collections.abc import Awaitable, Callable

from tests.fakes.daemon import MemoryDaemon
from tests.harness import command, tool
from tests.person import Person, Shown

MakePerson = Callable[[str], Awaitable[Person]]
OLD = re.compile(r"working · ([5-9]|\d\d)")
"""A turn that has run for five seconds or more."""


def files(bot: MemoryDaemon, person: Person, room: str) -> list[Shown]:
    return [one for one in bot.said(person, room) if one.content.get("url")]


async def test_what_a_turn_changed_and_printed_is_there_to_be_seen(bot: MemoryDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    rounds = [
        tool("write_file", path="src/a.py", content="one\ntwo\n"),
        tool("edit_file", path="src/a.py", old="two", new="zwei"),
        tool("run_command", command="echo first; seq 100; exit 3"),
        tool("run_command", command="echo fine") + "\n" + tool("send_file", path="src/a.py"),
        "SAY Mended.",
    ]
    answer = await alice.ask(room, "\n---\n".join(rounds))
    assert "5 steps, <strong>1 failed</strong>" in answer.html
    assert '<pre><code class="language-diff"> one\n-two\n+zwei\n</code></pre>' in answer.html
    assert "99\n100\n</code></pre>" in answer.html and "<code>first" not in answer.html, "its end"
    assert "<code>fine\n</code>" in answer.html, "of the last command, too"
    said = bot.said(alice, room)
    assert [one.event_id for one in said[-2:]] == [answer.event_id, files(bot, alice, room)[0].event_id]

    diff = await command(bot, alice, room, "!diff")
    assert "+one\n+two" in diff.body and "-two\n+zwei" in diff.body and "`src/a.py`" in diff.body
    turn = answer.content["io.roommate.turn"]["id"]
    assert (await command(bot, alice, room, f"!diff {turn}")).body == diff.body
    assert "fine" in (await command(bot, alice, room, "!output")).body
    older = (await command(bot, alice, room, "!output 2")).body
    assert "exit code 3" in older and "first\n1\n2\n" in older
    assert "there are no 3 commands" in (await command(bot, alice, room, "!output 3")).body
    assert "a.py  9 B" in (await command(bot, alice, room, "!files src")).body
    got = await command(bot, alice, room, "!get src/a.py")
    assert (got.content["filename"], await alice.download(got.content["url"])) == ("a.py", b"one\nzwei\n")
    assert "none.txt" in (await command(bot, alice, room, "!get none.txt")).body

    elsewhere = await bot.room_with(alice)
    await alice.wait(lambda: bot.said(alice, elsewhere), what="the greeting")
    assert "changed no file here" in (await command(bot, alice, elsewhere, f"!diff {turn}")).body


async def test_a_quiet_turn_shows_that_it_goes_on_and_a_stop_keeps_what_was_printed(
    bot: MemoryDaemon, person: MakePerson
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, tool("run_command", command="echo compiled; sleep 600"))
    await alice.wait(lambda: any(OLD.search(m.body) for m in bot.said(alice, room)), what="the time")
    await alice.say(room, "!stop")
    answer = await alice.answer_to(asked)
    assert "1 step ·" in answer.html, "to be stopped is not to fail"
    assert "— stopped" in answer.html and "<code>compiled\n</code>" in answer.html
    assert answer.body.startswith(f"⏹ Stopped by {alice.user_id[1:].partition(':')[0]}."), answer.body
    assert "compiled" in (await command(bot, alice, room, "!output")).body, "it is a step of the turn"
