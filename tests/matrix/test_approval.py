"""A homeserver that has a person approve the bot's identity where accounts are managed, and late approvals."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from roommate.domain import UserId
from roommate.errors import Refused
from roommate.matrix.crypto import cross_signing
from roommate.matrix.crypto.cross_signing import CrossSigning
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.store import CryptoRecords
from tests.patience import until

JsonObject = dict[str, Any]
BOT = UserId("@bot:a")


class Homeserver:
    """Takes an identity as soon as somebody has approved it at the address that its newest session names."""

    def __init__(self, step: str) -> None:
        self.step = step
        self.session = 1
        self.approved = False
        self.asked: list[JsonObject] = []
        self.served: JsonObject = {}

    async def call(
        self, what: str, method: str, path: str, body: JsonObject | None = None, seconds: float = 0, also: int = 0
    ) -> JsonObject:
        body = body or {}
        if path == "/keys/query":
            return self.served
        if path == "/keys/signatures/upload":
            return {}
        assert path == "/keys/device_signing/upload"
        auth = body.get("auth", {})
        self.asked.append(auth)
        if auth and auth["session"] != str(self.session):
            raise Refused("Unknown session ID", "M_UNKNOWN")
        if auth and self.approved:
            self.served = {f"{use}_keys": {BOT: body[f"{use}_key"]} for use in cross_signing.USES}
            return {}
        address = f"https://account.example/?action=reset&session={self.session}"
        return {
            "session": str(self.session),
            "flows": [{"stages": [self.step]}],
            "params": {self.step: {"url": address}},
        }


@pytest.fixture
async def records(tmp_path: Path) -> AsyncIterator[CryptoRecords]:
    one = CryptoRecords(tmp_path)
    await one.do(lambda r: OwnDevice.begin(r, one.key, BOT, "DEVICE"))
    yield one
    await one.close()


@pytest.mark.parametrize("step", cross_signing.APPROVED_IN_BROWSER)
async def test_who_approves_it_where_the_account_is_managed_need_not_do_more(
    records: CryptoRecords, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cross_signing, "SOONEST_SECONDS", 0.001)
    homeserver = Homeserver(step)
    signing = CrossSigning(records, homeserver, tmp_path)
    await signing.begin(BOT, "DEVICE", "")
    assert "logged in as the bot, at https://account.example/?action=reset&session=1 :" in signing.problem
    running = asyncio.create_task(signing.run())
    await until(lambda: len(homeserver.asked) > 2, "questions whether it is approved")
    assert caplog.text.count("wants a person to") == 1, "that is said once"
    homeserver.session = 2  # the first one was too long ago
    await until(lambda: "session=2" in signing.problem, "another address")
    await until(lambda: caplog.text.count("wants a person to") == 2, "that to be said, too")
    homeserver.approved = True
    await until(lambda: not signing.problem, "the end of it")
    assert not signing.awaits_approval
    assert cross_signing.master_in(tmp_path) in homeserver.served["master_keys"][BOT]["keys"].values()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
