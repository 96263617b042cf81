"""What is done about keys that are missing: they are asked for, and a session that is out of step begins anew."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Sequence

from roommate.domain import UserId
from roommate.errors import Refused, StateError, Transient
from roommate.matrix.crypto import olm
from roommate.matrix.crypto.device_lists import Device, DeviceLists, changed, devices_of
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.own_device import MEGOLM_ALGORITHM, OwnDevice
from roommate.matrix.crypto.reading import Unread
from roommate.matrix.crypto.records import ASKED, USER, WEDGED, Records, Vault, key, save
from roommate.matrix.crypto.sealing import claim
from roommate.matrix.crypto.to_device_outbox import ToDevice, post
from roommate.matrix.error_mapping import back_off
from roommate.matrix.parse import obj

AGAIN_SECONDS = 3600.0
"""How long a new session with a device is given, before there is another one."""

LONGEST_WAIT = 60.0

_log = logging.getLogger(__name__)


class Mending:
    def __init__(self, vault: Vault, user: UserId, ask: Ask, lists: DeviceLists, to_device: ToDevice) -> None:
        self._vault, self._user, self._ask, self._lists, self._to_device = vault, user, ask, lists, to_device
        self._news = asyncio.Event()

    def wake(self) -> None:
        """A session may be out of step."""
        self._news.set()

    async def run(self) -> None:
        """For ever, and beside intake: it asks the homeservers of people whom nobody knows, which take their time."""
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._mend_sessions()
                failures = 0
            except (Transient, Refused, StateError) as error:
                failures += 1
                _log.warning("%s; it is tried again", error)
                await asyncio.sleep(back_off(failures, LONGEST_WAIT))
                self._news.set()

    async def ask_for(self, unread: Sequence[Unread]) -> None:
        """Ask who wrote these events, and our own other devices, for their keys; once for each session.

        https://spec.matrix.org/v1.16/client-server-api/#key-requests
        """
        if not unread:
            return

        def work(r: Records) -> None:
            own = OwnDevice.of(r, self._vault.key)
            assert own is not None
            for one in unread:
                name, sender = key(one.room_id, one.session_id), one.event["sender"]
                if r.get(ASKED, name) is not None or not one.session_id:
                    continue
                request = {
                    "action": "request",
                    "request_id": secrets.token_hex(16),
                    "requesting_device_id": own.device_id,
                    "body": {
                        "algorithm": MEGOLM_ALGORITHM,
                        "room_id": one.room_id,
                        "session_id": one.session_id,
                        "sender_key": obj(one.event["content"]).get("sender_key", ""),
                    },
                }
                post(r, "m.room_key_request", [(user, "*", request) for user in {sender, self._user}])
                save(r, ASKED, name, {"user": sender})

        await self._vault.do(work)

    async def _mend_sessions(self) -> None:
        """Begin new Olm sessions where the old ones do not work: the other device uses the new one from then on.

        https://spec.matrix.org/v1.16/client-server-api/#recovering-from-undecryptable-messages
        Raises MatrixError, StateError.
        """

        def find(r: Records) -> tuple[set[tuple[str, str]], set[str]]:
            r.drop_before(WEDGED, time.time() - AGAIN_SECONDS)
            names = (name.partition(" ") for name, value in r.all(WEDGED) if not json.loads(value)["mended"])
            wedged = {(user, curve25519) for user, _, curve25519 in names}
            known = {user for user, _ in wedged if r.get(USER, user) is not None}
            for user in known:
                changed(r, user)
            return wedged, {user for user, _ in wedged} - known

        if self._vault.has_none(WEDGED):
            return
        wedged, strangers = await self._vault.do(find)
        if not wedged:
            return
        await self._lists.refresh(user for user, _ in wedged)

        def mending(r: Records) -> list[Device]:
            found = devices_of(r, {user for user, _ in wedged})
            for user in strangers:
                r.drop(USER, user)  # with whom we share no room, perhaps
            return [one for one in found if (one.user_id, one.curve25519) in wedged]

        devices: list[Device] = await self._vault.do(mending)
        if devices:
            await claim(self._vault, self._ask, devices)

        def greet(r: Records) -> None:
            own = OwnDevice.of(r, self._vault.key)
            assert own is not None
            for name in wedged:
                save(r, WEDGED, key(*name), {"mended": True})
            for one in devices:
                to = one.user_id, one.curve25519, one.ed25519
                if (content := olm.encrypt(r, self._vault.key, own, to, "m.dummy", {})) is not None:
                    post(r, "m.room.encrypted", [(one.user_id, one.device_id, content)])

        await self._vault.do(greet)
        await self._to_device.flush()
