"""Cross-signing: the account's own three keys, made once, which vouch for the device that we are.

Clients give keys to devices alone that their user has signed. https://spec.matrix.org/v1.16/client-server-api/#cross-signing
"""

from __future__ import annotations

import base64
import json
import logging
from dataclasses import dataclass
from pathlib import Path

from roommate.domain import JsonObject, UserId
from roommate.errors import Refused, StateError
from roommate.host import durable_files
from roommate.matrix.crypto.device_lists import master_key, self_signing_key
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import Records, Vault
from roommate.matrix.crypto.signing import SigningKey, is_signed
from roommate.matrix.parse import obj

FILE = "cross-signing.json"
_USES = ("master", "self_signing", "user_signing")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Identity:
    """The three keys."""

    master: SigningKey
    self_signing: SigningKey
    user_signing: SigningKey

    def keys(self, user: UserId) -> JsonObject:
        """What an upload says: https://spec.matrix.org/v1.16/client-server-api/#post_matrixclientv3keysdevice_signingupload"""
        said = {}
        for use in _USES:
            one: SigningKey = getattr(self, use)
            public: JsonObject = {"user_id": user, "usage": [use], "keys": {one.id: one.public}}
            said[f"{use}_key"] = public if use == "master" else self.master.signed(public, user)
        return said


def identity(folder: Path) -> Identity:
    """The one that is kept in this folder, made now where there is none: it is on the disk before anybody hears of it.
    A backup has it, so that a restored bot is who it was. Raises StateError."""
    file = folder / FILE
    try:
        if not file.exists():
            fresh = {use: base64.b64encode(SigningKey.fresh().seed).decode() for use in _USES}
            durable_files.replace(file, json.dumps(fresh).encode(), lasting=True)
        kept = json.loads(file.read_bytes())
        return Identity(*(SigningKey(base64.b64decode(kept[use])) for use in _USES))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{file} cannot be read ({error}): put it back from a backup, or move it away") from error


def master_in(folder: Path) -> str:
    """The public part of the master key that is kept in this folder; empty for none."""
    try:
        return identity(folder).master.public if (folder / FILE).exists() else ""
    except StateError:
        return ""


class CrossSigning:
    def __init__(self, vault: Vault, ask: Ask, folder: Path) -> None:
        self._vault, self._ask, self._folder = vault, ask, folder
        self.problem = ""
        """Why the device is not signed, and what to do, for operators; empty when it is."""

    async def begin(self, user: UserId, device: str, password: str) -> None:
        """Have the account's keys on the homeserver, where it has none, and our device signed by them. What cannot be
        done is a `problem`. Raises Transient, TokenRevoked, StateError."""
        try:
            self.problem = await self._begin(user, device, password)
        except Refused as error:
            self.problem = f"the bot's device is not signed, so that strict clients give it no keys: {error}"
        if self.problem:
            _log.error("%s", self.problem)

    async def _begin(self, user: UserId, device: str, password: str) -> str:
        mine = identity(self._folder)
        asked: JsonObject = {"device_keys": {user: []}}
        served = await self._ask.call("tell the bot's identity", "POST", "/keys/query", asked)
        own_keys = obj(obj(obj(served.get("device_keys")).get(user)).get(device))
        master, signer = master_key(served, user), self_signing_key(served, user)
        if signer and is_signed(own_keys, user, f"ed25519:{signer}", signer):
            return ""
        if master is None:
            if refused := await self._upload(mine, user, password):
                return refused
        elif (master, signer) != (mine.master.public, mine.self_signing.public):
            return (
                f"the account {user} has an identity (cross-signing keys) that another client made: the bot's "
                f"device {device} is not signed by it, and strict clients give it no keys. Verify the device from that "
                "client, or reset the identity there"
            )
        await self._sign(mine, user, device)
        return ""

    async def _upload(self, mine: Identity, user: UserId, password: str) -> str:
        path, body = "/keys/device_signing/upload", mine.keys(user)
        answer = await self._ask.call("take the bot's identity", "POST", path, body, also=401)
        if "flows" not in answer:
            return ""
        steps = [flow.get("stages") for flow in answer["flows"] if isinstance(flow, dict)]
        if not password or ["m.login.password"] not in steps:
            return (
                "the homeserver wants to be asked by a person before it takes the bot's identity (cross-signing keys): "
                "set MATRIX_PASSWORD and start again, or approve it where the account is managed"
            )
        auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
            "session": answer.get("session"),
        }
        answer = await self._ask.call("take the bot's identity", "POST", path, {**body, "auth": auth}, also=401)
        return "MATRIX_PASSWORD is not what the homeserver takes the bot's identity with" if "flows" in answer else ""

    async def _sign(self, mine: Identity, user: UserId, device: str) -> None:
        def work(r: Records) -> tuple[JsonObject, JsonObject]:
            own = OwnDevice.of(r, self._vault.key)
            assert own is not None
            return own.keys(), own.signed(mine.keys(user)["master_key"])

        own_keys, master = await self._vault.do(work)
        del own_keys["signatures"]
        body: JsonObject = {user: {device: mine.self_signing.signed(own_keys, user), mine.master.public: master}}
        answer = await self._ask.call("take the signature of the bot's device", "POST", "/keys/signatures/upload", body)
        if failed := obj(answer.get("failures")).get(user):
            raise Refused(f"the homeserver does not take the signature of the bot's device: {failed}")
        _log.info("device %s is signed by the account's own keys", device)
