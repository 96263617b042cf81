"""Cross-signing: the account's own three keys, made once, which vouch for the device that we are.

Clients give keys to devices alone that their user has signed. https://spec.matrix.org/v1.16/client-server-api/#cross-signing
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from roommate.domain import JsonObject, UserId
from roommate.errors import Refused, StateError, Transient
from roommate.host import durable_files
from roommate.matrix.crypto.device_lists import master_key, self_signing_key
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import Records, Vault
from roommate.matrix.crypto.signing import SigningKey, is_signed
from roommate.matrix.parse import items, obj, text

FILE = "cross-signing.json"
USES = ("master", "self_signing", "user_signing")
APPROVED_IN_BROWSER = ("m.oauth", "org.matrix.cross_signing_reset")
WANTS_PERSON = "the homeserver wants to be asked by a person before it takes the bot's identity (cross-signing keys)"
SOONEST_SECONDS, LATEST_SECONDS = 5.0, 60.0
"""How long after it was asked for an approval the homeserver is asked whether it is there, at first and later."""

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
        for use in USES:
            one: SigningKey = getattr(self, use)
            public: JsonObject = {"user_id": user, "usage": [use], "keys": {one.id: one.public}}
            said[f"{use}_key"] = public if use == "master" else self.master.signed(public, user)
        return said


def kept_identity(folder: Path) -> Identity | None:
    """The one that is kept in this folder, None where there is none. Raises StateError."""
    file = folder / FILE
    try:
        seeds = json.loads(file.read_bytes())
        return Identity(*(SigningKey(base64.b64decode(seeds[use])) for use in USES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{file} cannot be read ({error}): put it back from a backup, or move it away") from error


def keep_identity(folder: Path, identity: Identity) -> None:
    """In the place of the one that is kept. Backups have it: a restored bot is who it was. Raises StateError."""
    file = folder / FILE
    seeds = {use: base64.b64encode(getattr(identity, use).seed).decode() for use in USES}
    try:
        durable_files.replace(file, json.dumps(seeds).encode(), lasting=True)
    except OSError as error:
        raise StateError(f"{file} cannot be written: {error}") from error


def master_in(folder: Path) -> str:
    """The public part of the master key that is kept in this folder; empty for none."""
    try:
        mine = kept_identity(folder)
    except StateError:
        return ""
    return mine.master.public if mine else ""


class CrossSigning:
    def __init__(self, vault: Vault, ask: Ask, folder: Path, homeserver: str = "") -> None:
        """`homeserver` is its URL, for people who have to approve something there."""
        self._vault, self._ask, self._folder, self._homeserver = vault, ask, folder, homeserver
        self._login: tuple[UserId, str, str] | None = None
        self._approval = ""
        """The session of an upload that somebody may have approved meanwhile."""
        self._to_approve = asyncio.Event()
        """Somebody was told where to approve it."""
        self._replacing = False
        self._alone = asyncio.Lock()
        self.problem = ""
        """Why the device is not signed, and what to do, for operators; empty when it is."""

    @property
    def identity(self) -> Identity | None:
        """Raises StateError."""
        return kept_identity(self._folder)

    async def begin(self, user: UserId, device: str, password: str) -> None:
        """Have the account's keys on the homeserver, where it has none, and our device signed by them. What cannot be
        done is a `problem`. Raises Transient, TokenRevoked, StateError."""
        self._login = user, device, password
        await self.establish()
        if self.problem:
            _log.error("%s", self.problem)

    async def establish(self, *, replace: bool = False) -> None:
        """As `begin`; `replace`: an identity that another client made is not the account's any more."""
        assert self._login is not None, "`begin` comes first"
        async with self._alone:
            self._to_approve.clear()
            self._replacing = replace
            try:
                self.problem = await self._establish(*self._login, replace=replace)
            except Refused as error:
                self.problem = f"the bot's device is not signed, so that strict clients give it no keys: {error}"

    @property
    def awaits_approval(self) -> bool:
        """The `problem` ends as soon as somebody has approved something in a browser."""
        return self._to_approve.is_set()

    async def run(self) -> None:
        """Go on where somebody approves something, for ever."""
        while True:
            await self._to_approve.wait()
            since = time.monotonic()
            while self.awaits_approval:
                await asyncio.sleep(min(max((time.monotonic() - since) / 10, SOONEST_SECONDS), LATEST_SECONDS))
                before = self.problem
                try:
                    await self.establish(replace=self._replacing)
                except (Transient, StateError) as error:
                    _log.warning("%s; it is tried again", error)
                    self._to_approve.set()
                if self.problem not in ("", before):
                    _log.error("%s", self.problem)

    async def served(self) -> tuple[str | None, str | None]:
        """The master key and the self-signing key that others see. Raises MatrixError."""
        assert self._login is not None, "`begin` comes first"
        user, _, _ = self._login
        answer = await self._query(user)
        return master_key(answer, user), self_signing_key(answer, user)

    async def _query(self, user: UserId) -> JsonObject:
        asked: JsonObject = {"device_keys": {user: []}}
        return await self._ask.call("tell the bot's identity", "POST", "/keys/query", asked)

    async def _establish(self, user: UserId, device: str, password: str, *, replace: bool) -> str:
        served = await self._query(user)
        own_keys = obj(obj(obj(served.get("device_keys")).get(user)).get(device))
        master, signer, mine = master_key(served, user), self_signing_key(served, user), self.identity
        ours = mine is not None and (master, signer) == (mine.master.public, mine.self_signing.public)
        if signer and (ours or not replace) and is_signed(own_keys, user, f"ed25519:{signer}", signer):
            return ""
        if not ours and master is not None and not replace:
            return (
                f"the account {user} has an identity (cross-signing keys) that another client made: the bot's "
                f"device {device} is not signed by it, and strict clients give it no keys. `roommate recovery restore` "
                "takes the identity over, with the account's recovery key or passphrase; without one, verify the "
                "device from that client, or make a new identity with `roommate recovery setup --replace`"
            )
        if mine is None:
            mine = Identity(*(SigningKey.fresh() for _ in USES))
            keep_identity(self._folder, mine)  # on the disk before anybody hears of it
        if not ours and (refused := await self._upload(mine, user, password)):
            return refused
        await self._sign(mine, user, device)
        return ""

    async def _upload(self, mine: Identity, user: UserId, password: str) -> str:
        path, body = "/keys/device_signing/upload", mine.keys(user)
        approved: JsonObject = {"auth": {"session": self._approval}} if self._approval else {}
        try:
            answer = await self._ask.call("take the bot's identity", "POST", path, {**body, **approved}, also=401)
        except Refused:
            if not approved:
                raise
            self._approval = ""  # it was too long ago
            answer = await self._ask.call("take the bot's identity", "POST", path, body, also=401)
        if "flows" not in answer:
            return ""
        steps = [flow.get("stages") for flow in items(answer["flows"]) if isinstance(flow, dict)]
        if not password or ["m.login.password"] not in steps:
            self._approval = str(answer.get("session") or "")
            return self._wanted(answer, [step[0] for step in steps if isinstance(step, list) and len(step) == 1])
        auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": password,
            "session": answer.get("session"),
        }
        answer = await self._ask.call("take the bot's identity", "POST", path, {**body, "auth": auth}, also=401)
        return "MATRIX_PASSWORD is not what the homeserver takes the bot's identity with" if "flows" in answer else ""

    def _wanted(self, answer: JsonObject, steps: Sequence[object]) -> str:
        """What a person has to do: https://spec.matrix.org/v1.17/client-server-api/#oauth-authentication"""
        params = obj(answer.get("params"))
        addresses = (text(obj(params.get(step)).get("url")) for step in steps if step in APPROVED_IN_BROWSER)
        address = next(filter(None, addresses), None)
        if address is None and "m.login.sso" in steps:
            query = urlencode({"session": self._approval})
            address = f"{self._homeserver}/_matrix/client/v3/auth/m.login.sso/fallback/web?{query}"
        if address is not None:
            self._to_approve.set()
            return (
                f"approve the bot's identity (cross-signing keys), logged in as the bot, at {address} : the homeserver "
                "wants a person to, and the bot goes on by itself then"
            )
        return f"{WANTS_PERSON}: set MATRIX_PASSWORD and start again, or approve it where the account is managed"

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
