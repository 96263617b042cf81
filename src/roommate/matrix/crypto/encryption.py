"""Encryption as the rest of the house knows it: begin, read what comes, seal what goes, look after the keys."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from roommate.domain import Account, JsonObject, RoomId, UserId
from roommate.errors import Refused, StateError, Transient
from roommate.matrix.crypto.account_devices import AccountDevices
from roommate.matrix.crypto.cross_signing import CrossSigning
from roommate.matrix.crypto.device_lists import DeviceLists
from roommate.matrix.crypto.forgetting import forget
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.key_backup import KeyBackup
from roommate.matrix.crypto.key_upload import KeyUpload
from roommate.matrix.crypto.missing_keys import Mending
from roommate.matrix.crypto.reading import Reading, Unread
from roommate.matrix.crypto.records import Vault
from roommate.matrix.crypto.recovery import Recovery
from roommate.matrix.crypto.sealing import Sealing
from roommate.matrix.crypto.secret_sharing import SecretSharing
from roommate.matrix.crypto.to_device_outbox import ToDevice
from roommate.matrix.crypto.verifications import Send, Verifications
from roommate.matrix.parse import is_encrypted, obj
from roommate.matrix.room_members import RoomMembers

FORGETS_SECONDS = 86400.0
"""How often it is forgotten what need not be remembered."""
LONGEST_LOOK_UP = 60.0
"""How long an event may wait for a key backup that does not answer, before somebody is told of it."""

_log = logging.getLogger(__name__)


class Encryption:
    """Of one account, on one device. `begin` comes first."""

    def __init__(
        self,
        vault: Vault,
        ask: Ask,
        send: Send,
        members: RoomMembers,
        user: UserId,
        folder: Path,
        *,
        required: bool,
        signed_only: bool,
        url: str = "",
    ) -> None:
        """`folder` is where the account's own keys are kept, `url` the homeserver's; `send` says something in rooms.
        `signed_only`: devices that their user has not signed are given no keys."""
        lists, to_device = DeviceLists(vault, ask), ToDevice(vault, ask)
        self._vault, self._ask, self._to_device = vault, ask, to_device
        self._keys = KeyUpload(vault, ask)
        self._mending = Mending(vault, user, ask, lists, to_device)
        self.devices = AccountDevices(vault, ask, user)
        self.signing = CrossSigning(vault, ask, folder, url)
        self.sealing = Sealing(vault, ask, lists, members, to_device, required=required, signed_only=signed_only)
        self.verifications = Verifications(vault, ask, send, to_device, user, folder)
        self.reading = Reading(vault, user, self._keys, self.sealing, required=required)
        self.backup = KeyBackup(vault, ask)
        self._secrets = SecretSharing(vault, ask, user, folder, self.backup)
        self.recovery = Recovery(vault, ask, user, folder, self.signing, self.backup, self.reading.keys_came)

    async def begin(self, login: Account, password: str) -> bool:
        """Be the device of this login. False where that is not possible any more: what the device knew is not here.
        Raises MatrixError, StateError."""
        if not login.device_id:
            raise Refused("the access token belongs to no device, so nothing can be encrypted: log in for another one")
        if not await self._keys.begin(login.user_id, login.device_id):
            return False
        await self.signing.begin(login.user_id, login.device_id, password)
        await self.backup.begin()
        return True

    @property
    def works(self) -> bool:
        return not self.sealing.out_of_order

    def counts(self) -> Mapping[str, int]:
        """Since this process began: events that came without their key, and keys that were not given, to the bot and
        by it."""
        reading = self.reading
        return {
            "undecrypted": reading.undecrypted,
            "withheld_from_bot": reading.withheld,
            "withheld_by_bot": self.sealing.withheld,
        }

    def stand_still(self, why: str) -> None:
        """Nothing can be encrypted in this process: encrypted rooms are neither read nor written, others are."""
        self.sealing.out_of_order = why

    async def look_after(self, overdue: list[Unread]) -> None:
        """After each sync: keys are stocked, asked for, sent. What fails is tried again after the next one."""
        if not self.works:
            return
        try:
            await self._keys.stock()
            await self._mending.ask_for(overdue)
            await self._secrets.answer()
            await self._to_device.flush()
        except (Transient, Refused, StateError) as error:
            _log.warning("%s; it is tried again", error)
        self._mending.wake()
        self.backup.wake()

    async def run(self) -> None:
        """Beside all else, for ever: room keys are backed up, sessions that are out of step are mended, what is old is
        forgotten, and what somebody has approved is taken up."""
        if self.works:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.signing.run())
                group.create_task(self.backup.run())
                group.create_task(self._mending.run())
                group.create_task(self._forget())

    async def _forget(self) -> None:
        while True:
            try:
                await forget(self._vault, self._ask)
            except (Transient, Refused, StateError) as error:
                _log.warning("%s; it is tried again tomorrow", error)
            await asyncio.sleep(FORGETS_SECONDS)

    # ── Read, with the backup's help ─────────────────────────────────────────────────────────────

    async def overdue(self) -> list[Unread]:
        """The events of which somebody is to be told now, since the backup has no key for them either: one of each
        session. Raises StateError."""
        found = await self.reading.overdue()
        if not found or not self.backup.version:
            return found
        try:
            if not await self.backup.look_up((one.room_id, one.session_id) for one in found):
                return found
        except Transient as error:
            _log.warning("%s", error)
            return self.reading.postpone(found, LONGEST_LOOK_UP)
        await self.reading.keys_came()
        return await self.reading.overdue()

    async def read_old(self, room_id: RoomId, events: list[JsonObject]) -> list[JsonObject]:
        """Events that were there before, also those whose key only the backup has. Raises StateError."""
        found = await self.reading.read(room_id, events)
        unread = [str(obj(one.get("content")).get("session_id", "")) for one in found if is_encrypted(one)]
        try:
            if unread and await self.backup.look_up((room_id, session_id) for session_id in unread):
                await self.reading.keys_came()
                found = await self.reading.read(room_id, events)
        except Transient as error:
            _log.warning("%s", error)
        return found
