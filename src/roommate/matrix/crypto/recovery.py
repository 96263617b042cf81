"""Recovery: the account's identity and the key of its backup in secret storage, and out of it on another device.

Making it goes on where it was killed. What is new is in use at the homeserver with one request, the last but those that
tidy up; and until an operator was shown the recovery key it is kept here.
"""

from __future__ import annotations

import asyncio
import binascii
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from roommate.domain import JsonObject, UserId
from roommate.errors import Refused
from roommate.matrix.crypto import cross_signing, recovery_key
from roommate.matrix.crypto.account_secrets import OF_BACKUP, OF_IDENTITY, secrets_of
from roommate.matrix.crypto.backed_up_session import BackupKey
from roommate.matrix.crypto.cross_signing import CrossSigning, Identity
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.key_backup import KeyBackup
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import SETUP, Records, Vault, load, save
from roommate.matrix.crypto.secret_storage import ALGORITHM, SecretStorage, described, fits, seal, unseal
from roommate.matrix.crypto.signing import SigningKey, from_unpadded, unpadded
from roommate.matrix.parse import items

_OWN = "own"
_ASK_FOR_IT = "ask who made it, or begin anew with `roommate recovery setup --replace`"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NewRecovery:
    recovery_key: str
    """As people write it down."""
    key_id: str
    version: str
    """Of the key backup."""


@dataclass(frozen=True, slots=True)
class Recovered:
    version: str
    """Of the key backup that room keys came from, and go to from now on; empty where there is none."""
    keys: int
    """Room keys that were not here."""
    problem: str
    """What could not be done, and why; empty when all was."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the homeserver has of it, and we."""

    key_id: str
    """The key of the secret storage; empty where there is none."""
    version: str
    """Of the key backup that the homeserver has; empty for none."""
    ours: bool
    """Does the bot write to that one?"""
    keys: int
    """Room keys in it."""
    waiting: int
    """Room keys that are to be uploaded."""
    shown: bool
    """False: there is a recovery key that nobody was shown yet."""
    problem: str


@dataclass(frozen=True, slots=True)
class _Pending:
    key: bytes
    key_id: str
    backup: BackupKey
    replace: bool


class Recovery:
    def __init__(
        self,
        vault: Vault,
        ask: Ask,
        user: UserId,
        folder: Path,
        signing: CrossSigning,
        backup: KeyBackup,
        came: Callable[[], Awaitable[None]],
    ) -> None:
        """`folder` is where the account's own keys are kept; `came` is told that there are more room keys."""
        self._vault, self._ask, self._user, self._folder = vault, ask, user, folder
        self._signing, self._backup, self._came = signing, backup, came
        self._storage = SecretStorage(ask, user)
        self._alone = asyncio.Lock()

    # ── Made ─────────────────────────────────────────────────────────────────────────────────────

    async def setup(self, *, replace: bool) -> NewRecovery:
        """Secret storage with a new recovery key, in it the identity and the backup's key. The same once more until
        `shown`. `replace`: also where there is some, and an identity that another client made goes.

        Raises MatrixError, StateError; Refused where an operator has to say what to do.
        """
        async with self._alone:
            pending = await self._pending()
            if pending is None or (replace and not pending.replace):
                if not replace:
                    await self._refuse_to_replace()
                pending = await self._begin(replace=replace)
            version = await self._finish(pending)
            return NewRecovery(recovery_key.written(pending.key), pending.key_id, version)

    async def shown(self, key_id: str) -> None:
        """An operator has the recovery key: it is forgotten here. Raises StateError."""

        def work(r: Records) -> None:
            if (kept := load(r, SETUP, _OWN)) and kept["key_id"] == key_id:
                r.drop(SETUP, _OWN)

        await self._vault.do(work)

    async def _pending(self) -> _Pending | None:
        kept: JsonObject | None = await self._vault.do(lambda r: load(r, SETUP, _OWN))
        if kept is None:
            return None
        key, backup = (from_unpadded(unseal(self._vault.key, SETUP, kept[part])) for part in ("key", "backup"))
        return _Pending(key, kept["key_id"], BackupKey(backup), kept["replace"])

    async def _begin(self, *, replace: bool) -> _Pending:
        served, backup = await self._backup.served(), self._backup.key
        if backup is None or served is None or served.public != backup.public:
            backup = BackupKey(os.urandom(32))
        pending = _Pending(os.urandom(recovery_key.BYTES), secrets.token_hex(16), backup, replace)

        def work(r: Records) -> None:
            sealed = {
                part: seal(self._vault.key, SETUP, unpadded(value))
                for part, value in (("key", pending.key), ("backup", backup.private))
            }
            save(r, SETUP, _OWN, {**sealed, "key_id": pending.key_id, "replace": replace})

        await self._vault.do(work)
        return pending

    async def _refuse_to_replace(self) -> None:
        served = await self._backup.served()
        ours = self._backup.key is not None and served is not None and served.public == self._backup.key.public
        if await self._storage.default() is not None:
            if ours:
                raise Refused(
                    "recovery is set up already: `roommate recovery setup --replace` makes a new recovery key, and the "
                    "one before is of no use then"
                )
            raise Refused(
                "the account has secret storage that this bot has no key of: `roommate recovery restore` takes "
                "over what is in it, with its recovery key or passphrase; `roommate recovery setup --replace` begins "
                "anew, and what is in there is of no use then"
            )
        if served is not None and not ours:
            raise Refused(
                "the account has a key backup that another client made: `roommate recovery setup --replace` makes "
                "another in its place"
            )

    async def _finish(self, pending: _Pending) -> str:
        """Each step may have been done before."""
        await self._signing.establish(replace=pending.replace)
        mine = self._signing.identity
        if self._signing.problem or mine is None:
            problem = self._signing.problem or "the account's identity was made by another client"
            raise Refused(f"{problem}; run this again then" if self._signing.awaits_approval else problem)
        if (await self._signing.served())[0] != mine.master.public:
            raise Refused(
                "the account has an identity that another client made: `roommate recovery restore` takes it over, "
                "`roommate recovery setup --replace` makes a new one"
            )
        served = await self._backup.served()
        if served is not None and served.public == pending.backup.public:
            version = served.version
        else:
            version = await self._backup.make(pending.backup, await self._signed(pending.backup, mine))
        await self._backup.use(version, pending.backup, whole=False)
        kept = secrets_of(mine, pending.backup)
        await self._storage.describe(pending.key_id, described(pending.key))
        # Beside what is there, so that an older key opens it as long as that one is in use.
        for name, secret in kept.items():
            await self._storage.write(name, pending.key_id, pending.key, secret, alone=False)
        await self._storage.use(pending.key_id)
        for name, secret in kept.items():
            await self._storage.write(name, pending.key_id, pending.key, secret, alone=True)
        _log.info("secret storage has a new recovery key, and room keys go to backup %s", version)
        return version

    async def _signed(self, backup: BackupKey, mine: Identity) -> JsonObject:
        """What clients see of the backup: signed by the account and the device."""

        def work(r: Records) -> JsonObject:
            own = OwnDevice.of(r, self._vault.key)
            assert own is not None, "`begin` comes first"
            return mine.master.signed(own.signed({"public_key": backup.public}), self._user)

        return await self._vault.do(work)

    # ── Taken ────────────────────────────────────────────────────────────────────────────────────

    async def restore(self, given: str) -> Recovered:
        """Be who the account is, with its recovery key or passphrase, and read what its backup has of the rooms.

        Raises MatrixError, StateError; Refused where that is not the key, or there is nothing to be had.
        """
        async with self._alone:
            key_id, key = await self._opened(given)
            problem = await self._take_identity(key_id, key)
            if without := await self._take_backup(key_id, key):
                problem = "; ".join(filter(None, (problem, without)))
            elif mine := await self._pending():
                await self.shown(mine.key_id)  # this one is in use
            keys = 0
            if self._backup.key is not None and not self._backup.problem:
                for room in items(
                    (await self._ask.call("tell the bot's rooms", "GET", "/joined_rooms")).get("joined_rooms")
                ):
                    keys += await self._backup.fetch(str(room))
            if keys:
                await self._came()
            return Recovered(self._backup.version, keys, problem)

    async def _opened(self, given: str) -> tuple[str, bytes]:
        found = await self._storage.default()
        if found is None:
            raise Refused("the account has no secret storage to restore from: `roommate recovery setup` makes it")
        key_id, description = found
        if description.get("algorithm") != ALGORITHM:
            raise Refused(f"the account's secret storage is of a kind that is not known here: {_ASK_FOR_IT}")
        for key in await asyncio.to_thread(recovery_key.understood, given, description):
            if fits(key, description):
                return key_id, key
        what = "recovery key or passphrase" if "passphrase" in description else "recovery key"
        raise Refused(f"this is not the {what} of the account's secret storage, or no longer: was one mistyped?")

    async def _take_identity(self, key_id: str, key: bytes) -> str:
        """Gives what is wrong."""
        seeds = [await self._storage.read(name, key_id, key) for name in OF_IDENTITY.values()]
        try:
            found = Identity(*(SigningKey(from_unpadded(seed)) for seed in seeds))
        except (ValueError, binascii.Error):
            return "the account's secret storage has no identity (cross-signing keys) in it"
        if await self._signing.served() != (found.master.public, found.self_signing.public):
            return "the identity in secret storage is not the account's any more: its keys were changed since"
        await asyncio.to_thread(cross_signing.keep_identity, self._folder, found)
        await self._signing.establish()
        return self._signing.problem

    async def _take_backup(self, key_id: str, key: bytes) -> str:
        served = await self._backup.served()
        if served is None:
            return "the account has no key backup: `roommate recovery setup --replace` makes one"
        secret = await self._storage.read(OF_BACKUP, key_id, key)
        try:
            found = BackupKey(from_unpadded(secret))
            if found.public != served.public:
                raise ValueError("it is of another one")
        except ValueError:
            return (
                "secret storage has no key of the account's key backup, so that older messages stay unreadable: "
                "`roommate recovery setup --replace` makes a new backup"
            )
        await self._backup.use(served.version, found, whole=False)
        return ""

    # ── Told ─────────────────────────────────────────────────────────────────────────────────────

    async def standing(self) -> Standing:
        """Raises MatrixError, StateError."""
        default, served = await self._storage.default(), await self._backup.served()
        version = served.version if served else ""
        pending = await self._vault.do(lambda r: r.get(SETUP, _OWN))
        problems = self._signing.problem, self._backup.problem
        return Standing(
            key_id=default[0] if default else "",
            version=version,
            ours=bool(version) and version == self._backup.version,
            keys=served.count if served else 0,
            waiting=await self._backup.waiting(),
            shown=pending is None,
            problem="; ".join(filter(None, problems)),
        )
