"""Events out: made unreadable for all but the devices of a room, once for each transaction id."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Awaitable, Callable
from urllib.parse import quote
from weakref import WeakValueDictionary

from roommate.domain import JsonObject, RoomId
from roommate.errors import Refused, Transient
from roommate.matrix.crypto import megolm, olm, strangers
from roommate.matrix.crypto.device_lists import Device, DeviceLists, devices_of
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.own_device import MEGOLM_ALGORITHM, OwnDevice
from roommate.matrix.crypto.records import ROOM, SEALED, SHARED, SHUNNED, Records, Vault, key, load, save
from roommate.matrix.crypto.signing import is_signed
from roommate.matrix.crypto.to_device_outbox import ToDevice, post
from roommate.matrix.parse import obj
from roommate.matrix.room_members import RoomMembers

CLAIM_SECONDS = 20.0
KEYLESS_SECONDS = 300.0
"""How long a device that has no one-time keys is left out before it is asked for some again."""
MOST_BYTES = 64_000
"""Of an encrypted content: with what a homeserver adds the event has to stay below 65 536."""
ROUNDS = 5

_log = logging.getLogger(__name__)

Tell = Callable[[RoomId, str, str], Awaitable[None]]
"""Given a room, and a device in it: its user and its id."""


class Sealing:
    """What is sent into a room: in an encrypted one never anything that its devices alone cannot read.

    nio's `AsyncClient.room_send` shares keys in mid-send, leaves the room locked when it is cancelled there
    (`sharing_session`), and encrypts anew each time. Here an event is encrypted once, with everything before it in the
    same transaction, and found again by its transaction id.
    """

    def __init__(
        self, vault: Vault, ask: Ask, lists: DeviceLists, members: RoomMembers, to_device: ToDevice, *, required: bool,
        signed_only: bool,
    ) -> None:  # fmt: skip
        """`required`: nothing is sent into rooms without encryption. `signed_only`: devices that their user has not
        signed are given no keys."""
        self._vault, self._ask, self._lists, self._members, self._to_device = vault, ask, lists, members, to_device
        self._required, self._signed_only = required, signed_only
        self.tell: Tell | None = None
        """Has people know of devices that are given no keys."""
        self.withheld = 0
        """Keys that we did not give, each to a device."""
        self._shunned: set[tuple[RoomId, str, str]] = set()
        """In which rooms which devices are given no keys; people were not told of them yet."""
        self._plain: set[RoomId] = set()
        """Rooms of which the homeserver says that they are not encrypted, until a sync says otherwise."""
        self._alone: WeakValueDictionary[RoomId, asyncio.Lock] = WeakValueDictionary()
        """While somebody holds or wants them."""
        self._keyless: dict[tuple[str, str], float] = {}
        """Until when devices without one-time keys are left out, by user and Curve25519 key."""
        self._arrived: set[str] = set()
        self.out_of_order = ""
        """Why nothing can be encrypted; then nothing is sent into encrypted rooms."""

    def ask_again(self, rooms: set[RoomId]) -> None:
        """They turn out to be encrypted, or were left."""
        self._plain -= rooms

    def is_known_plain(self, room_id: RoomId) -> bool:
        """It is not encrypted, as far as syncs have told. Looks at nothing."""
        return room_id in self._plain

    async def is_encrypted(self, room_id: RoomId) -> bool:
        """Asks the homeserver where that is not known yet. Raises MatrixError, StateError."""
        if self.is_known_plain(room_id):
            return False
        if await self._vault.do(lambda r: r.get(ROOM, room_id)) is not None:
            return True
        path = f"/rooms/{quote(room_id, safe='')}/state/m.room.encryption/"
        try:
            said = await self._ask.call("tell whether a room is encrypted", "GET", path)
        except Refused as error:
            if error.errcode != "M_NOT_FOUND":
                raise
            self._plain.add(room_id)
            return False
        await self._vault.do(lambda r: save(r, ROOM, room_id, said))
        return True

    async def seal(self, room_id: RoomId, kind: str, content: JsonObject, txn_id: str) -> tuple[str, JsonObject]:
        """The type and the content to send. Raises MatrixError, StateError; Refused for what must not be sent."""
        if not await self.is_encrypted(room_id):
            if self._required:
                raise Refused("this room is not encrypted, and E2EE=required: make a new one that is")
            return kind, content
        if self.out_of_order:
            raise Refused(self.out_of_order)
        async with self._alone.setdefault(room_id, asyncio.Lock()):
            sealed = await self._vault.do(lambda r: load(r, SEALED, txn_id))
            if sealed is None:
                sealed = await self._sealed(room_id, kind, content, txn_id)
        await self._to_device.flush()
        while self.tell is not None and self._shunned:
            await self.tell(*self._shunned.pop())
        return "m.room.encrypted", sealed

    def arrived(self, txn_id: str) -> None:
        """It need not be found again; it is forgotten with the next one."""
        self._arrived.add(txn_id)

    async def _sealed(self, room_id: RoomId, kind: str, content: JsonObject, txn_id: str) -> JsonObject:
        for _ in range(ROUNDS):
            members = await self._members.of(room_id)
            await self._lists.refresh(members)
            arrived = set(self._arrived)

            def work(r: Records, members: set[str] = members, arrived: set[str] = arrived) -> JsonObject | list[Device]:
                for old in arrived:
                    r.drop(SEALED, old)
                algorithm = (load(r, ROOM, room_id) or {}).get("algorithm")
                if algorithm != MEGOLM_ALGORITHM:
                    raise Refused(f"this room is encrypted in a way that is not known here: {algorithm}")
                own = OwnDevice.of(r, self._vault.key)
                assert own is not None
                if left := self._share(r, own, room_id, members):
                    return left
                sealed = megolm.encrypt(r, self._vault.key, own, room_id, kind, content)
                if len(json.dumps(sealed, ensure_ascii=False).encode()) > MOST_BYTES:
                    raise Refused("this is too long for one encrypted event")
                save(r, SEALED, txn_id, sealed)
                return sealed

            found = await self._vault.do(work)
            self._arrived -= arrived
            if isinstance(found, dict):
                return found
            await self._claim(found)
        raise Transient("the devices in the room change faster than they can be given keys")

    def _share(self, r: Records, own: OwnDevice, room_id: RoomId, members: set[str]) -> list[Device]:
        """Have the room key go to all devices that do not have it. Gives those for which a one-time key is needed."""
        devices = [
            one for one in devices_of(r, members) if (one.user_id, one.device_id) != (own.user_id, own.device_id)
        ]
        shunned = [one for one in devices if self._signed_only and not one.cross_signed]
        devices = [one for one in devices if one not in shunned]
        allowed = {(one.user_id, one.device_id): one.curve25519 for one in devices}
        session = megolm.writing(r, self._vault.key, own, room_id, allowed)
        have = megolm.shared_with(r, session.session_id)
        self._shun(r, own, room_id, session.session_id, shunned)
        lack = [one for one in devices if (one.user_id, one.device_id) not in have]
        met = [one for one in lack if olm.has_session(r, one.user_id, one.curve25519)]
        unmet = [one for one in lack if one not in met and not self._is_keyless(one)]
        if unmet:
            return unmet
        room_key = {
            "algorithm": MEGOLM_ALGORITHM,
            "room_id": room_id,
            "session_id": session.session_id,
            "session_key": session.session_key,
        }
        messages = []
        for one in met:
            to = one.user_id, one.curve25519, one.ed25519
            if (content := olm.encrypt(r, self._vault.key, own, to, "m.room_key", room_key)) is not None:
                messages.append((one.user_id, one.device_id, content))
                strangers.met(r, one.user_id, one.curve25519)
                r.put(SHARED, key(session.session_id, one.user_id, one.device_id), one.curve25519)
        post(r, "m.room.encrypted", messages)
        return []

    def _shun(self, r: Records, own: OwnDevice, room_id: RoomId, session_id: str, devices: list[Device]) -> None:
        """Say to these devices that they are not given the key, and why, once for each.

        https://spec.matrix.org/v1.16/client-server-api/#reporting-that-decryption-keys-are-withheld
        """
        why = {
            "algorithm": MEGOLM_ALGORITHM,
            "room_id": room_id,
            "session_id": session_id,
            "sender_key": own.curve25519,
            "code": "m.unverified",
            "reason": "This session was not verified by its own user",
        }
        told = []
        for one in devices:
            name = key(session_id, one.user_id, one.device_id)
            if r.get(SHUNNED, name) is None:
                r.put(SHUNNED, name, "")
                told.append((one.user_id, one.device_id, why))
                self._shunned.add((room_id, one.user_id, one.device_id))
        post(r, "m.room_key.withheld", told)
        self.withheld += len(told)

    def _is_keyless(self, one: Device) -> bool:
        return time.monotonic() < self._keyless.get((one.user_id, one.curve25519), 0.0)

    async def _claim(self, devices: list[Device]) -> None:
        """Begin a session with each device; one that has no keys is left out for a while."""
        await claim(self._vault, self._ask, devices)

        def without(r: Records) -> list[tuple[str, str]]:
            found = [(one.user_id, one.curve25519) for one in devices]
            return [one for one in found if not olm.has_session(r, *one)]

        now = time.monotonic()
        self._keyless = {one: until for one, until in self._keyless.items() if until > now}
        self._keyless |= dict.fromkeys(await self._vault.do(without), now + KEYLESS_SECONDS)


async def claim(vault: Vault, ask: Ask, devices: list[Device]) -> None:
    """A new session with each of these devices that has a key left. Raises MatrixError, StateError.

    https://spec.matrix.org/v1.16/client-server-api/#post_matrixclientv3keysclaim
    """
    wanted: dict[str, dict[str, str]] = {}
    for one in devices:
        wanted.setdefault(one.user_id, {})[one.device_id] = "signed_curve25519"
    body = {"one_time_keys": wanted, "timeout": int(CLAIM_SECONDS / 2 * 1000)}
    answer = await ask.call("give keys of people's devices", "POST", "/keys/claim", body, CLAIM_SECONDS)

    def work(r: Records) -> None:
        own = OwnDevice.of(r, vault.key)
        assert own is not None
        for one in devices:
            given = obj(obj(obj(answer.get("one_time_keys")).get(one.user_id)).get(one.device_id))
            for claimed in map(obj, given.values()):
                if not is_signed(claimed, one.user_id, f"ed25519:{one.device_id}", one.ed25519):
                    _log.warning("a key of device %s of %s is not signed by it", one.device_id, one.user_id)
                    continue
                with contextlib.suppress(ValueError, TypeError, KeyError):
                    olm.begin(r, vault.key, own, one.user_id, one.curve25519, claimed["key"])

    await vault.do(work)
