"""What encryption remembers: each step of a ratchet once, whatever is delivered again and wherever it is cut off."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import vodozemac
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import MESH_INPUT, MESH_INTRODUCTION, MESH_REPLY, MESH_REQUEST, RoomId, UserId
from roommate.errors import Refused, StateError
from roommate.matrix.crypto import attachments, cross_signing, incoming_room_keys, megolm, olm, strangers
from roommate.matrix.crypto.backed_up_session import BackupKey
from roommate.matrix.crypto.device_lists import Device, DeviceLists
from roommate.matrix.crypto.key_backup import KeyBackup
from roommate.matrix.crypto.key_upload import KeyUpload
from roommate.matrix.crypto.missing_keys import Mending
from roommate.matrix.crypto.own_device import MEGOLM_ALGORITHM, OwnDevice
from roommate.matrix.crypto.reading import MOST_WAITING, Reading
from roommate.matrix.crypto.records import (
    APPLIED,
    ASKED,
    INBOUND,
    OLM,
    OUTBOUND,
    POSTED,
    SHUNNED,
    UNUSED,
    USER,
    WAITING,
    WEDGED,
    WITHHELD,
    Records,
    load,
    save,
)
from roommate.matrix.crypto.records import ROOM as ROOM_STATE
from roommate.matrix.crypto.sealing import Sealing, claim
from roommate.matrix.crypto.signing import SigningKey, canonical, is_signed
from roommate.matrix.crypto.to_device_outbox import ToDevice
from roommate.matrix.crypto.verifications import Verifications
from roommate.store import CryptoRecords

T = TypeVar("T")
JsonObject = dict[str, Any]
ROOM, BOT, ANN = "!room:a", UserId("@bot:a"), UserId("@ann:a")


class Side:
    """One device with its records."""

    def __init__(self, records: CryptoRecords, user: UserId) -> None:
        self.records, self.user, self.key = records, user, records.key

    async def do(self, work: Callable[[Records, OwnDevice], T]) -> T:
        def within(r: Records) -> T:
            own = OwnDevice.of(r, self.key)
            assert own is not None
            return work(r, own)

        return await self.records.do(within)

    async def begin(self) -> None:
        await self.records.do(lambda r: OwnDevice.begin(r, self.key, self.user, "DEVICE"))

    async def room_key(self) -> JsonObject:
        session = await self.do(lambda r, own: megolm.writing(r, self.key, own, ROOM, {}))
        ids = {"session_id": session.session_id, "session_key": session.session_key}
        return {"algorithm": MEGOLM_ALGORITHM, "room_id": ROOM, **ids}

    async def write(self, text: str, event_id: str) -> JsonObject:
        content = {"msgtype": "m.text", "body": text}
        sealed = await self.do(lambda r, own: megolm.encrypt(r, self.key, own, ROOM, "m.room.message", content))
        return {"type": "m.room.encrypted", "event_id": event_id, "sender": self.user, "content": sealed}

    async def sealed(self, event_id: str) -> JsonObject:
        """With a key that nobody else has."""
        await self.room_key()
        return await self.write("secret", event_id)

    async def read(self, event: JsonObject, room: str = ROOM) -> str:
        found = await self.do(lambda r, own: megolm.decrypt(r, self.key, room, event))
        return str(found["content"]["body"])

    async def apply(self, event: JsonObject) -> bool:
        return await self.do(lambda r, own: incoming_room_keys.apply(r, self.key, own, event))


@pytest.fixture
async def sides(tmp_path: Path) -> AsyncIterator[tuple[Side, Side]]:
    """The bot and a person."""
    both = []
    for name, user in (("bot", BOT), ("ann", ANN)):
        (tmp_path / name).mkdir()
        both.append(Side(CryptoRecords(tmp_path / name), user))
        await both[-1].begin()
    bot, ann = both
    yield bot, ann
    for one in both:
        await one.records.close()


async def key_of(ann: Side, bot: Side, room: object = ROOM) -> JsonObject:
    """Ann's room key on its way to the bot."""
    return await to_device(ann, bot, "m.room_key", {**await ann.room_key(), "room_id": room})


async def to_device(ann: Side, bot: Side, kind: str, content: JsonObject) -> JsonObject:
    keys = await bot.do(lambda r, own: _stocked(r, own, bot.key))
    curve, ed = await bot.do(lambda r, own: (own.curve25519, own.ed25519))

    def work(r: Records, own: OwnDevice) -> JsonObject:
        if not olm.has_session(r, BOT, curve):
            olm.begin(r, ann.key, own, BOT, curve, next(iter(keys.values()))["key"])
        sealed = olm.encrypt(r, ann.key, own, (BOT, curve, ed), kind, content)
        assert sealed is not None
        return sealed

    return {"type": "m.room.encrypted", "sender": ANN, "content": await ann.do(work)}


def _stocked(r: Records, own: OwnDevice, key: bytes) -> JsonObject:
    keys = own.fresh_one_time_keys(1)
    own.save(r, key)
    return keys


async def test_a_key_that_is_delivered_again_changes_nothing(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    event = await key_of(ann, bot)
    assert await bot.apply(event)
    before = await bot.records.do(lambda r: {kind: r.all(kind) for kind in ("account", "olm", "inbound", "wedged")})
    assert not await bot.apply(json.loads(json.dumps(event)))
    assert await bot.records.do(lambda r: {kind: r.all(kind) for kind in before}) == before
    assert await bot.read(await ann.write("hello", "$1")) == "hello"


async def test_a_transaction_that_fails_has_used_no_key(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    event = await key_of(ann, bot)

    def cut_off(r: Records, own: OwnDevice) -> None:
        incoming_room_keys.apply(r, bot.key, own, event)
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="disk"):
        await bot.do(cut_off)
    assert await bot.apply(event)
    assert await bot.read(await ann.write("hello", "$1")) == "hello"


def deep(inner: str) -> bytes:
    """JSON that no homeserver has looked at, deeper than Python reads."""
    return (
        '{"room_id": "!room:a", "type": "m.room.message", "content": ' + "[" * 20_000 + inner + "]" * 20_000
    ).encode()


async def test_what_is_deeper_than_can_be_read_is_passed_over_and_the_next_event_is_read(
    sides: tuple[Side, Side],
) -> None:
    bot, ann = sides
    await bot.apply(await key_of(ann, bot))
    hostile = await ann.write("x", "$1")

    def seal(r: Records, own: OwnDevice) -> str:
        kept = load(r, OUTBOUND, ROOM)
        assert kept is not None
        session = vodozemac.GroupSession.from_pickle(kept["pickle"], ann.key)
        ciphertext: str = session.encrypt(deep("1")).to_base64()
        save(r, OUTBOUND, ROOM, {**kept, "pickle": session.pickle(ann.key)})
        return ciphertext

    hostile["content"]["ciphertext"] = await ann.do(seal)
    nobody: Any = None
    reading = Reading(bot.records, BOT, nobody, nobody, required=False)
    [found] = await reading.read(RoomId(ROOM), [hostile, await ann.write("hello", "$2")])
    assert found["content"]["body"] == "hello"


async def test_an_olm_message_that_is_deeper_than_can_be_read_is_passed_over(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    event = await key_of(ann, bot)
    assert await bot.apply(event)
    curve = await bot.do(lambda r, own: own.curve25519)

    def seal(r: Records, own: OwnDevice) -> JsonObject:
        [(session, _)] = olm._sessions(r, ann.key, BOT, curve)
        kind, body = session.encrypt(deep("1")).to_parts()
        olm._keep(r, ann.key, BOT, curve, session)
        return {"type": kind, "body": base64.b64encode(body).decode().rstrip("=")}

    content = {**event["content"], "ciphertext": {curve: await ann.do(seal)}}
    assert not await bot.apply({**event, "content": content})


@pytest.mark.parametrize("at", [10**400, -(10**400), True, 1.5, None, [], "1"], ids=lambda at: str(at)[:5])
async def test_a_request_to_verify_may_say_any_time(sides: tuple[Side, Side], at: object) -> None:
    """What goes from device to device no homeserver has looked at, and anybody may send it."""
    bot, _ = sides
    nobody: Any = None
    verifications = Verifications(bot.records, nobody, nobody, nobody, BOT, nobody)
    content = {"transaction_id": "t", "from_device": "D", "methods": [], "timestamp": at}
    event = {"type": "m.key.verification.request", "sender": "@eve:b", "content": content}
    assert await verifications.note({"to_device": {"events": [event]}}, []) == []


async def test_a_room_may_say_any_rotation(sides: tuple[Side, Side]) -> None:
    bot, _ = sides
    for period in (10**400, -(10**400), True, 1.5, None):
        said = {"rotation_period_ms": period, "rotation_period_msgs": period}
        await bot.records.do(lambda r, said=said: save(r, ROOM_STATE, ROOM, said))  # type: ignore[misc]
        first, second = [await bot.room_key() for _ in range(2)]
        assert first["session_id"] == second["session_id"]


class Account:
    """What a homeserver answers, by the end of the path, for the one who asks."""

    def __init__(self, answers: JsonObject) -> None:
        self.answers, self.asked = answers, list[JsonObject | None]()

    async def call(
        self, what: str, method: str, path: str, body: JsonObject | None = None, seconds: float = 0, also: int = 0
    ) -> JsonObject:
        self.asked.append(body)
        return next(answer for end, answer in self.answers.items() if path.partition("?")[0].endswith(end))


@pytest.mark.parametrize("room", ["!a b", "!a b c", "", " ", "room", ["!a", "b"], {"a": 1}, None, 1, "!" + "a" * 300])
async def test_a_key_that_is_of_no_room_does_not_end_the_backup(sides: tuple[Side, Side], room: object) -> None:
    """Whoever has an account somewhere can send a room key, and say of any text that it is a room."""
    bot, eve = sides
    backup = KeyBackup(bot.records, homeserver := Account({"/room_keys/keys": {}}))
    await backup.use("1", BackupKey(bytes(range(32))), whole=False)
    assert not await bot.apply(await key_of(eve, bot, room))
    assert await bot.apply(await key_of(eve, bot))
    running = asyncio.create_task(backup.run())
    while await backup.waiting():
        await asyncio.sleep(0.01)
        assert not running.done(), running.result()
    running.cancel()
    assert [list(body["rooms"]) for body in homeserver.asked if body] == [[ROOM]]


async def test_a_key_of_no_room_that_was_kept_does_not_end_the_backup(sides: tuple[Side, Side]) -> None:
    """Earlier releases kept them."""
    bot, eve = sides
    backup = KeyBackup(bot.records, homeserver := Account({"/room_keys/keys": {}}))
    assert await bot.apply(await key_of(eve, bot))
    [(name, kept)] = await bot.records.do(lambda r: r.all(INBOUND))
    await bot.records.do(lambda r: r.put(INBOUND, f"!a b {name}", kept))
    await backup.use("1", BackupKey(bytes(range(32))), whole=True)
    running = asyncio.create_task(backup.run())
    while await backup.waiting():
        await asyncio.sleep(0.01)
        assert not running.done(), running.result()
    running.cancel()
    assert [sorted(body["rooms"]) for body in homeserver.asked if body] == [[f"!a b {ROOM}", ROOM]]


async def test_a_forwarded_key_says_whose_it_is_in_texts(sides: tuple[Side, Side]) -> None:
    """Who was asked for it says that, and the backup has it signed."""
    bot, ann = sides
    content = await ann.room_key()
    shared = await ann.do(lambda r, own: load(r, INBOUND, f"{ROOM} {content['session_id']}"))
    assert shared is not None
    exported = vodozemac.InboundGroupSession.from_pickle(shared["pickle"], ann.key).export_at(0)
    assert exported is not None
    await bot.records.do(lambda r: save(r, ASKED, f"{ROOM} {content['session_id']}", {"user": ANN}))
    given = {**content, "session_key": exported.to_base64(), "sender_key": "c", "sender_claimed_ed25519_key": "e"}
    wrong: list[JsonObject] = [{"sender_key": [[]]}, {"sender_claimed_ed25519_key": {"a": 1.5}}, {"sender_key": None}]
    for odd in wrong:
        assert not await bot.apply(await to_device(ann, bot, "m.forwarded_room_key", {**given, **odd}))
    assert await bot.apply(await to_device(ann, bot, "m.forwarded_room_key", given))


@pytest.mark.parametrize("one_time_key", [{}, {"key": None}, {"key": [1]}, {"key": "x"}, {"key": {"a": "b"}}])
async def test_a_device_whose_one_time_key_is_none_is_left_out(
    sides: tuple[Side, Side], one_time_key: JsonObject
) -> None:
    """It is signed, so its homeserver may give it as it is."""
    bot, eve = sides
    curve, ed = await eve.do(lambda r, own: (own.curve25519, own.ed25519))
    signed = await eve.do(lambda r, own: own.signed(one_time_key))
    ask = Account({"/keys/claim": {"one_time_keys": {ANN: {"DEVICE": {"signed_curve25519:A": signed}}}}})
    await claim(bot.records, ask, [Device(ANN, "DEVICE", curve, ed, cross_signed=False)])
    assert not await bot.records.do(lambda r: olm.has_session(r, ANN, curve))


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("encrypted", [False, True])
async def test_what_is_not_encrypted_is_passed_over_where_it_has_to_be(
    sides: tuple[Side, Side], *, required: bool, encrypted: bool
) -> None:
    """What people write where the operator says so, what daemons ask and answer in encrypted rooms, too."""
    bot, _ = sides
    nobody: Any = None
    sealing = Sealing(bot.records, nobody, nobody, nobody, nobody, required=required, signed_only=False)
    reading = Reading(bot.records, BOT, nobody, sealing, required=required)
    if encrypted:
        await bot.records.do(lambda r: save(r, ROOM_STATE, ROOM, {"algorithm": MEGOLM_ALGORITHM}))
    always, people = ["m.room.redaction", "m.reaction", MESH_INTRODUCTION], ["m.room.message"]
    daemons = [MESH_REQUEST, MESH_REPLY, MESH_INPUT]
    events = [
        {"type": kind, "sender": ANN, "event_id": f"${kind}", "content": {}} for kind in (*always, *people, *daemons)
    ]
    found = [one["type"] for one in await reading.read(RoomId(ROOM), events)]
    assert found == always + people * (not required) + daemons * (not required and not encrypted)


async def test_of_what_a_room_has_no_key_for_the_newest_waits(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    nobody: Any = None
    reading = Reading(bot.records, BOT, nobody, nobody, required=False)
    other = RoomId("!other:a")
    await reading.wait([(other, await ann.sealed("$other"))])
    for batch in range(3):
        event = await ann.sealed("$")
        unread = [(RoomId(ROOM), {**event, "event_id": f"${batch}-{at}"}) for at in range(MOST_WAITING // 2)]
        await reading.wait(unread)
        await asyncio.sleep(0.002)  # they are told apart by when they came, in ms
    kept = {name for name, _ in await bot.records.do(lambda r: r.all(WAITING))}
    assert kept == {
        f"{other} $other",
        *(f"{ROOM} ${batch}-{at}" for batch in (1, 2) for at in range(MOST_WAITING // 2)),
    }


async def test_only_who_wrote_may_say_that_a_key_does_not_come_and_few_are_kept(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    nobody: Any = None
    reading = Reading(bot.records, BOT, nobody, nobody, required=False)
    event = await ann.sealed("$1")
    await reading.wait([(RoomId(ROOM), event)])

    async def withhold(by: str, session: str, room: str = ROOM) -> None:
        why = {"code": "m.unverified", "room_id": room, "session_id": session}
        await bot.apply({"type": "m.room_key.withheld", "sender": by, "content": why})

    session = event["content"]["session_id"]
    await withhold("@mallory:b", session)
    assert await reading.overdue() == []
    await withhold(ANN, session)
    assert [one.withheld for one in await reading.overdue()] == ["m.unverified"]
    for number in range(incoming_room_keys.MOST_WITHHELD + 5):
        await withhold("@mallory:b", f"{number}", "!any:b")
    kept = await bot.records.do(lambda r: r.all(WITHHELD))
    assert len(kept) == incoming_room_keys.MOST_WITHHELD


async def synced(bot: Side, events: list[JsonObject]) -> None:
    """As syncs bring what is for a device."""
    nobody: Any = None
    reading = Reading(bot.records, BOT, KeyUpload(bot.records, nobody), nobody, required=False)
    for at in range(0, len(events), 100):
        await reading.receive({"to_device": {"events": events[at : at + 100]}})


async def counted(bot: Side) -> dict[str, int]:
    kinds = (APPLIED, INBOUND, OLM, UNUSED, USER, WEDGED)
    found: dict[str, int] = await bot.records.do(lambda r: {kind: len(r.all(kind)) for kind in kinds})
    return found


class Flood:
    """Of devices that begin sessions with the bot's fallback key, and give it keys of rooms."""

    def __init__(self, curve: str, ed: str, fallback: str) -> None:
        self.curve, self.ed, self.fallback = curve, ed, fallback

    @classmethod
    async def upon(cls, bot: Side) -> Flood:
        def work(r: Records, own: OwnDevice) -> tuple[str, str, str]:
            own.fallback = {}
            [fallback] = own.fresh_fallback_key().values()
            own.save(r, bot.key)
            return own.curve25519, own.ed25519, fallback["key"]

        return cls(*await bot.do(work))

    def event(self, user: str, key: JsonObject | None = None) -> JsonObject:
        device, room = vodozemac.Account(), vodozemac.GroupSession()
        session = device.create_outbound_session(
            vodozemac.Curve25519PublicKey.from_base64(self.curve),
            vodozemac.Curve25519PublicKey.from_base64(self.fallback),
        )
        ids = {"session_id": room.session_id, "session_key": room.session_key.to_base64()}
        payload = {
            "sender": user,
            "keys": {"ed25519": device.ed25519_key.to_base64()},
            "recipient": BOT,
            "recipient_keys": {"ed25519": self.ed},
            "type": "m.room_key",
            "content": key or {"algorithm": MEGOLM_ALGORITHM, "room_id": ROOM, **ids},
        }
        kind, body = session.encrypt(json.dumps(payload).encode()).to_parts()
        mine = {self.curve: {"type": kind, "body": base64.b64encode(body).decode().rstrip("=")}}
        content = {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": device.curve25519_key.to_base64(),
            "ciphertext": mine,
        }
        return {"type": "m.room.encrypted", "sender": user, "content": content}


async def test_what_strangers_send_is_kept_up_to_a_limit_and_costs_nobody_a_key(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    flood = await Flood.upon(bot)
    await synced(bot, [await key_of(ann, bot)])
    assert await bot.read(await ann.write("before", "$1")) == "before"
    of_one = [flood.event("@eve:b") for _ in range(strangers.MOST_OF_ONE)]
    of_many = [flood.event(f"@eve{number}:b") for number in range(strangers.MOST_OF_STRANGERS)]
    ben = flood.event("@ben:a")
    await bot.records.do(lambda r: save(r, USER, "@ben:a", {"asked": 1, "changed": 1, "devices": {}}))
    await synced(bot, [ben])
    bens = await bot.records.do(lambda r: [name for name, _ in r.all(UNUSED, "@ben:a ")])
    await synced(bot, of_one)
    assert (await counted(bot))[INBOUND] == strangers.MOST_OF_ONE // 2 + 2
    await synced(bot, of_many)
    found = await counted(bot)
    assert found[OLM] + found[INBOUND] - 2 == found[UNUSED] <= strangers.MOST_OF_STRANGERS + 2
    kept = await bot.records.do(lambda r: [name for name, _ in r.all(UNUSED, "@ben:a ")])
    assert len(kept) == 2 and kept == bens, "the bot writes where he is, and his key may come long before his event"
    assert found[APPLIED] <= strangers.MOST_APPLIED + 100
    assert await bot.read(await ann.write("after", "$2")) == "after"
    second = {**await ann.room_key(), "room_id": "!second:a"}
    await synced(bot, [await to_device(ann, bot, "m.room_key", second)])
    assert (await counted(bot))[WEDGED] == 0, "her session is there"


async def test_what_came_with_a_sync_is_known_when_it_comes_again_however_much_it_was(sides: tuple[Side, Side]) -> None:
    bot, _ = sides
    flood = await Flood.upon(bot)
    nobody: Any = None
    reading = Reading(bot.records, BOT, KeyUpload(bot.records, nobody), nobody, required=False)
    events: list[JsonObject] = [flood.event("@eve:b")]
    events += [{"type": "m.dummy", "sender": "@eve:b", "content": {"at": at}} for at in range(2000)]
    for _ in range(3):
        await reading.receive({"to_device": {"events": events}})
    found = await counted(bot)
    assert (found[APPLIED], found[WEDGED]) == (2001, 0)


async def test_nobody_holds_up_the_mending_of_somebody_elses_session_or_takes_its_place(
    sides: tuple[Side, Side],
) -> None:
    """The key that a device says it has is anybody's to say; only its user is what the homeserver vouches for."""
    bot, ann = sides
    curve = await ann.do(lambda r, own: own.curve25519)
    eve, flood = vodozemac.Account(), await Flood.upon(bot)
    flood.fallback = vodozemac.Account().curve25519_key.to_base64()
    eve_key = eve.ed25519_key.to_base64()

    def signed(value: JsonObject) -> JsonObject:
        return {**value, "signatures": {"@eve:b": {"ed25519:E": eve.sign(canonical(value)).to_base64()}}}

    eves = signed(
        {
            "user_id": "@eve:b",
            "device_id": "E",
            "algorithms": [],
            "keys": {"curve25519:E": curve, "ed25519:E": eve_key},
        }
    )
    homeserver = Account({"/keys/query": {"device_keys": {"@eve:b": {"E": eves}}}})
    mending = Mending(
        bot.records, BOT, homeserver, DeviceLists(bot.records, homeserver), ToDevice(bot.records, homeserver)
    )

    async def mended(by: str) -> list[tuple[str, JsonObject]]:
        unreadable = flood.event(by)
        unreadable["content"]["sender_key"] = curve
        await synced(bot, [unreadable])
        eve.generate_one_time_keys(1)
        [one_time] = eve.one_time_keys.values()
        eve.mark_keys_as_published()
        hers = signed({"key": one_time.to_base64()})
        theirs = await ann.do(lambda r, own: _stocked(r, own, ann.key))
        homeserver.answers = {
            "/keys/query": {
                "device_keys": {"@eve:b": {"E": eves}, ANN: {"DEVICE": await ann.do(lambda r, own: own.keys())}}
            },
            "/keys/claim": {"one_time_keys": {"@eve:b": {"E": {"signed_curve25519:A": hers}}, ANN: {"DEVICE": theirs}}},
            "": {},
        }
        homeserver.asked.clear()
        mending.wake()
        running = asyncio.create_task(mending.run())
        async with asyncio.timeout(10):
            while not any("messages" in (body or {}) for body in homeserver.asked):
                await asyncio.sleep(0.01)
                assert not running.done(), running.result()
        running.cancel()
        [sent] = [body["messages"] for body in homeserver.asked if body and "messages" in body]
        return [(user, next(iter(devices.values()))) for user, devices in sent.items()]

    assert [user for user, _ in await mended("@eve:b")] == ["@eve:b"]
    assert (await counted(bot))[USER] == 0, "nothing is kept of strangers' devices"
    [(user, content)] = await mended(ANN)
    assert user == ANN
    dummy = await ann.do(lambda r, own: olm.decrypt(r, ann.key, own, BOT, content))
    assert dummy["type"] == "m.dummy"
    assert not await bot.records.do(lambda r: r.all(POSTED))


async def test_a_member_cannot_silence_another_by_calling_their_key_her_own(sides: tuple[Side, Side]) -> None:
    """Whoever could read with a key before can give it on; who wrote with it is who is heard."""
    bot, ann = sides
    key = await ann.room_key()
    flood = await Flood.upon(bot)
    eve = flood.event("@eve:b", key)
    await synced(bot, [eve])
    await synced(bot, [await key_of(ann, bot)])
    event = await ann.write("hello", "$1")
    assert await bot.read({**event, "sender": "@eve:b", "event_id": "$copy"}) == "hello"
    assert await bot.read(event) == "hello"
    with pytest.raises(ValueError, match="once more"):
        await bot.read({**event, "event_id": "$2"})


async def test_what_waits_for_its_key_may_have_any_text_in_it(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    nobody: Any = None
    reading = Reading(bot.records, BOT, nobody, nobody, required=False)
    odd = await ann.sealed("$odd")
    odd["content"]["sender_key"] = "\ud800"
    await reading.wait([(RoomId(ROOM), odd), (RoomId(ROOM), await ann.sealed("$sound"))])
    assert [name for name, _ in await bot.records.do(lambda r: r.all(WAITING))] == [f"{ROOM} $sound"]


async def test_an_event_counts_under_one_id_from_one_sender_in_one_room(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    await bot.apply(await key_of(ann, bot))
    event = await ann.write("do it", "$1")
    assert await bot.read(event) == "do it"
    assert await bot.read(event) == "do it", "the same sync once more"
    with pytest.raises(ValueError, match="once more"):
        await bot.read({**event, "event_id": "$2"})
    second = await ann.write("do that", "$3")
    with pytest.raises(ValueError, match="not by the one"):
        await bot.read({**second, "sender": "@mallory:a"})
    with pytest.raises(megolm.NoKey):
        await bot.read(second, "!another:a")
    assert await bot.read(second) == "do that"


async def test_a_session_ends_with_who_knew_it_and_with_its_age(sides: tuple[Side, Side]) -> None:
    bot, _ = sides

    async def session(allowed: dict[tuple[str, str], str]) -> str:
        def work(r: Records, own: OwnDevice) -> str:
            found = megolm.writing(r, bot.key, own, ROOM, allowed).session_id
            for (user, device), curve in allowed.items():
                r.put("shared", f"{found} {user} {device}", curve)
            r.put(SHUNNED, f"{found} @eve:a E", "")
            return found

        return await bot.do(work)

    two = {(ANN, "A"): "curve-a", ("@ben:a", "B"): "curve-b"}
    first = await session(two)
    assert await session(two) == first
    alone = await session({(ANN, "A"): "curve-a"})
    assert alone != first, "ben is gone"
    assert await session(two) == alone, "who comes is given the key that there is"
    for number in range(megolm.ROTATION_MESSAGES):
        await bot.write("x", f"${number}")
    worn = await session(two)
    assert worn != alone
    old = await bot.records.do(lambda r: json.loads(r.get(OUTBOUND, ROOM) or ""))
    await bot.records.do(lambda r: r.put(OUTBOUND, ROOM, json.dumps({**old, "since": old["since"] - 8 * 86400})))
    newest = await session(two)
    assert newest != worn
    shunned = await bot.records.do(lambda r: r.all(SHUNNED))
    assert shunned == [(f"{newest} @eve:a E", "")], "of sessions that are over nothing is known"


async def test_what_is_no_key_changes_nothing(sides: tuple[Side, Side]) -> None:
    bot, ann = sides
    good = await key_of(ann, bot)
    curve = await bot.do(lambda r, own: own.curve25519)
    for bad in (
        {},
        {"type": "m.room.encrypted", "sender": 7},
        {"type": "m.room.encrypted", "sender": ANN, "content": {"algorithm": "m.olm.v1.curve25519-aes-sha2"}},
        {**good, "sender": "@mallory:a"},
        {**good, "content": {**good["content"], "sender_key": "no key"}},
        {**good, "content": {**good["content"], "ciphertext": {curve: {"type": 0, "body": "????"}}}},
        {**good, "content": {**good["content"], "ciphertext": {curve: {"type": 1, "body": 5}}}},
    ):
        assert not await bot.apply(bad)
    assert await bot.records.do(lambda r: r.all("inbound")) == []


async def test_the_file_is_ours_alone_and_is_not_read_without_its_key(tmp_path: Path) -> None:
    records = CryptoRecords(tmp_path)
    await Side(records, BOT).begin()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    await records.close()
    (tmp_path / "crypto.key").unlink()
    with pytest.raises(StateError, match="move that away"):
        CryptoRecords(tmp_path)


def test_an_identity_is_kept_as_it_is(tmp_path: Path) -> None:
    assert cross_signing.kept_identity(tmp_path) is None
    first = cross_signing.Identity(SigningKey.fresh(), SigningKey.fresh(), SigningKey.fresh())
    cross_signing.keep_identity(tmp_path, first)
    keys = first.keys(BOT)
    again = cross_signing.kept_identity(tmp_path)
    assert again is not None
    assert again.keys(BOT) == keys
    for use in ("self_signing_key", "user_signing_key"):
        assert is_signed(keys[use], BOT, first.master.id, first.master.public)
    assert (tmp_path / "cross-signing.json").stat().st_mode & 0o777 == 0o600
    (tmp_path / "cross-signing.json").write_text("{}")
    with pytest.raises(StateError, match="put it back"):
        cross_signing.kept_identity(tmp_path)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans()))
def test_a_signature_is_of_every_byte(value: JsonObject) -> None:
    key = SigningKey.fresh()
    signed = key.signed({name: one for name, one in value.items() if name != "signatures"}, ANN)
    assert is_signed(signed, ANN, key.id, key.public)
    assert not is_signed({**signed, "more": 1}, ANN, key.id, key.public)
    assert not is_signed(signed, BOT, key.id, key.public)
    public = vodozemac.Ed25519PublicKey.from_base64(key.public)
    signature = vodozemac.Ed25519Signature.from_base64(signed["signatures"][ANN][key.id])
    public.verify_signature(canonical(signed), signature)


@given(st.binary(max_size=2000))
def test_a_file_comes_back_as_it_was_or_not_at_all(content: bytes) -> None:
    sealed, file = attachments.encrypt(content)
    assert attachments.decrypt(sealed, file) == content
    with pytest.raises(Refused, match="damaged"):
        attachments.decrypt(sealed + b"x", file)
    for broken in ({}, {**file, "v": "v3"}, {**file, "key": 5}, {**file, "iv": 5}, {**file, "hashes": {}}):
        with pytest.raises(Refused):
            attachments.decrypt(sealed, broken)
