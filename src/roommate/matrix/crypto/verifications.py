"""All verifications that run: their events in and out, their ends, and what comes of them: signatures.

They run in memory: what a restart interrupts is cancelled by the next start, which finds it in the `Vault`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from roommate.domain import EventId, JsonObject, RoomId, UserId
from roommate.errors import MatrixError, Refused, StateError, Transient
from roommate.host import deadlines
from roommate.matrix.crypto import short_auth_string as sas
from roommate.matrix.crypto.cross_signing import kept_identity
from roommate.matrix.crypto.device_lists import master_key
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import VERIFIED, VERIFYING, Records, Vault, load, save
from roommate.matrix.crypto.short_auth_string import Side
from roommate.matrix.crypto.signing import is_signed
from roommate.matrix.crypto.to_device_outbox import ToDevice, post
from roommate.matrix.crypto.verification import PREFIX, SECONDS, Cancelled, Said, Stage, Verification
from roommate.matrix.parse import items, milliseconds, obj, text

FUTURE_SECONDS = 300.0
"""How far ahead somebody's clock may be."""
MOST = 20
"""That run at once."""
TRIES = 6
RETRY_SECONDS = 10.0
LONGEST_NAME = 255

_log = logging.getLogger(__name__)


class Send(Protocol):
    async def send(self, room: RoomId, event_type: str, content: JsonObject, txn_id: str) -> EventId: ...


class Witness(Protocol):
    """Who shows people what there is to compare, and knows who may."""

    def may(self, user: str) -> bool: ...

    async def shown(self, one: Verification) -> RoomId | None:
        """Where people see it; None for nowhere."""
        ...

    async def over(self, user: str, told_in: RoomId | None, subject: str, ended: Ended) -> None: ...


@dataclass(frozen=True, slots=True)
class Ended:
    """`code` is empty where both sides are verified; then `signed` says whether the bot's account vouches for them."""

    code: str = ""
    why: str = ""
    theirs: bool = False
    """They have cancelled it."""
    signed: bool = False


@dataclass(frozen=True, slots=True)
class _Heard:
    room_id: RoomId | None
    sender: str
    kind: str
    """Without its prefix."""
    content: JsonObject
    id: str
    """Of the verification."""
    said_at: float
    """Seconds since 1970."""


@dataclass(slots=True)
class _Keys:
    """Which the homeserver tells of somebody."""

    side: Side
    device: JsonObject = field(default_factory=dict)
    master: JsonObject = field(default_factory=dict)


class Verifications:
    def __init__(self, vault: Vault, ask: Ask, send: Send, to_device: ToDevice, user: UserId, folder: Path) -> None:
        self._vault, self._ask, self._send, self._to_device = vault, ask, send, to_device
        self._user, self._folder = user, folder
        self.witness: Witness | None = None
        """Without one nobody is answered."""
        self._running: dict[str, Verification] = {}
        self._keys: dict[str, _Keys] = {}
        self._ended: dict[str, Ended] = {}
        self._past: deque[str] = deque(maxlen=1000)
        """Ids of those that are over, as far as anybody could still write to them."""
        self._heard: asyncio.Queue[_Heard] = asyncio.Queue()
        self._alone = asyncio.Lock()
        self._changed = asyncio.Event()

    # ── What syncs bring ─────────────────────────────────────────────────────────────────────────

    async def note(self, answer: JsonObject, in_rooms: Iterable[tuple[RoomId, JsonObject]]) -> list[_Heard]:
        """What a sync has for us: requests are remembered before its token is, so that one that a crash has us forget
        is cancelled. Give it to `take` when the token is stored. Raises StateError."""
        events = items(obj(answer.get("to_device")).get("events"))
        found = [one for event in events if (one := _from_device(obj(event)))]
        found += [one for room, event in in_rooms if (one := _from_room(room, event, self._user))]
        requests = [one for one in found if one.kind == "request" and self._is_for_us(one)]
        if requests:

            def work(r: Records) -> None:
                for one in requests:
                    if r.get(VERIFYING, one.id) is None:
                        device = text(one.content.get("from_device"), LONGEST_NAME) or ""
                        save(r, VERIFYING, one.id, {"user": one.sender, "device": device, "room": one.room_id})

            await self._vault.do(work)
        return [one for one in found if one.kind != "request" or one in requests]

    def take(self, heard: Sequence[Any]) -> None:
        for one in heard:
            self._heard.put_nowait(one)

    def _is_for_us(self, one: _Heard) -> bool:
        now = time.time()
        fresh = now - SECONDS < one.said_at < now + FUTURE_SECONDS
        return fresh and self.witness is not None and self.witness.may(one.sender)

    async def run(self) -> None:
        """For ever."""
        step = self._interrupted
        while True:
            try:
                await step()
                step = self._step
            except StateError as error:  # a full disk may have room later
                _log.error("verifications wait: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _step(self) -> None:
        """One event, or the end of those that nobody goes on with."""
        heard = None
        with contextlib.suppress(TimeoutError):
            async with deadlines.within(self._next_end()):
                heard = await self._heard.get()
        async with self._alone:
            if heard is not None:
                await self._hear(heard)
            for one in list(self._running.values()):
                if one.ends_at <= time.monotonic():
                    await self._cancel(one, "m.timeout", "nobody went on in time")

    def _next_end(self) -> float | None:
        ends = [one.ends_at for one in self._running.values()]
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    async def _interrupted(self) -> None:
        """Cancel what ran when the process before this one ended."""
        rows: list[str] = await self._vault.do(lambda r: [name for name, _ in r.all(VERIFYING)])
        for name in rows:
            kept: JsonObject = await self._vault.do(lambda r, name=name: load(r, VERIFYING, name) or {})  # type: ignore[misc]
            room = RoomId(kept["room"]) if kept.get("room") else None
            one = Verification(
                name, room, Side(self._user, "", {}), kept["user"], Stage.READY, 0.0, kept.get("device") or "*"
            )
            one.told_in = RoomId(kept["told_in"]) if kept.get("told_in") else room
            await self._cancel(one, "m.user", "the bot was started again meanwhile")

    async def _hear(self, heard: _Heard) -> None:
        try:
            if heard.kind == "request":
                await self._invited(heard)
            elif one := self._running.get(heard.id):
                if (one.user, one.room_id) == (heard.sender, heard.room_id):
                    await self._guarded(one, self._go_on(one, heard))
            elif heard.room_id is None and heard.kind != "cancel" and heard.kind != "done" and self._known(heard):
                lost = Verification(heard.id, None, Side(self._user, "", {}), heard.sender, Stage.READY, 0.0, "*")
                content = {"code": "m.unknown_transaction", "reason": "the bot knows nothing of it"}
                await self._say(lost, [("cancel", content)])
        except (MatrixError, ValueError, KeyError, TypeError, RecursionError) as error:
            _log.warning("a verification with %s does not go on: %s", heard.sender, error)

    def _known(self, heard: _Heard) -> bool:
        """Is it worth an answer?"""
        return heard.id not in self._past and self.witness is not None and self.witness.may(heard.sender)

    async def _invited(self, heard: _Heard) -> None:
        device = text(heard.content.get("from_device"), LONGEST_NAME) or ""
        me = await self._me()
        if heard.id in self._running or heard.id in self._past or (heard.sender, device) == (me.user, me.device):
            if heard.id not in self._running:
                await self._vault.do(lambda r: r.drop(VERIFYING, heard.id))
            return
        for other in [one for one in self._running.values() if one.user == heard.sender]:
            await self._cancel(other, "m.user", "another verification was begun")
        one = Verification(
            heard.id, heard.room_id, me, heard.sender, Stage.INVITED, time.monotonic() + SECONDS, device,
            told_in=heard.room_id,
        )  # fmt: skip
        self._running[one.id] = one
        if len(self._running) > MOST:
            await self._cancel(one, "m.user", "the bot has too many to do")
        elif sas.METHOD not in items(heard.content.get("methods")):
            await self._cancel(one, "m.unknown_method", "only emoji are known here")
        else:
            await self._guarded(one, self._say_ready(one))

    async def _say_ready(self, one: Verification) -> None:
        await self._look_up(one)
        await self._say(one, [one.ready()])

    async def _go_on(self, one: Verification, heard: _Heard) -> None:
        shown = bool(one.emoji)
        if heard.kind == "cancel":
            code, why = (text(heard.content.get(name), 200) or "" for name in ("code", "reason"))
            await self._end(one, Ended(code or "m.user", why, theirs=True))
            return
        if heard.kind == "ready":
            said = await self._accepted(one, heard.content)
        else:
            said = one.take(heard.kind, heard.content)
        await self._say(one, said)
        if one.is_over:
            await self._end(one, Ended(signed=await self._vouch(one)))
        elif one.emoji and not shown:
            self._changed.set()
            if self.witness is not None:
                one.told_in = await self.witness.shown(one) or one.told_in
                await self._remember(one)

    async def _accepted(self, one: Verification, content: JsonObject) -> list[Said]:
        """One of their devices has said yes to our request: we start."""
        if one.stage is not Stage.ASKED:
            raise Cancelled("m.unexpected_message", "it was accepted before")
        asked = one.device
        one.device = text(content.get("from_device"), LONGEST_NAME) or ""
        if sas.METHOD not in items(content.get("methods")):
            raise Cancelled("m.unknown_method", "only emoji are known here")
        if asked not in ("*", "", one.device):
            raise Cancelled("m.invalid_message", "it was accepted by another device than the one that was asked")
        others = await self._look_up(one)
        await self._remember(one)
        if asked == "*":
            content = one.named({"code": "m.accepted", "reason": "another device has accepted it"})
            told = [(one.user, device, content) for device in others]
            await self._vault.do(lambda r: post(r, f"{PREFIX}cancel", told))
        one.stage = Stage.READY
        return [one.start()]

    async def _guarded(self, one: Verification, work: Any) -> None:
        """Do it, or have it cancelled where it cannot go on."""
        try:
            await work
        except Cancelled as error:
            await self._cancel(one, error.code, str(error))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            _log.warning("a verification with %s is cancelled: %s", one.user, error)
            await self._cancel(one, "m.invalid_message", "it cannot be read")
        except MatrixError as error:
            _log.warning("a verification with %s is cancelled: %s", one.user, error)
            await self._cancel(one, "m.user", "the homeserver does not pass it on")

    # ── What people want ─────────────────────────────────────────────────────────────────────────

    async def begin(self, user: UserId, room_id: RoomId | None, device: str = "*") -> Verification:
        """Ask somebody: in a room, or one or all of their devices. Raises MatrixError, StateError."""
        async with self._alone:
            for other in [one for one in self._running.values() if one.user == user]:
                await self._cancel(other, "m.user", "another verification was begun")
            me = await self._me()
            content: JsonObject = {"from_device": me.device, "methods": [sas.METHOD]}
            txn_id = f"roommate-verify-{secrets.token_hex(12)}"
            one = Verification(
                txn_id, room_id, me, user, Stage.ASKED, time.monotonic() + SECONDS, "" if room_id else device,
                told_in=room_id,
            )  # fmt: skip
            if room_id is None:
                await self._remember(one)
                await self._say(one, [("request", {**content, "timestamp": int(time.time() * 1000)})])
            else:
                body = f"{self._user} asks to verify you, which your client does not know how to do"
                request = {**content, "msgtype": f"{PREFIX}request", "to": user, "body": body}
                one.id = await self._in_room(room_id, "m.room.message", request, txn_id)
                await self._remember(one)
            self._running[one.id] = one
            self._heard_again()
            return one

    async def confirm(self, id: str, *, match: bool) -> bool:
        """Somebody has compared the emoji. False where that verification is over."""
        async with self._alone:
            if (one := self._running.get(id)) is None or one.stage is not Stage.SHOWN:
                return False
            if not match:
                await self._cancel(one, "m.mismatched_sas", "the emoji are not the same")
                return True
            await self._guarded(one, self._confirm(one))
            return True

    async def _confirm(self, one: Verification) -> None:
        await self._say(one, one.confirm())
        if one.is_over:
            await self._end(one, Ended(signed=await self._vouch(one)))

    async def watch(self, id: str) -> tuple[Verification | None, Ended | None]:
        """As it is when there are emoji to compare, or an end."""
        while (one := self._running.get(id)) is not None and one.stage < Stage.SHOWN:
            self._changed.clear()
            await self._changed.wait()
        return one, self._ended.get(id)

    async def ended(self, id: str) -> Ended | None:
        """How it ended, when it has."""
        while id in self._running:
            self._changed.clear()
            await self._changed.wait()
        return self._ended.get(id)

    # ── How it is done ───────────────────────────────────────────────────────────────────────────

    def _heard_again(self) -> None:
        """`run` looks at the clock anew."""
        self._heard.put_nowait(_Heard(None, "", "done", {}, "", 0.0))

    async def _me(self) -> Side:
        own: OwnDevice | None = await self._vault.do(lambda r: OwnDevice.of(r, self._vault.key))
        if own is None:
            raise Refused("there is no device that could be verified")
        return Side(own.user_id, own.device_id, {own.key_id: own.ed25519})

    async def _look_up(self, one: Verification) -> list[str]:
        """Ask for both sides' keys, and be ready with them. Gives their other devices."""
        asked: JsonObject = {"device_keys": {one.user: [], self._user: []}}
        answer = await self._ask.call("tell the keys of who is verified", "POST", "/keys/query", asked)
        mine = kept_identity(self._folder)
        if mine is not None and master_key(answer, self._user) == mine.master.public:
            one.me = Side(one.me.user, one.me.device, {**one.me.keys, mine.master.id: mine.master.public})
        devices = obj(obj(answer.get("device_keys")).get(one.user))
        device = obj(devices.get(one.device))
        ed25519 = obj(device.get("keys")).get(f"ed25519:{one.device}")
        if not one.device or not is_signed(device, one.user, f"ed25519:{one.device}", ed25519):
            raise Cancelled("m.invalid_message", "the homeserver knows no such device")
        keys, master = {f"ed25519:{one.device}": str(ed25519)}, {}
        if public := master_key(answer, one.user):
            keys[f"ed25519:{public}"] = public
            master = obj(obj(answer.get("master_keys")).get(one.user))
        one.them = Side(one.user, one.device, keys)
        self._keys[one.id] = _Keys(one.them, device, master)
        return [name for name in devices if name != one.device and (one.user, name) != (self._user, one.me.device)]

    async def _vouch(self, one: Verification) -> bool:
        """Sign what was verified: a person's master key, or another device of the bot's own account. False where the
        bot's account has no keys of ours to do it with."""
        known, mine = self._keys[one.id], kept_identity(self._folder)
        if mine is None or mine.master.id not in one.me.keys:
            return False
        master = next(iter(obj(known.master.get("keys")).values()), "")
        if one.user == self._user:
            value = {part: said for part, said in known.device.items() if part not in ("signatures", "unsigned")}
            body = {one.user: {one.device: mine.self_signing.signed(value, self._user)}}
        elif f"ed25519:{master}" in one.vouched:
            value = {part: said for part, said in known.master.items() if part not in ("signatures", "unsigned")}
            body = {one.user: {master: mine.user_signing.signed(value, self._user)}}
        else:
            return False
        try:
            answer = await self._ask.call("take a signature", "POST", "/keys/signatures/upload", body)
        except MatrixError as error:
            _log.warning("%s is verified, but not signed: %s", one.user, error)
            return False
        if failed := obj(answer.get("failures")).get(one.user):
            _log.warning("%s is verified, but not signed: %s", one.user, failed)
            return False
        if one.user != self._user:
            await self._vault.do(lambda r: save(r, VERIFIED, one.user, {"master": master}))
        return True

    async def _cancel(self, one: Verification, code: str, why: str) -> None:
        """Tell the other side, and that it is over."""
        try:
            if one.user and (one.room_id or one.device):
                await self._say(one, [("cancel", {"code": code, "reason": why})])
        except MatrixError as error:
            _log.warning("%s is not told that a verification is cancelled: %s", one.user, error)
        await self._end(one, Ended(code, why))

    async def _end(self, one: Verification, ended: Ended) -> None:
        self._running.pop(one.id, None)
        self._keys.pop(one.id, None)
        self._past.append(one.id)
        self._ended = {**dict(list(self._ended.items())[-MOST:]), one.id: ended}
        await self._vault.do(lambda r: r.drop(VERIFYING, one.id))
        self._changed.set()
        _log.info("the verification with %s %s", one.user, f"ended: {ended.why}" if ended.code else "is done")
        if self.witness is not None:
            await self.witness.over(one.user, one.told_in, one.id, ended)

    async def _remember(self, one: Verification) -> None:
        kept = {"user": one.user, "device": one.device, "room": one.room_id, "told_in": one.told_in}
        await self._vault.do(lambda r: save(r, VERIFYING, one.id, kept))

    async def _say(self, one: Verification, said: list[Said]) -> None:
        for kind, content in said:
            named = one.named(content)
            if one.room_id is not None:
                txn_id = f"roommate-verify-{secrets.token_hex(12)}"
                await self._in_room(one.room_id, PREFIX + kind, named, txn_id)
                continue
            to = [(one.user, one.device, named)]
            await self._vault.do(lambda r, kind=kind, to=to: post(r, PREFIX + kind, to))  # type: ignore[misc]
            await self._to_device.flush()

    async def _in_room(self, room_id: RoomId, kind: str, content: JsonObject, txn_id: str) -> EventId:
        for attempt in range(TRIES):
            try:
                return await self._send.send(room_id, kind, content, txn_id)
            except Transient as error:
                if attempt == TRIES - 1:
                    raise
                await asyncio.sleep(max(0.5 * 2**attempt, getattr(error, "retry_after", None) or 0.0))
        raise AssertionError("unreachable")


def is_of_verification(event: JsonObject) -> bool:
    """Is it an event of a room that `note` wants to know of?"""
    kind, content = event.get("type"), obj(event.get("content"))
    if kind == "m.room.message":
        return content.get("msgtype") == f"{PREFIX}request"
    return isinstance(kind, str) and kind.startswith(PREFIX)


def _from_device(event: JsonObject) -> _Heard | None:
    kind, content = event.get("type"), obj(event.get("content"))
    sender, id = text(event.get("sender"), LONGEST_NAME), text(content.get("transaction_id"), LONGEST_NAME)
    if not isinstance(kind, str) or not kind.startswith(PREFIX) or not sender or not id:
        return None
    said_at = milliseconds(content.get("timestamp")) / 1000
    return _Heard(None, sender, kind.removeprefix(PREFIX), content, id, said_at)


def _from_room(room_id: RoomId, event: JsonObject, me: str) -> _Heard | None:
    kind, content = event.get("type"), obj(event.get("content"))
    sender, event_id = text(event.get("sender"), LONGEST_NAME), text(event.get("event_id"), LONGEST_NAME)
    said_at = milliseconds(event.get("origin_server_ts")) / 1000
    if not sender or not event_id or sender == me:
        return None
    if kind == "m.room.message":
        return _Heard(room_id, sender, "request", content, event_id, said_at) if content.get("to") == me else None
    about = text(obj(content.get("m.relates_to")).get("event_id"), LONGEST_NAME)
    if not isinstance(kind, str) or not about:
        return None
    return _Heard(room_id, sender, kind.removeprefix(PREFIX), content, about, said_at)
