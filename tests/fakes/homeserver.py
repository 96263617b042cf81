"""A homeserver in the test's own process: the client-server API as far as people and the bot use it, without a socket.

`MemoryHomeserver.session` gives what aiohttp's ClientSession is to who asks: so the daemon's own code speaks to it, its
parsing, mapping of errors and retries included, and so does tests/person.py. What it promises is what Synapse does: see
tests/contracts. Spec: https://spec.matrix.org/v1.16/client-server-api/
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from roommate.domain import Account, UserId
from tests.fakes.matrix_rooms import JsonObject, No, Room

LARGEST_UPLOAD = 50 << 20
"""Bytes, as Synapse has it by default."""
BURST, PER_SECOND = 10, 0.2
"""Messages that an account may send at once, and in the long run: Synapse's defaults."""
_CLIENT = ("_matrix", "client")


@dataclass(slots=True)
class User:
    id: str
    name: str
    password: str
    limited: bool = True
    spare: float = float(BURST)
    spent_at: float = field(default_factory=time.monotonic)
    rooms: set[Room] = field(default_factory=set)
    avatar: str = ""
    hears: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class Login:
    user: User
    device: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: `path` in its parts, behind the version of the API."""

    method: str
    path: Sequence[str]
    query: dict[str, str]
    sent: bytes
    kind: str
    login: Login

    @property
    def user(self) -> User:
        return self.login.user

    @property
    def body(self) -> JsonObject:
        return _read(self.sent)


class MemoryHomeserver:
    """All accounts and rooms. `name` is the server's part of every id."""

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.url = f"http://{name}"
        self._users: dict[str, User] = {}
        self._logins: dict[str, Login] = {}
        self._rooms: dict[str, Room] = {}
        self._sent: dict[tuple[str, str, str], str] = {}
        """Device, room and transaction id to the event that came of it."""
        self._media: dict[str, tuple[bytes, str]] = {}
        self._late: dict[str, asyncio.Event] = {}
        self._order = itertools.count(1)
        self._now = 0
        self._news = asyncio.Event()

    def session(self, **_: Any) -> MemorySession:
        """Stands for ``outbound_http.session``."""
        return MemorySession(self)

    def register(self, name: str, password: str, *, limited: bool = False) -> str:
        """A new account; returns its user id. Unless `limited` it may send as fast as it likes."""
        user_id = f"@{name}:{self.name}"
        self._users[user_id] = User(user_id, name, password, limited)
        self._users[user_id].hears.set()
        self._users[user_id].told.set()
        return user_id

    def account(self, user_id: str) -> Account:
        """A login of this account, as a daemon keeps it."""
        token, login = self._log_in(self._users[user_id])
        return Account(self.url, UserId(user_id), login.device, token)

    def rename(self, user_id: str, name: str) -> None:
        self._users[user_id].name = name

    @contextlib.contextmanager
    def deaf(self, user_id: str) -> Iterator[None]:
        """Their syncs take as long as this."""
        self._users[user_id].hears.clear()
        try:
            yield
        finally:
            self._users[user_id].hears.set()

    @contextlib.contextmanager
    def withheld(self, uri: str) -> Iterator[None]:
        """This file, an ``mxc://`` address, comes as late as this."""
        late = self._late[uri.rpartition("/")[2]] = asyncio.Event()
        try:
            yield
        finally:
            late.set()

    @contextlib.contextmanager
    def unanswered(self, user_id: str) -> Iterator[None]:
        """The cards and live messages that they send take place, and the answers to that take as long as this."""
        self._users[user_id].told.clear()
        try:
            yield
        finally:
            self._users[user_id].told.set()

    # ── one request ──────────────────────────────────────────────────────────────────────────────

    async def answer(self, method: str, url: str, token: str, sent: bytes, kind: str) -> tuple[int, bytes, str]:
        """Status, body and type of the body."""
        parts = urlsplit(url)
        path = [unquote(part) for part in parts.path.split("/")[1:]]
        await asyncio.sleep(0)  # others have their turn, as they do while a request is under way
        try:
            if path[:2] == ["_matrix", "media"] or path[3:4] == ["media"]:
                if late := self._late.get(path[-1]):
                    await late.wait()
                return self._media_call(method, path, dict(parse_qsl(parts.query)), self._login(token), sent, kind)
            answer = await self._client_call(method, path, dict(parse_qsl(parts.query)), token, sent)
        except No as no:
            return no.status, json.dumps(no.answer).encode(), "application/json"
        return 200, json.dumps(answer).encode(), "application/json"

    async def _client_call(
        self, method: str, path: Sequence[str], query: dict[str, str], token: str, sent: bytes
    ) -> JsonObject:
        match (method, *path[2:]):
            case ("GET", "versions"):
                return {"versions": ["v1.11"]}
            case ("POST", "v3", "login"):
                return self._password_login(_read(sent))
        asked = Asked(method, path[3:], query, sent, "", self._login(token))
        match asked.path:
            case ["sync"]:
                return await self._sync(asked)
            case ["account", "whoami"]:
                return {"user_id": asked.user.id, "device_id": asked.login.device}
            case ["logout"]:
                self._logins.pop(token)
                return {}
            case ["joined_rooms"]:
                return {"joined_rooms": [room.id for room in asked.user.rooms if room.is_in(asked.user.id)]}
            case ["profile", user, *_]:
                return self._profile(asked, self._known(user))
            case ["createRoom"]:
                return self._create(asked)
            case ["join", room_id]:
                return self._join(asked, self._room(room_id))
            case ["rooms", room_id, what, *rest]:
                answer = self._in_room(asked, self._room(room_id), what, rest)
                if what == "send" and (b"io.roommate.card" in sent or b'"running"' in sent):
                    await asked.user.told.wait()
                return answer
        raise No(404, "M_UNRECOGNIZED", f"Unrecognized request {method} {'/'.join(path)}")

    def _in_room(self, asked: Asked, room: Room, what: str, rest: Sequence[str]) -> JsonObject:
        user = asked.user.id
        match (what, *rest):
            case ("send", kind, txn_id):
                return self._once(asked, room, txn_id, lambda by: self._send(asked, room, kind, by))
            case ("redact", event_id, txn_id):
                return self._once(asked, room, txn_id, lambda by: self._redact(asked, room, event_id, by))
            case ("state", kind, *key):
                return self._state(asked, room, kind, "".join(key))
            case ("messages",):
                return self._history(asked, room)
            case ("event", event_id):
                room.demand_presence(user)
                return room.event(event_id)
            case ("joined_members",):
                room.demand_presence(user)
                return {"joined": {one: {"display_name": self._users[one].name} for one in room.joined}}
            case ("typing", who):
                room.demand_presence(who)
                (room.typing.add if asked.body.get("typing") else room.typing.discard)(who)
                room.typed_at = room.newest = self._next()
                return {}
            case ("forget",):
                if room.is_in(user):
                    raise No(400, "M_UNKNOWN", "User is in the room")
                asked.user.rooms.discard(room)
                return {}
            case ("join",):
                return self._join(asked, room)
            case (("leave" | "invite" | "kick" | "ban" | "unban"),):
                return self._member(asked, room, what)
        raise No(404, "M_UNRECOGNIZED", f"Unrecognized request {what}")

    # ── accounts ─────────────────────────────────────────────────────────────────────────────────

    def _log_in(self, user: User) -> tuple[str, Login]:
        token = f"memory-{secrets.token_urlsafe(16)}"
        self._logins[token] = login = Login(user, secrets.token_hex(5).upper())
        return token, login

    def _login(self, token: str) -> Login:
        if token not in self._logins:
            raise No(401, "M_UNKNOWN_TOKEN" if token else "M_MISSING_TOKEN", "Invalid access token", soft_logout=False)
        return self._logins[token]

    def _password_login(self, body: JsonObject) -> JsonObject:
        name = str(body["identifier"]["user"])
        user = self._users.get(name if name.startswith("@") else f"@{name}:{self.name}")
        if user is None or user.password != body["password"]:
            raise No(403, "M_FORBIDDEN", "Invalid username or password")
        token, login = self._log_in(user)
        return {"user_id": user.id, "access_token": token, "device_id": login.device}

    def _known(self, user_id: str) -> User:
        if user_id not in self._users:
            raise No(404, "M_NOT_FOUND", "Profile was not found")
        return self._users[user_id]

    def _profile(self, asked: Asked, user: User) -> JsonObject:
        if asked.method == "PUT":
            user.name = str(asked.body.get("displayname", user.name))
            user.avatar = str(asked.body.get("avatar_url", user.avatar))
        return {"displayname": user.name} | ({"avatar_url": user.avatar} if user.avatar else {})

    def _spend(self, user: User) -> None:
        """One of the messages that the account may send now."""
        if not user.limited:
            return
        now = time.monotonic()
        user.spare = min(BURST, user.spare + (now - user.spent_at) * PER_SECOND)
        user.spent_at = now
        if user.spare < 1:
            wait = math.ceil((1 - user.spare) / PER_SECOND * 1000)
            raise No(429, "M_LIMIT_EXCEEDED", "Too Many Requests", retry_after_ms=wait)
        user.spare -= 1

    # ── writing ──────────────────────────────────────────────────────────────────────────────────

    def _next(self) -> int:
        """The next place in the order; who waits for news looks."""
        self._now = next(self._order)
        self._news.set()
        self._news = asyncio.Event()
        return self._now

    def _room(self, room_id: str) -> Room:
        if room_id not in self._rooms:
            raise No(404, "M_NOT_FOUND", f"{room_id} is not known")
        return self._rooms[room_id]

    def _once(self, asked: Asked, room: Room, txn_id: str, act: Callable[[str], str]) -> JsonObject:
        """What came of this transaction of this device before, or comes of it now."""
        key = asked.login.device, room.id, txn_id
        if key not in self._sent:
            self._sent[key] = act(f"{asked.login.device}\0{txn_id}")
        return {"event_id": self._sent[key]}

    def _send(self, asked: Asked, room: Room, kind: str, by: str) -> str:
        room.demand_power(asked.user.id, "events", kind)
        content = asked.body
        self._spend(asked.user)
        relation = content.get("m.relates_to")
        if isinstance(relation, dict) and relation.get("rel_type") == "m.annotation":
            for one in room.timeline:
                if one.event["sender"] == asked.user.id and one.event["content"].get("m.relates_to") == relation:
                    raise No(400, "M_DUPLICATE_ANNOTATION", "Can't send same reaction twice")
        return str(room.add(self._next(), asked.user.id, kind, content, by=by)["event_id"])

    def _redact(self, asked: Asked, room: Room, event_id: str, by: str) -> str:
        room.demand_presence(asked.user.id)
        if room.event(event_id)["sender"] != asked.user.id:
            room.demand_power(asked.user.id, "redact")
        self._spend(asked.user)
        content = {**asked.body, "redacts": event_id}
        added = room.add(self._next(), asked.user.id, "m.room.redaction", content, redacts=event_id, by=by)
        return str(added["event_id"])

    def _state(self, asked: Asked, room: Room, kind: str, key: str) -> JsonObject:
        if asked.method == "PUT":
            room.demand_power(asked.user.id, "state", kind)
            added = room.add(self._next(), asked.user.id, kind, asked.body, state_key=key)
            return {"event_id": added["event_id"]}
        room.demand_presence(asked.user.id)
        if (event := room.state.get((kind, key))) is None:
            raise No(404, "M_NOT_FOUND", "Event not found.")
        content: JsonObject = event["content"]
        return event if asked.query.get("format") == "event" else content

    def _create(self, asked: Asked) -> JsonObject:
        body, me = asked.body, asked.user.id
        room = Room(f"!{secrets.token_urlsafe(14)}:{self.name}")
        self._rooms[room.id] = room
        public = body.get("preset") == "public_chat" or body.get("visibility") == "public"
        levels = {"users": {me: 100}, "invite": 50 if public else 0} | body.get("power_level_content_override", {})
        made: list[tuple[str, str, JsonObject]] = [
            ("m.room.create", "", {"room_version": body.get("room_version", "10"), **body.get("creation_content", {})}),
            ("m.room.member", me, {"membership": "join", "displayname": asked.user.name}),
            ("m.room.power_levels", "", levels),
            ("m.room.join_rules", "", {"join_rule": "public" if public else "invite"}),
            ("m.room.history_visibility", "", {"history_visibility": "shared"}),
            *((one["type"], one.get("state_key", ""), one["content"]) for one in body.get("initial_state", ())),
        ]
        if "name" in body:
            made.append(("m.room.name", "", {"name": body["name"]}))
        for kind, key, content in made:
            room.add(self._next(), me, kind, content, state_key=key)
        asked.user.rooms.add(room)
        for user in body.get("invite", ()):
            self._seat(room, me, user, "invite", is_direct=bool(body.get("is_direct")))
        return {"room_id": room.id}

    def _seat(self, room: Room, by: str, user: str, membership: str, **more: Any) -> None:
        known = self._users.get(user)
        named = {"displayname": known.name} if known and membership in ("join", "invite") else {}
        content = {"membership": membership, **named, **more}
        room.add(self._next(), by, "m.room.member", content, state_key=user)
        room.typing.discard(user)
        if known is not None:
            known.rooms.add(room)

    def _join(self, asked: Asked, room: Room) -> JsonObject:
        me = asked.user.id
        stay = room.people.get(me)
        if stay is None or stay.membership != "join":
            invited = stay is not None and stay.membership == "invite"
            banned = stay is not None and stay.membership == "ban"
            if banned or not (invited or room.content("m.room.join_rules").get("join_rule") == "public"):
                raise No(403, "M_FORBIDDEN", "You are not invited to this room.")
            self._seat(room, me, me, "join")
        return {"room_id": room.id}

    def _member(self, asked: Asked, room: Room, what: str) -> JsonObject:
        me, body = asked.user.id, asked.body
        who = me if what == "leave" else str(body["user_id"])
        reason = {"reason": body["reason"]} if body.get("reason") else {}
        stay = room.people.get(who)
        if what == "leave":
            if stay is None or stay.membership not in ("join", "invite"):
                raise No(403, "M_FORBIDDEN", f"User {me} not in room {room.id}")
        elif what == "unban":
            room.demand_power(me, "ban")
        else:
            room.demand_power(me, what)
            if what == "invite" and stay is not None and stay.membership in ("join", "ban"):
                raise No(403, "M_FORBIDDEN", f"{who} is already in the room, or banned from it.")
        membership = {"invite": "invite", "ban": "ban"}.get(what, "leave")
        self._seat(room, me, who, membership, **reason)
        return {}

    # ── reading ──────────────────────────────────────────────────────────────────────────────────

    async def _sync(self, asked: Asked) -> JsonObject:
        since = _place(asked.query["since"]) if "since" in asked.query else None
        wanted: JsonObject = json.loads(asked.query.get("filter", "{}")).get("room", {})
        ends = time.monotonic() + int(asked.query.get("timeout", 0)) / 1000
        while True:
            await asked.user.hears.wait()
            self._login_again(asked.login)
            now, news = self._now, self._news
            rooms = self._news_of(asked.login, since, wanted)
            left = ends - time.monotonic()
            if rooms or since is None or left <= 0:
                return {"next_batch": f"s{now}", "rooms": rooms}
            try:
                async with asyncio.timeout(left):
                    await news.wait()
            except TimeoutError:
                continue

    def _login_again(self, login: Login) -> None:
        if login not in self._logins.values():
            raise No(401, "M_UNKNOWN_TOKEN", "Invalid access token", soft_logout=False)

    def _news_of(self, login: Login, since: int | None, wanted: JsonObject) -> JsonObject:
        found: dict[str, JsonObject] = {}
        for room in sorted(login.user.rooms, key=lambda room: room.newest):
            if (since is not None and room.newest <= since) or room.id not in wanted.get("rooms", [room.id]):
                continue
            stay = room.people[login.user.id]
            if stay.membership == "join":
                section, part = "join", _joined(room, login, since, wanted)
            elif stay.membership == "invite" and (since is None or stay.since > since):
                section, part = "invite", {"invite_state": {"events": _stripped(room, stay.event)}}
            elif since is not None and stay.since > since:
                section, part = "leave", _left(room, login, since)
            else:
                continue
            if part:
                found.setdefault(section, {})[room.id] = part
        return found

    def _history(self, asked: Asked, room: Room) -> JsonObject:
        room.demand_presence(asked.user.id)
        start, end = _place(asked.query["from"]), _place(asked.query.get("to", "s0"))
        limit = int(asked.query.get("limit", 10))
        older = [one for one in room.timeline if end < one.at <= start]
        page = older[-limit:]
        answer: JsonObject = {
            "chunk": [one.shown_to(asked.login.device) for one in reversed(page)],
            "start": f"s{start}",
        }
        if len(older) > limit:
            answer["end"] = f"s{page[0].at - 1}"
        return answer

    # ── files ────────────────────────────────────────────────────────────────────────────────────

    def _media_call(
        self, method: str, path: Sequence[str], query: dict[str, str], login: Login, sent: bytes, kind: str
    ) -> tuple[int, bytes, str]:
        match (method, *path[2:]):
            case ("POST", "v3", "upload"):
                if len(sent) > LARGEST_UPLOAD:
                    raise No(413, "M_TOO_LARGE", "Upload request body is too large")
                self._media[name := secrets.token_urlsafe(18)] = sent, kind
                answer: JsonObject = {"content_uri": f"mxc://{self.name}/{name}"}
            case ("GET", "v1", "media", "config"):
                answer = {"m.upload.size": LARGEST_UPLOAD}
            case ("GET", "v1", "media", "download", self.name, name) if name in self._media:
                return 200, *self._media[name]
            case _:
                raise No(404, "M_NOT_FOUND", "Not found")
        return 200, json.dumps(answer).encode(), "application/json"


# ── What a sync says of a room ───────────────────────────────────────────────────────────────────


def _joined(room: Room, login: Login, since: int | None, wanted: JsonObject) -> JsonObject:
    """Newly joined, all of the room is news; and there is always said to be more of it, as Synapse does."""
    joined_at = room.people[login.user.id].joined_at
    fresh = since is None or joined_at > since
    after = 0 if fresh or since is None else since
    news = [one for one in room.timeline if one.at > after]
    limit = wanted.get("timeline", {}).get("limit", 10)
    shown = news[-limit:]
    start = shown[0].at if shown else room.newest + 1
    known = {one.event["event_id"] for one in shown}
    # State as it was before what is shown: the newest event of each kind that came after `after`.
    earlier = (one.event for one in news if one.at < start and "state_key" in one.event)
    state = {(event["type"], event["state_key"]): event for event in earlier}
    wanted_state = wanted.get("state", {})
    types = wanted_state.get("types", {kind for kind, _ in state})
    shown_state = [one for one in state.values() if one["event_id"] not in known and one["type"] in types]
    ephemeral = []
    if room.typed_at > after and "m.typing" in wanted.get("ephemeral", {}).get("types", ["m.typing"]):
        ephemeral = [{"type": "m.typing", "content": {"user_ids": sorted(room.typing)}}]
    if not (shown or shown_state or ephemeral):
        return {}
    part: JsonObject = {
        "timeline": {
            "events": [one.shown_to(login.device) for one in shown],
            "limited": len(news) > limit or (fresh and since is not None),
            "prev_batch": f"s{start - 1}",
        },
        "state": {"events": shown_state},
        "ephemeral": {"events": ephemeral},
    }
    members = any(event["type"] == "m.room.member" for event in (*(one.event for one in shown), *shown_state))
    if wanted_state.get("lazy_load_members") and (fresh or members):
        part["summary"] = {"m.joined_member_count": len(room.joined)}
    return part


def _left(room: Room, login: Login, since: int) -> JsonObject:
    """What was said until they were out, and how that came."""
    stay = room.people[login.user.id]
    was_in = bool(stay.event["unsigned"].get("prev_content", {}).get("membership") == "join")
    shown = [
        one.shown_to(login.device)
        for one in room.timeline
        if since < one.at <= stay.since and (was_in or one.event["event_id"] == stay.event["event_id"])
    ]
    return {"timeline": {"events": shown, "limited": False}, "state": {"events": []}}


def _stripped(room: Room, invite: JsonObject) -> list[JsonObject]:
    """https://spec.matrix.org/v1.16/client-server-api/#stripped-state"""
    kinds = ("m.room.create", "m.room.join_rules", "m.room.name", "m.room.encryption", "m.room.avatar")
    shown: Iterable[JsonObject] = (room.state[kind, ""] for kind in kinds if (kind, "") in room.state)
    keys = ("type", "state_key", "sender", "content")
    return [{key: event[key] for key in keys} for event in shown] + [invite]


def _place(token: str) -> int:
    if not token.startswith("s") or not token[1:].isdecimal():
        raise No(400, "M_INVALID_PARAM", "Invalid token")
    return int(token[1:])


def _read(sent: bytes) -> JsonObject:
    try:
        body = json.loads(sent or b"{}", parse_float=_no_float)
    except ValueError as error:
        raise No(400, "M_NOT_JSON", "Content not JSON.") from error
    if not isinstance(body, dict):
        raise No(400, "M_BAD_JSON", "Content must be a JSON object.")
    return body


def _no_float(text: str) -> float:
    raise No(400, "M_BAD_JSON", f"Bad JSON value: float {text}")


# ── What aiohttp is to who asks ──────────────────────────────────────────────────────────────────


class _Body:
    """As much of aiohttp's StreamReader as is used."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, most: int) -> bytes:
        return self._body[:most]

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for start in range(0, len(self._body), size):
            await asyncio.sleep(0)
            yield self._body[start : start + size]


class MemoryResponse:
    """As much of aiohttp's ClientResponse as is used."""

    def __init__(self, status: int, body: bytes, kind: str) -> None:
        self.status = status
        self.content_type = kind
        self.content_disposition = None
        self.headers: dict[str, str] = {}
        self.content_length = len(body)
        self.content = _Body(body)
        self._body = body

    def close(self) -> None:
        pass

    async def read(self) -> bytes:
        return self._body

    async def text(self) -> str:
        return self._body.decode()

    async def json(self) -> Any:
        return json.loads(self._body)


class _Request:
    """Awaited, or entered, as aiohttp has it."""

    def __init__(self, answer: Awaitable[MemoryResponse]) -> None:
        self._answer = answer

    def __await__(self) -> Generator[Any, None, MemoryResponse]:
        return self._answer.__await__()

    async def __aenter__(self) -> MemoryResponse:
        return await self._answer

    async def __aexit__(self, *_: object) -> None:
        pass


class MemorySession:
    """As much of aiohttp's ClientSession as is used."""

    def __init__(self, homeserver: MemoryHomeserver) -> None:
        self._homeserver = homeserver
        self.closed = False

    def request(
        self,
        method: str,
        url: str,
        *,
        data: Any = None,
        json: JsonObject | None = None,
        headers: dict[str, str] | None = None,
        **_: Any,
    ) -> _Request:
        return _Request(self._ask(method, str(url), data if json is None else _dumps(json), headers or {}))

    def get(self, url: str, **options: Any) -> _Request:
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> _Request:
        return self.request("POST", url, **options)

    async def close(self) -> None:
        self.closed = True

    async def _ask(self, method: str, url: str, data: Any, headers: dict[str, str]) -> MemoryResponse:
        sent = data.read() if hasattr(data, "read") else data.encode() if isinstance(data, str) else data or b""
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        kind = headers.get("Content-Type", "application/octet-stream")
        return MemoryResponse(*await self._homeserver.answer(method, url, token, sent, kind))


def _dumps(body: JsonObject) -> bytes:
    return json.dumps(body).encode()
