"""What waits can be looked at and dropped, by whoever may talk to the bot."""

from tests.fakes.daemon import MemoryDaemon
from tests.fast.conftest import MakePerson
from tests.harness import command, notice


async def test_what_waits_is_listed_and_dropped(bot: MemoryDaemon, person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await bot.room_with(alice, bob)
    await notice(bot, alice, room, "Hello")
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
