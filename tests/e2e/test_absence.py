"""After a long absence: what a person asks now does not wait until all that was asked meanwhile is answered."""

from __future__ import annotations

from tests.conftest import MakeDaemon, MakePerson

PINGS = 120


async def test_a_prompt_comes_before_the_answers_to_old_commands(daemon: MakeDaemon, person: MakePerson) -> None:
    bot, alice = await daemon(limited=True), await person("alice")
    alice.looks_at_typing = True
    flooded, other = await bot.room_with(alice), await bot.room_with(alice)
    await alice.ask(other, "run: echo ready")
    await bot.term()
    for _ in range(PINGS):
        await alice.say(flooded, "!ping")
    asked = await alice.say(flooded, "run: echo in or''der")
    await bot.start()
    await alice.wait(lambda: bot.user_id in alice.typing.get(flooded, set()), 30, "a sign of life where much waits")
    answer = await alice.ask(other, "run: echo no''w")
    assert "now" in answer.body
    # With Synapse's limit of one event in five seconds all of it takes ten minutes.
    pongs = [m.body for m in bot.said(alice, flooded) if "Pong" in m.body]
    assert len(pongs) < PINGS / 2
    assert not [m for m in bot.said(alice, flooded) if "order" in m.body], asked
