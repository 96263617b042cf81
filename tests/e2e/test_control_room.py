"""What operators are told in a room of their own, without looking at a log."""

from collections.abc import Awaitable, Callable

from roommate import __version__
from tests.conftest import MakeDaemon
from tests.harness import notice
from tests.person import Person
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]


async def test_failures_are_told_in_the_control_room(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice, operator = await person("alice"), await person("operator")
    bot = await daemon(model=model, OPERATORS=operator.user_id)
    control = await bot.room_with(operator, name="Roommate's operators")
    room = await bot.room_with(alice)
    await alice.ask(room, "SAY hello")
    await bot.term()
    bot.settings["CONTROL_ROOM"] = control
    await bot.start()
    await notice(bot, operator, control, f"Roommate {__version__} is up")

    # Where the bot is not allowed to speak any more, its answers cannot arrive: that is a failure for the log.
    await alice.call("PUT", f"rooms/{room}/state/m.room.power_levels", {"events_default": 50})
    for word in ("one", "two", "three"):
        await alice.say(room, f"SAY {word}, and a-secret-word")
    told = await operator.wait(
        lambda: next((m for m in bot.said(operator, control) if "Something failed" in m.body), None), what="the failure"
    )
    assert told is not None
    assert told.msgtype == "m.text", "clients ring for it"
    assert room in told.body
    assert "M_FORBIDDEN" in told.body
    assert "a-secret-word" not in told.body
    log = (bot.state / "logs" / "roommate.log").read_text()
    assert f"ERROR   {room}: the homeserver did not send: M_FORBIDDEN" in log
    assert (await operator.ask(control, "SAY it is a room like any other")).body == "it is a room like any other"
    assert len([m for m in bot.said(operator, control) if "Something failed" in m.body]) == 1
