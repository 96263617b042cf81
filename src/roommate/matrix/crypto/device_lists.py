"""Which devices people have: asked of the homeserver when it says that a list has changed, and only then.

https://spec.matrix.org/v1.16/client-server-api/#tracking-the-device-list-for-a-user
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from roommate import logs
from roommate.domain import JsonObject
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.records import ACCOUNT, USER, VERIFIED, Records, Vault, load, save
from roommate.matrix.crypto.signing import is_signed
from roommate.matrix.parse import obj

QUERY_SECONDS = 20.0
SILENT_SECONDS = 60.0
"""How long the homeserver of others that does not answer is left alone."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Device:
    user_id: str
    device_id: str
    curve25519: str
    ed25519: str
    cross_signed: bool
    """By its user, with the key that the user signs devices with."""


def changed(r: Records, user: str) -> None:
    """A list that is known is not as new any more as the homeserver has it."""
    if kept := load(r, USER, user):
        save(r, USER, user, {**kept, "changed": kept["changed"] + 1})


def all_changed(r: Records) -> None:
    for user, _ in r.all(USER):
        changed(r, user)


def devices_of(r: Records, users: Iterable[str]) -> list[Device]:
    """As far as they are known."""
    found = []
    for user in users:
        for name, one in (load(r, USER, user) or {"devices": {}})["devices"].items():
            found.append(Device(user, name, one["curve25519"], one["ed25519"], one["cross_signed"]))
    return found


def sender_of(r: Records, user: str, curve25519: str) -> Device | None:
    """The user's device with this key."""
    return next((one for one in devices_of(r, [user]) if one.curve25519 == curve25519), None)


class DeviceLists:
    def __init__(self, vault: Vault, ask: Ask) -> None:
        self._vault, self._ask = vault, ask
        self._silent: dict[str, float] = {}
        """Whose homeservers did not answer, and until when they are left alone."""

    async def refresh(self, users: Iterable[str]) -> None:
        """Know the lists of these users as the homeserver has them. Those of others' homeservers that do not answer
        stay as they were. Raises MatrixError."""
        now, wanted = time.monotonic(), sorted(set(users))

        def find(r: Records) -> dict[str, int]:
            stale = {}
            for user in wanted:
                kept = load(r, USER, user) or {"asked": 0, "changed": 1}
                if kept["asked"] != kept["changed"] and now >= self._silent.get(user, 0.0):
                    stale[user] = kept["changed"]
            return stale

        stale: dict[str, int] = await self._vault.do(find)
        if not stale:
            return
        body = {"device_keys": {user: [] for user in stale}, "timeout": int(QUERY_SECONDS / 2 * 1000)}
        answer = await self._ask.call("tell people's devices", "POST", "/keys/query", body, QUERY_SECONDS)
        silent = set(obj(answer.get("failures")))
        self._silent = {user: until for user, until in self._silent.items() if until > now}
        for user in stale:
            if user.partition(":")[2] in silent:
                self._silent[user] = now + SILENT_SECONDS

        def keep(r: Records) -> None:
            for user, asked in stale.items():
                if user.partition(":")[2] not in silent:
                    _keep(r, user, asked, answer)

        with logs.about(room=None):  # what this finds out is about people, whichever room is written to
            await self._vault.do(keep)


def _keep(r: Records, user: str, asked: int, answer: JsonObject) -> None:
    kept = load(r, USER, user) or {"changed": asked, "devices": {}}
    before: Mapping[str, Any] = kept["devices"]
    signer = self_signing_key(answer, user)
    own = load(r, ACCOUNT, "own") or {}
    devices = {}
    for name, given in obj(obj(answer.get("device_keys")).get(user)).items():
        if (read := _read(user, name, obj(given))) is None:
            _log.warning("device %s of %s is passed over: its keys are not signed as they have to be", name, user)
            continue
        if name in before and before[name]["ed25519"] != read["ed25519"]:
            _log.warning("device %s of %s is passed over: it says that it has other keys now", name, user)
            devices[name] = before[name]
            continue
        if user == own.get("user") and "asked" in kept and name not in before and name != own["device"]:
            _log.error(
                "the bot's account has a new device, %s: if nobody of you has logged in, change its password", name
            )
        signed = signer is not None and is_signed(given, user, f"ed25519:{signer}", signer)
        devices[name] = {**read, "cross_signed": signed}
    _compare(r, user, master_key(answer, user))
    save(r, USER, user, {"asked": asked, "changed": kept["changed"], "devices": devices})


def _compare(r: Records, user: str, master: str | None) -> None:
    """Say once that somebody is not who was verified any more."""
    kept = load(r, VERIFIED, user)
    if kept is not None and kept["master"] != master:
        r.drop(VERIFIED, user)
        _log.error(
            "%s has another identity than the one that was verified: they reset it, or somebody stands in between: "
            "verify them anew",
            user,
        )


def self_signing_key(answer: JsonObject, user: str) -> str | None:
    """Of an answer to ``/keys/query``: what this user signs devices with, if their master key vouches for it."""
    master = _only_key(obj(obj(answer.get("master_keys")).get(user)), user, "master")
    given = obj(obj(answer.get("self_signing_keys")).get(user))
    signer = _only_key(given, user, "self_signing")
    return signer if master and signer and is_signed(given, user, f"ed25519:{master}", master) else None


def master_key(answer: JsonObject, user: str) -> str | None:
    return _only_key(obj(obj(answer.get("master_keys")).get(user)), user, "master")


def _only_key(given: JsonObject, user: str, usage: str) -> str | None:
    keys = list(obj(given.get("keys")).values())
    if given.get("user_id") != user or given.get("usage") != [usage] or len(keys) != 1:
        return None
    return keys[0] if isinstance(keys[0], str) else None


def _read(user: str, name: str, given: JsonObject) -> JsonObject | None:
    keys = obj(given.get("keys"))
    curve, ed = keys.get(f"curve25519:{name}"), keys.get(f"ed25519:{name}")
    if given.get("user_id") != user or given.get("device_id") != name or " " in name or not isinstance(curve, str):
        return None
    if not is_signed(given, user, f"ed25519:{name}", ed):
        return None
    return {"curve25519": curve, "ed25519": ed}
