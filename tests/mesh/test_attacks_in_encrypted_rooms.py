"""What members of an encrypted room try with what was encrypted there, with what should have been, and with what came
out of it: their client is Element's library, or none, and sends an event as they made it up."""

from __future__ import annotations

import asyncio

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import REPLY, REQUEST
from tests.conftest import MakeDaemon
from tests.e2ee.conftest import MakeStrict, node, strict_person
from tests.e2ee.strict import StrictPerson
from tests.harness import Daemon
from tests.mesh.answerer import Answerer, ended, output
from tests.mesh.attacked import Attacked, JsonObject
from tests.mesh.pair import roommate
from tests.mesh.peer import RawPeer
from tests.mesh.test_attacks_on_replies import RIGHT, uncounted

__all__ = ["node", "strict_person"]  # fixtures

ENCRYPTED = "m.room.encrypted"
OPEN, AGAIN, ANOTHERS = "not encrypted", "an earlier event once more", "not by the one whose key"


async def encrypted(person: StrictPerson, event: str) -> JsonObject:
    """An event of theirs, as it went through the homeserver."""
    [found] = await person.wait(
        lambda: [one.wire for one in person.seen if one.event_id == event], what="its own event"
    )
    return found


def passed_over(bot: Daemon) -> list[str]:
    """Why events were, since it started; each by what is known here."""
    why = [line for line in bot.log_text().splitlines() if "is passed over" in line]
    return [next((known for known in (OPEN, AGAIN, ANOTHERS) if known in line), line) for line in why]


async def test_a_request_counts_as_its_sender_encrypted_it(daemon: MakeDaemon, strict_person: MakeStrict) -> None:
    eve, mallory = [await strict_person(name) for name in ("eve", "mallory")]
    attacked = await Attacked.at(await daemon(), eve)
    bot, peer = attacked.bot, attacked.peer
    room = await eve.room_with(bot.user_id)
    await eve.invite(room, mallory, bot.user_id)
    once, unsent = attacked.asks(room, "once"), attacked.asks(room, "unsent")
    content, later = peer.signed(once), peer.signed(unsent)
    event = await peer.send(room, content)
    assert (await attacked.ended(once))["exit"] == 0

    sealed = await encrypted(eve, event)
    start, changed, end = sealed["ciphertext"][:80], sealed["ciphertext"][80], sealed["ciphertext"][81:]
    for who, kind, one in (
        (eve, REQUEST, later),
        (eve, ENCRYPTED, sealed),
        (eve, ENCRYPTED, sealed | {"device_id": mallory.device_id, "sender_key": "A" * 43}),
        (mallory, ENCRYPTED, sealed),
        (eve, ENCRYPTED, sealed | {"ciphertext": f"{start}{'B' if changed == 'A' else 'A'}{end}"}),
    ):
        await who.send_as_it_is(room, kind, one)
    copied = await mallory.send(room, REQUEST, later)  # who reads it may encrypt it, too
    forged = RawPeer(mallory, peer.target, peer.key)
    stolen = await forged.send(room, forged.signed(attacked.asks(room), sender=mallory.user_id))
    assert await attacked.codes({"copied": copied, "stolen": stolen}) == {"copied": "sender", "stolen": "sender"}
    same = {
        "the same": content,
        "its nonce": peer.signed(once, id=envelope.new_id()),
        "its id": peer.signed(once, nonce=envelope.new_nonce()),
    }
    await attacked.refuses(room, same, "replay")
    *known, damaged = passed_over(bot)
    assert known == [OPEN, AGAIN, AGAIN, ANOTHERS]
    assert "signature" in damaged
    assert await attacked.ran(room) == len("once\n")
    await peer.send(room, later)  # none of all that has used it up
    assert (await attacked.ended(unsent))["exit"] == 0

    await bot.term()
    await eve.send_as_it_is(room, REQUEST, peer.signed(attacked.asks(room)))
    await eve.send_as_it_is(room, ENCRYPTED, sealed)
    await bot.start()
    await attacked.refuses(room, same, "replay")
    assert passed_over(bot) == [OPEN, AGAIN]
    assert await attacked.ran(room) == len("once\nunsent\n")


async def test_a_reply_counts_as_its_sender_encrypted_it(daemon: MakeDaemon, strict_person: MakeStrict) -> None:
    bot, answering, forging = await daemon(), await strict_person("builder"), await strict_person("mallory")
    builder, mallory = Answerer(answering), Answerer(forging)
    room = await answering.room_with(bot.user_id)
    await answering.invite(room, forging, bot.user_id)
    for one, name in ((builder, "builder"), (mallory, "mallory")):
        added = await roommate(bot, "trust", "add", one.public, one.person.user_id, "--everywhere", "--name", name)
        assert added.code == 0, added
    await answering.wait(lambda: answering.messages(room), what="the greeting")
    asking = asyncio.create_task(roommate(bot, "exec", "--peer", "builder", "--room", room, "--", "true"))
    asked = await builder.asked(room)
    whole, evil = builder.reply(asked, *RIGHT), builder.reply(asked, output(b"evil\n"), ended(b"evil\n"))
    signed = [envelope.sign(builder.key, one) for one in whole]
    for piece in evil:
        await answering.send_as_it_is(room, REPLY, envelope.sign(builder.key, piece))
    first = await encrypted(answering, await answering.send(room, REPLY, signed[0]))
    for who in (answering, forging):
        await who.send_as_it_is(room, ENCRYPTED, first)
    await forging.send(room, REPLY, signed[1])  # copied, and encrypted by who read it
    await mallory.send(*evil)
    await answering.send(room, REPLY, signed[1] | {"body": output(b"evil\n")})
    for content in signed[1:]:
        await answering.send(room, REPLY, content)
    done = await asking
    assert (done.code, done.out) == (0, "0\n1\n2\n3\n"), done
    assert uncounted(bot, asked) == [*[forging.user_id] * 3, answering.user_id]
    assert passed_over(bot) == [OPEN, OPEN, AGAIN, ANOTHERS]
