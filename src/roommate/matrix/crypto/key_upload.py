"""The homeserver has our device's keys, and enough one-time keys for others to begin with."""

from __future__ import annotations

from roommate.domain import JsonObject, UserId
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import Records, Vault
from roommate.matrix.parse import obj

STOCK = 50
"""One-time keys that the homeserver holds for us; as many as vodozemac wants at most."""

KIND = "signed_curve25519"


class KeyUpload:
    def __init__(self, vault: Vault, ask: Ask) -> None:
        self._vault, self._ask = vault, ask
        self._stocked = STOCK
        self._fallback_used = False

    async def begin(self, user_id: UserId, device_id: str) -> bool:
        """Be this device: the one that is remembered, or a new one. Gives False where that is not possible, since the
        homeserver has its keys and we do not. Raises MatrixError, StateError."""
        answer = await self._ask.call(
            "tell the bot's devices", "POST", "/keys/query", {"device_keys": {user_id: [device_id]}}
        )
        served = obj(obj(obj(obj(answer.get("device_keys")).get(user_id)).get(device_id)).get("keys"))

        def work(r: Records) -> bool | None:
            own = OwnDevice.of(r, self._vault.key)
            if own is None or (own.user_id, own.device_id) != (user_id, device_id):
                if served:
                    return None
                own = OwnDevice.begin(r, self._vault.key, user_id, device_id)
            if served and served.get(own.key_id) != own.ed25519:
                return None
            return bool(served)

        known: bool | None = await self._vault.do(work)
        if known is None:
            return False
        if not known:
            await self._introduce()
        return True

    async def _introduce(self) -> None:
        def work(r: Records) -> JsonObject:
            own = self._own(r)
            body = {
                "device_keys": own.keys(),
                "one_time_keys": own.fresh_one_time_keys(STOCK),
                "fallback_keys": own.fresh_fallback_key(),
            }
            own.save(r, self._vault.key)
            return body

        await self._upload(await self._vault.do(work))

    def learn(self, counts: object, unused: object) -> None:
        """What a sync says of our keys: `counts` of one-time keys by algorithm, and of which a fallback is unused."""
        if isinstance(counts, dict):
            count = counts.get(KIND, 0)
            self._stocked = count if isinstance(count, int) else 0
        if isinstance(unused, list):
            self._fallback_used = KIND not in unused

    async def stock(self) -> None:
        """Upload what is missing. Raises MatrixError, StateError."""
        few, fallback = self._stocked < STOCK // 2, self._fallback_used
        if not few and not fallback:
            return

        def work(r: Records) -> JsonObject:
            own = self._own(r)
            body: JsonObject = {}
            if few:
                body["one_time_keys"] = own.fresh_one_time_keys(STOCK - self._stocked)
            if fallback:
                body["fallback_keys"] = own.fresh_fallback_key()
            own.save(r, self._vault.key)
            return body

        await self._upload(await self._vault.do(work))

    async def _upload(self, body: JsonObject) -> None:
        answer = await self._ask.call("take the bot's keys", "POST", "/keys/upload", body)

        def work(r: Records) -> None:
            own = self._own(r)
            own.fallback = {}
            own.save(r, self._vault.key)

        await self._vault.do(work)
        self.learn(answer.get("one_time_key_counts"), [KIND] if "fallback_keys" in body else None)

    def _own(self, r: Records) -> OwnDevice:
        own = OwnDevice.of(r, self._vault.key)
        assert own is not None, "`begin` comes first"
        return own
