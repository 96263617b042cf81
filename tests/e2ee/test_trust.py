"""TRUST: which devices are given keys, who is told of those that are not, and what is counted."""

from __future__ import annotations

import json

from roommate.demo.embedded_synapse import Synapse
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon
from tests.e2ee import strict
from tests.e2ee.conftest import MakeStrict
from tests.scripted_model import ScriptedModel


async def test_a_device_that_its_user_has_not_signed(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    bot, ann = await daemon(model=model, TRUST="cross-signed"), await strict_person("ann")
    phone = await strict.person(
        ann.node, homeserver.url, ann.user_id, PASSWORD, called="phone", strict=False, crossSign=False
    )
    room = await ann.room_with(bot.user_id)
    for words in ("one", "two"):
        await ann.say(room, f"SAY {words}")
        await ann.answer(room, words)
    await ann.notice(room, f"your session `{phone.device_id}` cannot read")
    await ann.node.wait(lambda: any("WITHHELD" in one.failure for one in phone.failures(room)), "a device told why")
    assert phone.finals(room) == []
    assert sum("cannot read what I write" in one.body for one in ann.messages(room)) == 1
    _, out, _ = await roommate(bot.cwd, "status", "--json", **bot.settings)
    assert json.loads(out)["withheld_by_bot"] >= 1

    # The default gives them to all who are in the room.
    await bot.term()
    bot.settings["TRUST"] = "all"
    await bot.start()
    await ann.say(room, "SAY three")
    await phone.answer(room, "three")
    await phone.do("stop")
    await bot.term()
