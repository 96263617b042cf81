"""How the bot's account looks to people, on a real homeserver."""

from __future__ import annotations

from pathlib import Path

from roommate.matrix.profile import DEFAULT_PICTURE
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import notice
from tests.patience import until


async def test_the_account_is_called_and_looks_as_the_settings_say(
    daemon: MakeDaemon, person: MakePerson, tmp_path: Path
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(start=False)
    del bot.settings["BOT_DISPLAY_NAME"], bot.settings["BOT_AVATAR"]
    await bot.start()
    await until(lambda: "has the picture" in bot.log_text())
    first = await alice.call("GET", f"profile/{bot.user_id}")
    assert first["displayname"] == "Roommate"
    assert first["avatar_url"].startswith("mxc://")
    await bot.term()

    picture = tmp_path / "face.png"
    picture.write_bytes(DEFAULT_PICTURE.read_bytes() + b"more")
    bot.settings |= {"BOT_DISPLAY_NAME": "Robin", "BOT_AVATAR": str(picture)}
    await bot.start()
    room = await bot.room_with(alice, bob)
    await until(lambda: "has the picture" in bot.log_text())
    second = await alice.call("GET", f"profile/{bot.user_id}")
    assert second["displayname"] == "Robin"
    assert second["avatar_url"] != first["avatar_url"]
    await alice.say(room, "hey Robin, !ping")
    await notice(bot, alice, room, "Pong")
    await bot.term()

    del bot.settings["BOT_DISPLAY_NAME"]
    bot.settings["BOT_AVATAR"] = str(tmp_path / "none.png")
    await bot.start()
    await until(lambda: "looks was not changed" in bot.log_text())
    assert await alice.call("GET", f"profile/{bot.user_id}") == second, (
        "a name of its own stays, and so does the picture"
    )
