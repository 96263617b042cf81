"""A person at a Matrix client: speaks the client-server API over plain HTTP and remembers all they see, and when.

Nothing of Roommate is used here, so that a test sees what a person would see. Spec: https://spec.matrix.org/v1.16/client-server-api/
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp

from tests.patience import PATIENCE

T = TypeVar("T")
JsonObject = dict[str, Any]


class SaidNo(Exception):
    """The homeserver refused: HTTP `status`, Matrix `errcode`."""

    def __init__(self, status: int, answer: JsonObject) -> None:
        super().__init__(f"{status} {answer}")
        self.status = status
        self.errcode = str(answer.get("errcode", ""))
        self.answer = answer


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as it came with a sync; `at` is ``time.monotonic()`` of its arrival."""

    room_id: str
    event: JsonObject
    at: float

    @property
    def event_id(self) -> str:
        return str(self.event.get("event_id", ""))

    @property
    def sender(self) -> str:
        return str(self.event["sender"])

    @property
    def type(self) -> str:
        return str(self.event["type"])

    @property
    def content(self) -> JsonObject:
        content: JsonObject = self.event["content"]
        return content

    @property
    def relation(self) -> JsonObject:
        return self.content.get("m.relates_to") or {}


@dataclass(slots=True)
class Shown:
    """A message as a client shows it: with its newest edit applied."""

    room_id: str
    event_id: str
    sender: str
    content: JsonObject
    at: float
    """Arrival of the message itself."""
    changed_at: float
    """Arrival of its newest edit."""
    thread: str | None = None
    reply_to: str | None = None
    edits: int = 0
    redacted: bool = False
    looks: list[str] = field(default_factory=list)
    """Every body it ever had, the newest last."""

    @property
    def body(self) -> str:
        return str(self.content.get("body", ""))

    @property
    def msgtype(self) -> str:
        return str(self.content.get("msgtype", ""))

    @property
    def html(self) -> str:
        return str(self.content.get("formatted_body", ""))

    @property
    def is_card(self) -> bool:
        """It asks something, or did."""
        return "io.roommate.card" in self.content


class Person:
    """Made by `Person.at`; use as an async context manager, or call `close`."""

    def __init__(self, http: aiohttp.ClientSession, url: str, login: JsonObject) -> None:
        self._http = http
        self._url = url
        self.user_id: str = login["user_id"]
        self.token: str = login["access_token"]
        self.device_id: str = login["device_id"]
        self.seen: list[Seen] = []
        """Every timeline event of joined rooms, in the order of arrival."""
        self.invited: dict[str, str] = {}
        """Rooms with an open invitation, and who sent it."""
        self.left: set[str] = set()
        self.typing: dict[str, set[str]] = {}
        """Who is typing in which room, now."""
        self.typing_log: list[tuple[float, str, set[str]]] = []
        self.looks_at_typing = True
        """Half of what it costs Synapse that somebody types is telling of it."""
        self._known: set[str] = set()
        self._members: dict[str, dict[str, str]] = {}
        self._txn = itertools.count()
        self._news = asyncio.Condition()
        self._since: str | None = None
        self._sync: asyncio.Task[None] | None = None

    @classmethod
    async def at(cls, url: str, user: str, password: str, http: aiohttp.ClientSession | None = None) -> Self:
        """Log in and start to look; through `http`, where the homeserver is not one to be reached by HTTP."""
        http = http or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        identifier = {"type": "m.id.user", "user": user}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        async with http.post(f"{url}/_matrix/client/v3/login", json=body) as response:
            login = await response.json()
        if response.status != 200:
            await http.close()
            raise SaidNo(response.status, login)
        self = cls(http, url, login)
        await self._look(timeout_ms=0)
        self._sync = asyncio.create_task(self._look_for_ever())
        return self

    async def close(self) -> None:
        while self._sync is not None and not self._sync.done():
            self._sync.cancel()  # now and then aiohttp takes that for a timeout of its own
            await asyncio.wait([self._sync], timeout=1)
        await self._http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def since(self) -> str | None:
        """How far they have looked: the token of their newest sync."""
        return self._since

    # ── what a person does ───────────────────────────────────────────────────────────────────────

    async def create_room(
        self,
        invite: Sequence[str] = (),
        *,
        name: str | None = None,
        direct: bool = False,
        encrypted: bool = False,
        **more: Any,
    ) -> str:
        """Make a private room, and return its id. `more` goes into the request as it is."""
        body: JsonObject = {"preset": "private_chat", "invite": list(invite), "is_direct": direct, **more}
        if name:
            body["name"] = name
        if encrypted:
            event = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
            body.setdefault("initial_state", []).append(event)
        return str((await self.call("POST", "createRoom", body))["room_id"])

    async def invite(self, room: str, user: str) -> None:
        await self.call("POST", f"rooms/{quote(room)}/invite", {"user_id": user})

    async def join(self, room: str) -> None:
        await self.call("POST", f"join/{quote(room)}", {})

    async def leave(self, room: str) -> None:
        await self.call("POST", f"rooms/{quote(room)}/leave", {})

    async def kick(self, room: str, user: str, reason: str = "") -> None:
        await self.call("POST", f"rooms/{quote(room)}/kick", {"user_id": user, "reason": reason})

    async def ban(self, room: str, user: str, reason: str = "") -> None:
        await self.call("POST", f"rooms/{quote(room)}/ban", {"user_id": user, "reason": reason})

    async def say(
        self,
        room: str,
        text: str,
        *,
        thread: str | None = None,
        reply_to: str | None = None,
        mentions: Sequence[str] | None = None,
        msgtype: str = "m.text",
    ) -> str:
        """Write a message, and return its event id. `mentions` are user ids (none at all: no ``m.mentions``)."""
        content: JsonObject = {"msgtype": msgtype, "body": text}
        relation: JsonObject = {}
        if thread:
            relation = {"rel_type": "m.thread", "event_id": thread, "is_falling_back": reply_to is None}
            relation["m.in_reply_to"] = {"event_id": reply_to or thread}
        elif reply_to:
            relation = {"m.in_reply_to": {"event_id": reply_to}}
        if relation:
            content["m.relates_to"] = relation
        if mentions is not None:
            content["m.mentions"] = {"user_ids": list(mentions)}
        return await self.send(room, "m.room.message", content)

    async def edit(self, room: str, event_id: str, text: str) -> str:
        new = {"msgtype": "m.text", "body": text}
        relation = {"rel_type": "m.replace", "event_id": event_id}
        content = {"msgtype": "m.text", "body": f"* {text}", "m.new_content": new, "m.relates_to": relation}
        return await self.send(room, "m.room.message", content)

    async def react(self, room: str, event_id: str, key: str) -> str:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self.send(room, "m.reaction", {"m.relates_to": relation})

    async def redact(self, room: str, event_id: str, reason: str = "") -> str:
        path = f"rooms/{quote(room)}/redact/{quote(event_id)}/{self._next_txn()}"
        return str((await self.call("PUT", path, {"reason": reason}))["event_id"])

    async def upload(
        self,
        room: str,
        name: str,
        content: bytes,
        mimetype: str = "application/octet-stream",
        *,
        caption: str = "",
        thread: str | None = None,
        **more: Any,
    ) -> str:
        """Send a file, and return the event id of its message; `more` goes into its content as it is."""
        url = f"{self._url}/_matrix/media/v3/upload?filename={quote(name)}"
        headers = self._headers | {"Content-Type": mimetype}
        async with self._http.post(url, data=content, headers=headers) as response:
            answer = await response.json()
        if response.status != 200:
            raise SaidNo(response.status, answer)
        about = {"mimetype": mimetype, "size": len(content)}
        kind = mimetype.partition("/")[0]
        message = {
            "msgtype": f"m.{kind}" if kind in ("image", "audio", "video") else "m.file",
            "body": caption or name,
            "filename": name,
            "url": answer["content_uri"],
            "info": about,
            **more,
        }
        if thread:
            reply = {"event_id": thread}
            message["m.relates_to"] = {
                "rel_type": "m.thread", "event_id": thread, "is_falling_back": True, "m.in_reply_to": reply
            }  # fmt: skip
        return await self.send(room, "m.room.message", message)

    async def download(self, mxc: str) -> bytes:
        """The bytes behind an ``mxc://`` address."""
        url = f"{self._url}/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        async with self._http.get(url, headers=self._headers) as response:
            content = await response.read()
        if response.status != 200:
            raise SaidNo(response.status, json.loads(content))
        return content

    async def send(self, room: str, event_type: str, content: JsonObject) -> str:
        path = f"rooms/{quote(room)}/send/{event_type}/{self._next_txn()}"
        return str((await self.call("PUT", path, content))["event_id"])

    async def call(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """One call of the client-server API; `path` stands behind ``/_matrix/client/v3/``. Raises SaidNo."""
        url = f"{self._url}/_matrix/client/v3/{path}"
        async with self._http.request(method, url, json=body, headers=self._headers) as response:
            answer: JsonObject = await response.json()
        if response.status != 200:
            raise SaidNo(response.status, answer)
        return answer

    # ── what a person sees ───────────────────────────────────────────────────────────────────────

    async def wait(self, predicate: Callable[[], T], timeout: float = PATIENCE, what: str = "it") -> T:
        """Look until `predicate` gives something true, and return that. Fails with what was seen instead."""
        try:
            async with asyncio.timeout(timeout), self._news:
                while not (found := predicate()):
                    self._raise_if_blind()
                    await self._news.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"{self.user_id} waited {timeout} s for {what}, and saw:\n{self.story()}") from None

    async def wait_for_member(self, room: str, user: str, membership: str = "join", timeout: float = PATIENCE) -> None:
        await self.wait(lambda: self._members.get(room, {}).get(user) == membership, timeout, f"{membership} of {user}")

    def members(self, room: str) -> dict[str, str]:
        """User id to membership, as far as seen."""
        return dict(self._members.get(room, {}))

    def messages(self, room: str, sender: str | None = None) -> list[Shown]:
        """The room's messages in order, each with its newest edit applied; those of `sender` only, if given."""
        shown: dict[str, Shown] = {}
        for seen in self.seen:
            if seen.room_id != room:
                continue
            relation = seen.relation
            if seen.type == "m.room.redaction":
                target = shown.get(str(seen.content.get("redacts") or seen.event.get("redacts")))
                if target is not None:
                    target.redacted = True
            elif seen.type == "m.room.message" and relation.get("rel_type") == "m.replace":
                target = shown.get(relation["event_id"])
                if target is not None and target.sender == seen.sender:
                    target.content = seen.content["m.new_content"]
                    target.changed_at = seen.at
                    target.edits += 1
                    target.looks.append(target.body)
            elif seen.type == "m.room.message" and seen.content:
                message = Shown(room, seen.event_id, seen.sender, seen.content, seen.at, seen.at)
                message.thread = relation.get("event_id") if relation.get("rel_type") == "m.thread" else None
                message.reply_to = (relation.get("m.in_reply_to") or {}).get("event_id")
                message.looks.append(message.body)
                shown[seen.event_id] = message
        return [message for message in shown.values() if sender in (None, message.sender)]

    def finals(self, room: str) -> list[Shown]:
        """What others said for good: ``m.text``, where a live message is ``m.notice`` until it is done; no card."""
        others = [m for m in self.messages(room) if m.sender != self.user_id]
        return [m for m in others if m.msgtype == "m.text" and not m.is_card]

    def reactions(self, room: str, event_id: str) -> list[tuple[str, str]]:
        """(sender, key) of each reaction to the event that was not redacted."""
        gone = {str(seen.content.get("redacts") or seen.event.get("redacts")) for seen in self.seen}
        return [
            (seen.sender, str(seen.relation.get("key")))
            for seen in self.seen
            if seen.type == "m.reaction" and seen.room_id == room and seen.relation.get("event_id") == event_id
            if seen.event_id not in gone
        ]

    async def answer_to(self, event_id: str, timeout: float = PATIENCE) -> Shown:
        """The answer to a message of ours: the final one that replies to it, else the first that began after it."""

        def answer() -> Shown | None:
            at = next((i for i, seen in enumerate(self.seen) if seen.event_id == event_id), None)
            if at is None:
                return None
            later = {seen.event_id for seen in self.seen[at + 1 :]}
            finals = [m for m in self.finals(self.seen[at].room_id) if m.event_id in later and not m.redacted]
            replies = [m for m in finals if m.reply_to == event_id]
            loose = [m for m in finals if m.reply_to is None or m.reply_to == m.thread]
            return next(iter(replies or loose), None)

        found = await self.wait(answer, timeout, f"an answer to {event_id}")
        assert found is not None
        return found

    async def ask(self, room: str, text: str, timeout: float = PATIENCE) -> Shown:
        """Say it, and wait for the answer."""
        return await self.answer_to(await self.say(room, text), timeout)

    def story(self) -> str:
        """Everything seen, one line each: for people who read a failed test."""
        start = self.seen[0].at if self.seen else 0.0
        return "\n".join(
            f"{seen.at - start:8.3f} {seen.room_id[:12]} {seen.sender} {seen.type} {json.dumps(seen.content)[:300]}"
            for seen in self.seen
            if "state_key" not in seen.event or seen.type == "m.room.member"
        )

    # ── the sync loop ────────────────────────────────────────────────────────────────────────────

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def _next_txn(self) -> str:
        return f"{self.device_id}-{time.time_ns()}-{next(self._txn)}"

    def _raise_if_blind(self) -> None:
        if self._sync is not None and self._sync.done():
            self._sync.result()

    async def _look_for_ever(self) -> None:
        try:
            while True:
                try:
                    await self._look(timeout_ms=30_000)
                except (aiohttp.ClientError, TimeoutError):
                    await asyncio.sleep(0.1)  # the homeserver is away: a client keeps trying
        finally:
            async with self._news:
                self._news.notify_all()

    async def _look(self, timeout_ms: int) -> None:
        nothing: JsonObject = {"types": []}
        short_lived = {} if self.looks_at_typing else {"ephemeral": nothing}
        about = {"room": {"timeline": {"limit": 1000}, **short_lived}, "presence": nothing, "account_data": nothing}
        query = f"timeout={timeout_ms}&filter={quote(json.dumps(about))}"
        if self._since is not None:
            query += f"&since={self._since}"
        answer = await self.call("GET", f"sync?{query}")
        at = time.monotonic()
        async with self._news:
            rooms = answer.get("rooms", {})
            for room, part in rooms.get("invite", {}).items():
                for event in part["invite_state"]["events"]:
                    if event["type"] == "m.room.member" and event["state_key"] == self.user_id:
                        self.invited[room] = event["sender"]
            for kind in ("join", "leave"):
                for room, part in rooms.get(kind, {}).items():
                    self.invited.pop(room, None)
                    (self.left.discard if kind == "join" else self.left.add)(room)
                    self._take(room, part, at)
            self._since = answer["next_batch"]
            self._news.notify_all()

    def _take(self, room: str, part: JsonObject, at: float) -> None:
        for event in part.get("state", {}).get("events", []) + part["timeline"]["events"]:
            if event["type"] == "m.room.member":
                self._members.setdefault(room, {})[event["state_key"]] = event["content"]["membership"]
        for event in part["timeline"]["events"]:
            if event["event_id"] not in self._known:
                self._known.add(event["event_id"])
                self.seen.append(Seen(room, event, at))
        for event in part.get("ephemeral", {}).get("events", []):
            if event["type"] == "m.typing":
                self.typing[room] = set(event["content"]["user_ids"])
                self.typing_log.append((at, room, self.typing[room]))
