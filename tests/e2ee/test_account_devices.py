"""The devices of the bot's account: announced, listed, removed, and one that two processes use."""

from __future__ import annotations

import json
import shutil

from roommate.demo.embedded_synapse import Synapse
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon
from tests.e2ee import strict
from tests.e2ee.conftest import MakeStrict
from tests.e2ee.test_encrypted_rooms import device_of
from tests.scripted_model import ScriptedModel


async def test_operators_are_told_of_new_ones_and_of_a_second_process_and_remove_old_ones(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    ann = await strict_person("ann")
    bot = await daemon(model=model, OPERATORS=ann.user_id)
    room = await ann.room_with(bot.user_id)
    await ann.say(room, "SAY one")
    await ann.answer(room, "one")
    await bot.term()
    bot.settings["CONTROL_ROOM"] = room
    await bot.start()
    await ann.notice(room, f"My device is `{device_of(bot)}`")
    other = await strict.person(ann.node, homeserver.url, bot.user_id, PASSWORD, strict=False, crossSign=False)
    await ann.say(room, "SAY two")
    told = await ann.notice(room, f"the bot's account has a new device, {other.device_id}")
    assert "change its password" in told.body

    async def devices(*more: str) -> tuple[int, str]:
        code, out, err = await roommate(bot.cwd, "devices", *more, **bot.settings)
        return code, out + err

    async def listed() -> dict[str, tuple[bool, bool]]:
        return {one["id"]: (one["ours"], one["signed"]) for one in json.loads((await devices("ls", "--json"))[1])}

    before = await listed()  # the account was registered with one, too
    assert (before[device_of(bot)], before[other.device_id]) == ((True, True), (False, False))
    await other.do("stop")
    code, out = await devices("rm", device_of(bot))
    assert code != 0
    assert "is the device that runs" in out
    assert await devices("rm", other.device_id) == (0, "1 removed.\n")
    assert (await listed()).keys() == before.keys() - {other.device_id}

    # What encryption knew is lost: the bot is another device, and says so; that is no device of somebody else.
    lost = device_of(bot)
    await bot.term()
    for file in bot.state.glob("crypto.*"):
        file.unlink()
    await bot.start()
    await ann.notice(room, f"My device is `{device_of(bot)}`")
    assert lost not in await listed()

    await bot.term()
    twin = await daemon(model=model, start=False)
    shutil.copytree(bot.state, twin.state)
    twin.settings["MATRIX_USER"] = bot.user_id
    await bot.start()
    await twin.start()
    await ann.say(room, "SAY three")
    await ann.answer(room, "three")
    await ann.notice(room, f"another process uses the bot's device {device_of(bot)}")
    said = [one.body for one in ann.messages(room)]
    assert sum("My device is" in one for one in said) == 2, "once for each"
    assert sum("has a new device" in one for one in said) == 1, "the bot's own are none of somebody else"
    await bot.term()
    await twin.term()
