"""Encryption as the rest of the house knows it: begin, read what comes, seal what goes, look after the keys."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path

from roommate.domain import Account, UserId
from roommate.errors import Refused, StateError, Transient
from roommate.matrix.crypto import incoming_room_keys
from roommate.matrix.crypto.account_devices import AccountDevices
from roommate.matrix.crypto.cross_signing import CrossSigning
from roommate.matrix.crypto.device_lists import DeviceLists
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.key_upload import KeyUpload
from roommate.matrix.crypto.missing_keys import Mending
from roommate.matrix.crypto.reading import Reading, Unread
from roommate.matrix.crypto.records import SEALED, Records, Vault
from roommate.matrix.crypto.room_members import RoomMembers
from roommate.matrix.crypto.sealing import Sealing
from roommate.matrix.crypto.to_device_outbox import ToDevice
from roommate.matrix.crypto.verifications import Send, Verifications

SEALED_SECONDS = 60 * 86400.0
"""How long an encrypted event that never went out can be sent as it was."""

_log = logging.getLogger(__name__)


class Encryption:
    """Of one account, on one device. `begin` comes first."""

    def __init__(
        self, vault: Vault, ask: Ask, send: Send, user: UserId, folder: Path, *, required: bool, signed_only: bool
    ) -> None:
        """`folder` is where the account's own keys are kept; `send` says something in a room.
        `signed_only`: devices that their user has not signed are given no keys."""
        lists, members, to_device = DeviceLists(vault, ask), RoomMembers(ask), ToDevice(vault, ask)
        self._vault, self._to_device = vault, to_device
        self._keys = KeyUpload(vault, ask)
        self._mending = Mending(vault, user, ask, lists)
        self.devices = AccountDevices(vault, ask, user)
        self.signing = CrossSigning(vault, ask, folder)
        self.sealing = Sealing(vault, ask, lists, members, to_device, required=required, signed_only=signed_only)
        self.verifications = Verifications(vault, ask, send, to_device, user, folder)
        self.reading = Reading(vault, user, self._keys, members, self.sealing, required=required)

    async def begin(self, login: Account, password: str) -> bool:
        """Be the device of this login. False where that is not possible any more: what the device knew is not here.
        Raises MatrixError, StateError."""
        if not login.device_id:
            raise Refused("the access token belongs to no device, so nothing can be encrypted: log in for another one")
        if not await self._keys.begin(login.user_id, login.device_id):
            return False
        await self._vault.do(_forget_old)
        await self.signing.begin(login.user_id, login.device_id, password)
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
            await self._mending.mend_sessions()
            await self._to_device.flush()
        except (Transient, Refused, StateError) as error:
            _log.warning("%s; it is tried again", error)


def _forget_old(r: Records) -> None:
    r.drop_before(SEALED, time.time() - SEALED_SECONDS)
    incoming_room_keys.forget_old(r)
