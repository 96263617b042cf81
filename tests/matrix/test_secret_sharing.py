"""Secrets of the account: given to sessions of the account that its own identity has signed, and to nobody else."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from roommate.domain import UserId
from roommate.matrix.crypto import incoming_room_keys, olm
from roommate.matrix.crypto.account_secrets import NAMES, secrets_of
from roommate.matrix.crypto.backed_up_session import BackupKey
from roommate.matrix.crypto.cross_signing import USES, Identity, keep_identity
from roommate.matrix.crypto.key_backup import KeyBackup
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import POSTED, WANTED, Records
from roommate.matrix.crypto.secret_sharing import MOST_WAITING, SecretSharing
from roommate.matrix.crypto.signing import SigningKey
from roommate.store import CryptoRecords

JsonObject = dict[str, Any]
BOT = UserId("@bot:a")
BACKUP = BackupKey(b"b" * 32)


def identity() -> Identity:
    return Identity(*(SigningKey.fresh() for _ in USES))


class Account:
    """The bot's account with the bot's device and another session, and what the homeserver says of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mine = identity()
        self.bot, self.other = CryptoRecords(folder), CryptoRecords(folder / "other")
        self.served: JsonObject = {}
        self.asked: list[str] = []
        self.backup = KeyBackup(self.bot, self)
        self.sharing = SecretSharing(self.bot, self, BOT, folder, self.backup)

    async def begin(self) -> None:
        keep_identity(self.folder, self.mine)
        await self.bot.do(lambda r: OwnDevice.begin(r, self.bot.key, BOT, "BOT"))
        device = await self.other.do(lambda r: OwnDevice.begin(r, self.other.key, BOT, "OTHER").keys())
        self.serve(self.mine, self.mine.self_signing.signed(device, BOT))
        await self.backup.use("1", BACKUP, whole=False)

    def serve(self, who: Identity, device: JsonObject) -> None:
        keys = who.keys(BOT)
        self.served = {f"{use}_keys": {BOT: keys[f"{use}_key"]} for use in USES}
        self.served["device_keys"] = {BOT: {"OTHER": device}}

    @property
    def device(self) -> JsonObject:
        found: JsonObject = self.served["device_keys"][BOT]["OTHER"]
        return found

    async def call(
        self, what: str, method: str, path: str, body: JsonObject | None = None, seconds: float = 0, also: int = 0
    ) -> JsonObject:
        self.asked.append(path)
        if path == "/keys/query":
            return copy.deepcopy(self.served)
        assert path == "/keys/claim"

        def one_time_key(r: Records) -> JsonObject:
            own = OwnDevice.of(r, self.other.key)
            assert own is not None
            keys = own.fresh_one_time_keys(1)
            own.save(r, self.other.key)
            return keys

        return {"one_time_keys": {BOT: {"OTHER": await self.other.do(one_time_key)}}}

    async def ask(self, name: str, request: str = "1", sender: str = BOT, **more: Any) -> None:
        content = {"action": "request", "name": name, "request_id": request, "requesting_device_id": "OTHER", **more}
        event = {"type": "m.secret.request", "sender": sender, "content": content}

        def work(r: Records) -> None:
            own = OwnDevice.of(r, self.bot.key)
            assert own is not None
            assert not incoming_room_keys.apply(r, self.bot.key, own, event)

        await self.bot.do(work)

    async def given(self) -> dict[str, str]:
        """What the other session can read of what goes out: the secrets by their requests."""
        await self.sharing.answer()
        posted: list[JsonObject] = await self.bot.do(lambda r: [json.loads(value) for _, value in r.all(POSTED)])
        found = {}
        for one in posted:
            assert one["type"] == "m.room.encrypted"
            assert one["messages"].keys() == {BOT}
            assert one["messages"][BOT].keys() == {"OTHER"}

            def read(r: Records, sealed: JsonObject = one["messages"][BOT]["OTHER"]) -> JsonObject:
                own = OwnDevice.of(r, self.other.key)
                assert own is not None
                return olm.decrypt(r, self.other.key, own, BOT, sealed)

            payload = await self.other.do(read)
            assert payload["type"] == "m.secret.send"
            found[payload["content"]["request_id"]] = payload["content"]["secret"]
        return found


@pytest.fixture
async def account(tmp_path: Path) -> AsyncIterator[Account]:
    (tmp_path / "other").mkdir()
    one = Account(tmp_path)
    await one.begin()
    yield one
    await one.bot.close()
    await one.other.close()


async def test_a_verified_session_is_given_each_secret_once(account: Account) -> None:
    for name in NAMES:
        await account.ask(name, name)
    assert await account.given() == secrets_of(account.mine, BACKUP)
    account.asked.clear()
    await account.ask(NAMES[0], NAMES[0])
    await account.sharing.answer()
    assert account.asked == [], "the same event again is none"


def unsigned(account: Account) -> None:
    del account.device["signatures"][BOT][account.mine.self_signing.id]


def another_key(account: Account) -> None:
    """The homeserver has put a device of its own behind the signature."""
    account.device["keys"]["curve25519:OTHER"] = BACKUP.public


def signed_by_master(account: Account) -> None:
    unsigned(account)
    account.served["device_keys"][BOT]["OTHER"] = account.mine.master.signed(account.device, BOT)


def another_identity(account: Account) -> None:
    """The homeserver says that the account is somebody else's, who has signed the device."""
    theirs = identity()
    account.serve(theirs, theirs.self_signing.signed(account.device, BOT))


def another_signer(account: Account) -> None:
    """The same master key, with a self-signing key that it has not signed."""
    theirs = identity()
    account.served["self_signing_keys"][BOT] = theirs.keys(BOT)["self_signing_key"]
    account.served["device_keys"][BOT]["OTHER"] = theirs.self_signing.signed(account.device, BOT)


def not_by_itself(account: Account) -> None:
    del account.device["signatures"][BOT]["ed25519:OTHER"]


def another_name(account: Account) -> None:
    account.device["device_id"] = "ELSE"


def gone(account: Account) -> None:
    account.served["device_keys"][BOT].clear()


def no_identity_here(account: Account) -> None:
    (account.folder / "cross-signing.json").unlink()


@pytest.mark.parametrize(
    "how",
    [
        unsigned, another_key, signed_by_master, another_identity, another_signer, not_by_itself, another_name, gone,
        no_identity_here,
    ],
)  # fmt: skip
async def test_no_other_session_is_given_any(
    account: Account, how: Callable[[Account], None], caplog: pytest.LogCaptureFixture
) -> None:
    how(account)
    await account.ask(NAMES[1])
    assert await account.given() == {}
    assert "gets none, since it is not verified" in caplog.text
    assert await account.bot.do(lambda r: r.all(WANTED)) == [], "nor later"


async def test_what_is_no_request_of_a_session_of_the_account_is_passed_over(account: Account) -> None:
    await account.ask(NAMES[0], sender="@ann:a")
    await account.ask("m.another_secret")
    await account.ask(NAMES[0], requesting_device_id="BOT")
    for wrong in (7, "", None):
        await account.ask(NAMES[0], requesting_device_id=wrong)
    await account.ask(NAMES[0], "taken back")
    await account.ask(NAMES[0], "taken back", action="request_cancellation")
    assert await account.given() == {}
    assert account.asked == []
    for number in range(MOST_WAITING + 10):
        await account.ask(NAMES[0], str(number), requesting_device_id=f"D{number}")
    assert len(await account.bot.do(lambda r: r.all(WANTED))) == MOST_WAITING
    assert await account.given() == {}
    assert account.asked == ["/keys/query"]
