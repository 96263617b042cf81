"""The devices of the bot's account, as the homeserver lists them: which there are, and how old ones go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from roommate.domain import JsonObject, UserId
from roommate.errors import NotFound, Refused
from roommate.matrix.crypto.device_lists import self_signing_key
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import Vault
from roommate.matrix.crypto.signing import is_signed
from roommate.matrix.parse import items, obj, text

LONGEST_NAME = 255


@dataclass(frozen=True, slots=True)
class AccountDevice:
    id: str
    name: str
    seen: float | None
    """Seconds since 1970."""
    encrypts: bool
    """The homeserver has keys of it."""
    signed: bool
    """By the bot's account."""
    ours: bool
    """The one that this daemon is."""
    fingerprint: str = ""


class AccountDevices:
    def __init__(self, vault: Vault, ask: Ask, user: UserId) -> None:
        self._vault, self._ask, self._user = vault, ask, user

    async def all(self) -> Sequence[AccountDevice]:
        """Ours first, then those that were seen last. Raises MatrixError, StateError."""
        own: OwnDevice | None = await self._vault.do(lambda r: OwnDevice.of(r, self._vault.key))
        listed = await self._ask.call("list the bot's devices", "GET", "/devices")
        asked: JsonObject = {"device_keys": {self._user: []}}
        served = await self._ask.call("tell the keys of the bot's devices", "POST", "/keys/query", asked)
        keys, signer = obj(obj(served.get("device_keys")).get(self._user)), self_signing_key(served, self._user)
        found = []
        for one in map(obj, items(listed.get("devices"))):
            if (name := text(one.get("device_id"), LONGEST_NAME)) is None:
                continue
            at, public = one.get("last_seen_ts"), obj(keys.get(name))
            found.append(
                AccountDevice(
                    name,
                    text(one.get("display_name"), LONGEST_NAME) or "",
                    at / 1000 if isinstance(at, int) else None,
                    bool(public),
                    signer is not None and is_signed(public, self._user, f"ed25519:{signer}", signer),
                    own is not None and own.device_id == name,
                    text(obj(public.get("keys")).get(f"ed25519:{name}"), LONGEST_NAME) or "",
                )
            )
        return sorted(found, key=lambda one: (not one.ours, -(one.seen or 0.0)))

    async def remove(self, names: Sequence[str], password: str) -> None:
        """Log these out for good. Raises MatrixError, StateError, NotFound; Refused where one is ours, or the
        homeserver wants more than a password.

        https://spec.matrix.org/v1.16/client-server-api/#post_matrixclientv3delete_devices
        """
        known = {one.id: one for one in await self.all()}
        for name in names:
            if name not in known:
                raise NotFound(
                    f"the bot's account has no device {name!r}: `roommate devices ls` shows those that it has"
                )
            if known[name].ours:
                raise Refused(f"{name} is the device that runs: `roommate auth login` makes a new one")
        what, path, body = "remove devices", "/delete_devices", {"devices": list(names)}
        answer = await self._ask.call(what, "POST", path, body, also=401)
        if "flows" not in answer:
            return
        steps = [flow.get("stages") for flow in answer["flows"] if isinstance(flow, dict)]
        if not password or ["m.login.password"] not in steps:
            raise Refused(
                "the homeserver wants to be asked by a person before it removes a device: set MATRIX_PASSWORD and "
                "start again, or remove it where the account is managed"
            )
        auth = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": self._user},
            "password": password,
            "session": answer.get("session"),
        }
        if "flows" in await self._ask.call(what, "POST", path, {**body, "auth": auth}, also=401):
            raise Refused("MATRIX_PASSWORD is not what the homeserver removes devices with")
