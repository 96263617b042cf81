"""Verification by emoji with matrix-js-sdk, from either side, in a room and from device to device."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

from roommate.demo.embedded_synapse import Synapse
from tests import program
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon
from tests.e2ee import strict
from tests.e2ee.conftest import MakeStrict
from tests.e2ee.strict import Seen, StrictPerson
from tests.e2ee.test_encrypted_rooms import device_of, react_to
from tests.e2ee.test_recovery import recovery
from tests.harness import ROOMMATE, Daemon
from tests.nursery import Child, Nursery
from tests.patience import PATIENCE, until
from tests.scripted_model import ScriptedModel

LINE = re.compile(r"^\d\. (\S+) (.+)$", re.MULTILINE)


def cards(ann: StrictPerson, room: str) -> list[Seen]:
    return [
        one
        for one in ann.messages(room)
        if "Does that client show the same" in one.body and one.event_id == one.message
    ]


async def card(ann: StrictPerson, room: str, number: int = 1) -> tuple[Seen, list[list[str]]]:
    """The card, and the emoji on it."""
    found: Seen = await ann.node.wait(
        lambda: next(iter(cards(ann, room)[number - 1 : number]), None), f"card {number} of a verification"
    )
    return found, [list(pair) for pair in LINE.findall(found.body)]


async def tap(ann: StrictPerson, room: str, at: Seen, key: str = "✅") -> None:
    await ann.do("send", room=room, type="m.reaction", content=react_to(at.event_id, key))


async def in_step(bot: Daemon, ann: StrictPerson, room: str, shown: list[list[str]], number: int) -> None:
    """Both sides show the same; they say so, and it is done."""
    asked, ours = await card(ann, room, number)
    assert ours == shown
    await tap(ann, room, asked)
    await ann.do("match")
    await ann.node.wait(
        lambda: sum("✅ Verified" in one.body for one in ann.messages(room)) == number,
        f"end {number} of a verification",
    )


@contextlib.asynccontextmanager
async def at_the_host(bot: Daemon, *who: str) -> AsyncIterator[tuple[Child, Path, TextIO]]:
    """Somebody types `roommate verify …`: the process, what it shows, and what is typed."""
    environment = {"PATH": program.PATH, "HOME": str(bot.cwd), **bot.settings}
    with tempfile.TemporaryDirectory(prefix="rv-") as folder:
        shown, typed = Path(folder) / "shown", Path(folder) / "typed"
        os.mkfifo(typed)
        nursery = await Nursery.shared()
        command = [str(ROOMMATE), "verify", *who]
        process = await nursery.bear(command, folder=bot.cwd, environment=environment, out=shown, stdin=typed)
        with await asyncio.to_thread(typed.open, "w") as typing:
            yield process, shown, typing


async def test_from_either_side_in_the_room_and_from_device_to_device(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    bot, ann = await daemon(model=model), await strict_person("ann")
    room = await ann.room_with(bot.user_id)
    await ann.say(room, "SAY hello")
    await ann.answer(room, "hello")
    assert not await ann.do("verified", user=bot.user_id)

    await in_step(bot, ann, room, await ann.do("verify", user=bot.user_id, room=room), 1)
    assert await ann.do("verified", user=bot.user_id)

    await ann.say(room, "!verify")
    await in_step(bot, ann, room, await ann.do("accept"), 2)

    await in_step(bot, ann, room, await ann.do("verify", user=bot.user_id, device=device_of(bot)), 3)

    # Both start at once: one of the two counts.
    await ann.say(room, "!verify")
    await in_step(bot, ann, room, await ann.do("accept", starts=True), 4)

    # One of them sees something else.
    await ann.do("verify", user=bot.user_id, room=room)
    at, _ = await card(ann, room, 5)
    await tap(ann, room, at, "❌")
    assert await ann.do("cancelled") == "m.mismatched_sas"
    await ann.notice(room, "were not the same")

    # A restart in between ends it, and says so on both sides.
    await ann.do("verify", user=bot.user_id, room=room)
    await card(ann, room, 6)
    await bot.kill9()
    await bot.spawn()
    assert await ann.do("cancelled") == "m.user"
    await ann.notice(room, "the bot was started again meanwhile")
    assert ann.failures(room) == []
    await bot.term()


async def test_from_the_terminal_which_shows_the_emoji_itself(
    homeserver: Synapse, daemon: MakeDaemon, strict_person: MakeStrict, model: ScriptedModel
) -> None:
    """People, and another session of the bot's account, which is given the account's keys when it is verified, and not
    before."""
    bot, ann = await daemon(model=model), await strict_person("ann")
    code, _, err = await recovery(bot, "setup")
    assert code == 0, err
    room = await ann.room_with(bot.user_id)
    await ann.say(room, "SAY hello")
    await ann.answer(room, "hello")
    # Strict, it would panic (`check_sender_trust_requirement`) over what its own user says in a room.
    other = await strict.person(ann.node, homeserver.url, bot.user_id, PASSWORD, strict=False, crossSign=False)
    assert not (await ann.do("trust", user=bot.user_id, device=other.device_id))["signed"]
    await other.do("askForSecret", name="m.cross_signing.self_signing", device=device_of(bot))
    await bot.wait_for_log(f"session {other.device_id} of the bot's account asks for the account's keys, and gets none")
    ways = ((other.device_id, other), (f"{ann.user_id} {ann.device_id}", ann), (ann.user_id, ann))
    for who, person in ways:
        async with at_the_host(bot, *who.split()) as (process, shown, typing):
            theirs = await person.do("accept")
            await until(lambda: "order?" in shown.read_text(), "the question")
            said = [line.split(maxsplit=1) for line in shown.read_text().splitlines() if line.startswith("  ")]
            assert said == theirs
            typing.write("y\n")
            typing.flush()
            await person.do("match")
            async with asyncio.timeout(PATIENCE):
                assert await process.wait() == 0
            assert "✅ Verified" in shown.read_text()

    async def has_all() -> bool:
        return all((await other.do("secrets")).values())

    await until(has_all, "the account's secrets")
    assert await ann.do("verified", user=bot.user_id)
    assert f"{other.device_id} of the bot's account, which is verified, was given" in bot.log_text()
    _, out, _ = await roommate(bot.cwd, "devices", "ls", "--json", **bot.settings)
    assert [one["signed"] for one in json.loads(out) if one["id"] == other.device_id] == [True]
    await other.do("stop")
    await bot.term()
