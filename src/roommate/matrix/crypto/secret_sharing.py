"""The account's secrets for another session of the account that was verified: such as Element, logged in as the bot.

A session asks for them right after it was verified. https://spec.matrix.org/v1.16/client-server-api/#sharing
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

from roommate.domain import JsonObject, UserId
from roommate.matrix.crypto import olm
from roommate.matrix.crypto.account_secrets import NAMES, secrets_of
from roommate.matrix.crypto.cross_signing import Identity, kept_identity
from roommate.matrix.crypto.device_lists import Device, master_key, self_signing_key
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.key_backup import KeyBackup
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import WANTED, Records, Vault, key, save
from roommate.matrix.crypto.sealing import claim
from roommate.matrix.crypto.signing import is_signed
from roommate.matrix.crypto.to_device_outbox import post
from roommate.matrix.parse import obj, text

MOST_WAITING = 50
SECONDS = 600.0
"""How long a request waits for a homeserver that does not answer."""
LONGEST_NAME = 255

_log = logging.getLogger(__name__)


def note(r: Records, own: OwnDevice, sender: str, content: JsonObject) -> None:
    """Keep a request of another session of the account, or drop one that is not made any more. Anybody could have
    written it: it is no proof of anything, and only decides which sessions are looked at."""
    device, request = (text(content.get(part), LONGEST_NAME) for part in ("requesting_device_id", "request_id"))
    if sender != own.user_id or not device or not request or device == own.device_id:
        return
    name, wanted = key(device, request), content.get("name")
    if content.get("action") == "request_cancellation":
        r.drop(WANTED, name)
    elif content.get("action") == "request" and wanted in NAMES and len(r.all(WANTED)) < MOST_WAITING:
        save(r, WANTED, name, {"device": device, "request": request, "secret": wanted})


class SecretSharing:
    """Never to anybody but a device whose keys, all of them, the account's identity has signed: the one that is kept
    here, whatever the homeserver says. Who can do that has had the secrets already, or has verified that device."""

    def __init__(self, vault: Vault, ask: Ask, user: UserId, folder: Path, backup: KeyBackup) -> None:
        self._vault, self._ask, self._user, self._folder, self._backup = vault, ask, user, folder, backup
        self._told: set[str] = set()
        """Sessions that asked and got nothing, of which operators were told."""

    async def answer(self) -> None:
        """Each request once. Raises MatrixError, StateError: then it is to be tried again."""

        def waiting(r: Records) -> list[JsonObject]:
            r.drop_before(WANTED, time.time() - SECONDS)
            return [json.loads(value) for _, value in r.all(WANTED)]

        requests: list[JsonObject] = [] if self._vault.has_none(WANTED) else await self._vault.do(waiting)
        if not requests:
            return
        body: JsonObject = {"device_keys": {self._user: []}}
        served = await self._ask.call("tell the keys of the bot's devices", "POST", "/keys/query", body)
        mine = kept_identity(self._folder)
        devices = self._verified(served, mine, {one["device"] for one in requests})
        held = {} if mine is None else secrets_of(mine, None if self._backup.problem else self._backup.key)

        def strangers(r: Records) -> list[Device]:
            return [one for one in devices.values() if not olm.has_session(r, one.user_id, one.curve25519)]

        if unknown := await self._vault.do(strangers):
            await claim(self._vault, self._ask, unknown)

        def reply(r: Records) -> set[str]:
            own = OwnDevice.of(r, self._vault.key)
            assert own is not None
            given = set()
            for one in requests:
                r.drop(WANTED, key(one["device"], one["request"]))
                device, secret = devices.get(one["device"]), held.get(one["secret"])
                if device is None or secret is None:
                    continue
                to = self._user, device.curve25519, device.ed25519
                content = {"request_id": one["request"], "secret": secret}
                if (sealed := olm.encrypt(r, self._vault.key, own, to, "m.secret.send", content)) is not None:
                    post(r, "m.room.encrypted", [(self._user, device.device_id, sealed)])
                    given.add(device.device_id)
            return given

        given = await self._vault.do(reply)
        for name in sorted({one["device"] for one in requests}):
            if name in given:
                _log.warning("session %s of the bot's account, which is verified, was given the account's keys", name)
            elif name not in devices and name not in self._told and len(self._told) < MOST_WAITING:
                self._told.add(name)
                _log.error(
                    "session %s of the bot's account asks for the account's keys, and gets none, since it is not "
                    "verified: if it is yours, run `roommate verify %s`", name, name,
                )  # fmt: skip

    def _verified(self, served: JsonObject, mine: Identity | None, names: set[str]) -> dict[str, Device]:
        if mine is None:
            return {}
        ours = mine.master.public, mine.self_signing.public
        if (master_key(served, self._user), self_signing_key(served, self._user)) != ours:
            return {}  # the account is somebody else's by now
        found = {}
        for name in names:
            given = obj(obj(obj(served.get("device_keys")).get(self._user)).get(name))
            keys = obj(given.get("keys"))
            curve25519, ed25519 = keys.get(f"curve25519:{name}"), keys.get(f"ed25519:{name}")
            if (
                (given.get("user_id"), given.get("device_id")) == (self._user, name)
                and isinstance(curve25519, str)
                and isinstance(ed25519, str)
                and is_signed(given, self._user, f"ed25519:{name}", ed25519)
                and is_signed(given, self._user, mine.self_signing.id, mine.self_signing.public)
            ):
                found[name] = Device(self._user, name, curve25519, ed25519, cross_signed=True)
        return found
