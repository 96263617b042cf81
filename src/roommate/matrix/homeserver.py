"""The homeserver as all other parts know it: a few calls that give a value or raise one of our errors."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from aiohttp import ClientResponse, ClientSession, ClientTimeout

from roommate.domain import MESH_INTRODUCTION, Account, EventId, JsonObject, RoomId, UserId
from roommate.errors import ConfigError, Refused, StateError, TokenRevoked, Transient
from roommate.host import deadlines
from roommate.matrix import json_answers
from roommate.matrix.crypto import attachments
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.error_mapping import NotMatrix, lost, refusal, sendable
from roommate.matrix.parse import MAX_NAME, Me, items, obj, text
from roommate.matrix.room_members import RoomMembers
from roommate.matrix_login import Session, password_and_token
from roommate.matrix_login.http_request import NotMatrix as NotHomeserver
from roommate.matrix_login.token_refresh import Keep
from roommate.net import outbound_http
from roommate.net.outbound_http import NETWORK_ERRORS

REQUEST_SECONDS = 30.0
SYNC_GRACE_SECONDS = 30.0
"""How much longer than it was asked to wait a homeserver may take to answer a sync."""
PROMPT_SYNC_SECONDS = 300.0
"""How long it may take for a sync without waiting: after a long absence there is much to put together."""
UPLOAD_BYTES_PER_SECOND = 50_000
DOWNLOAD_SECONDS = 3600.0
"""Longest that anything may come; whoever reads it is less patient."""
LARGEST_ERROR = 64 << 10
CLIENT_API = password_and_token.CLIENT_API

T = TypeVar("T")


async def _nowhere(account: Account) -> None:
    """Where a login is kept that nobody wants to keep."""


class Homeserver:
    """One account on one homeserver. After `sign_in` a call raises Transient, Refused or TokenRevoked, nothing else.

    What is sent, and files, go through `encryption`: nothing else decides what is encrypted. Syncs and history come as
    the homeserver has them.
    """

    def __init__(
        self,
        url: str,
        user: UserId,
        *,
        keep: Keep = _nowhere,
        learned: Callable[[Account], None] = lambda _: None,
        ca: Path | None = None,
        session: outbound_http.Connect = outbound_http.session,
    ) -> None:
        """`keep` stores each login before it is used; `learned` is told of it before anything else. `ca` is a file of
        CAs that are trusted beside the host's own. `session` makes what requests go through, with the first of them."""
        self._url = url.rstrip("/")
        self._http: ClientSession | None = None
        self._keep, self._learned, self._ca, self._connect = keep, learned, ca, session
        self._session: Session | None = None
        self._upload_limit: int | None = None
        self.me = Me(user)
        self.members = RoomMembers(self.joined_members)
        self.encryption: Encryption | None = None
        """Encrypts what is sent into encrypted rooms; None while the operator wants no encryption."""

    async def sign_in(self, password: str, saved: Account | None, token: str = "") -> Account:
        """Use the access `token` that an operator gave, or else the saved login, or log in with the password.

        Gives the login, which is stored unless it is an operator's. Raises ConfigError where a setting is wrong,
        Transient while the homeserver is away (call it again then), TokenRevoked when the login is dead. A saved login
        of another account or homeserver is passed over.
        """
        url, user = self._url, self.me.user_id
        if self._session is not None:
            await self._session.close()
            self._session = None  # a dead login would spoil a new one
        if token:
            account = await self._given(url, user, token)
        elif saved is not None and (saved.homeserver, saved.user_id) == (url, user):
            account = saved
        else:
            account = await self._log_in(url, user, password)
            await self._keep(account)
        self._learned(account)
        self._session = Session(
            account, self._keep, password="" if token else password, ca=self._ca, renewed=self._learned
        )
        if account is saved:
            await self._call("check the bot's login", "GET", f"{CLIENT_API}/account/whoami")
        self.me = Me(user, await self._display_name())
        return self._session.account

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
        if self._http is not None:
            await self._http.close()

    # ── Reading ──────────────────────────────────────────────────────────────────────────────────

    async def sync(self, since: str | None, timeout_ms: int) -> JsonObject:
        """One sync as the homeserver answers it, but for ``next_batch``, which is a string. 0 ms: answer at once.

        https://spec.matrix.org/v1.13/client-server-api/#get_matrixclientv3sync
        """
        query = {"timeout": timeout_ms, "filter": _lean(100 if since else 1)} | ({"since": since} if since else {})
        patience = timeout_ms / 1000 + SYNC_GRACE_SECONDS if timeout_ms else PROMPT_SYNC_SECONDS
        answer = await self._call("sync", "GET", f"{CLIENT_API}/sync?{urlencode(query)}", seconds=patience)
        if not isinstance(answer.get("next_batch"), str):
            raise Transient("the homeserver did not sync: there is no next_batch in its answer")
        return answer

    async def messages(self, room: RoomId, start: str, end: str | None, limit: int) -> tuple[list[Any], str | None]:
        """A page of a room's history back from `start` to `end`, newest first; and where the next one starts, if any.

        https://spec.matrix.org/v1.13/client-server-api/#get_matrixclientv3roomsroomidmessages
        """
        query = {"dir": "b", "from": start, "limit": limit} | ({"to": end} if end else {})
        answer = await self._call("give the history", "GET", f"{_path(room)}/messages?{urlencode(query)}")
        return items(answer.get("chunk")), text(answer.get("end"))

    async def joined_members(self, room: RoomId) -> set[str]:
        return set(await self._joined(room))

    async def display_names(self, room: RoomId) -> dict[str, str]:
        """The members, with what they call themselves in that room; who does not is left out."""
        members = await self._joined(room)
        names = {user: text(obj(about).get("display_name"), MAX_NAME) for user, about in members.items()}
        return {user: name for user, name in names.items() if name}

    async def _joined(self, room: RoomId) -> JsonObject:
        """https://spec.matrix.org/v1.13/client-server-api/#get_matrixclientv3roomsroomidjoined_members"""
        answer = await self._call("tell who is in the room", "GET", f"{_path(room)}/joined_members")
        return obj(answer.get("joined"))

    async def state(self, room: RoomId, kind: str) -> JsonObject:
        """The state event of this type with an empty key, whole. Refused where there is none."""
        path = f"{_path(room)}/state/{quote(kind)}/?format=event"
        answer = await self._call("tell the state of a room", "GET", path)
        # Homeservers that do not know `format` answer with the content alone.
        return answer if "content" in answer and "sender" in answer else {"content": answer}

    async def event(self, room: RoomId, event: EventId) -> JsonObject:
        """The content of an event."""
        return obj((await self.whole_event(room, event)).get("content"))

    async def whole_event(self, room: RoomId, event: EventId) -> JsonObject:
        """An event as it was meant, with what is aggregated to it; empty where it can never be read."""
        answer = await self._call("give an event", "GET", f"{_path(room)}/event/{quote(event, safe='')}")
        unsigned = obj(answer.get("unsigned"))
        related = obj(unsigned.get("m.relations"))
        for edit in await self._readable(room, [related["m.replace"]] if "m.replace" in related else []):
            answer = {**answer, "unsigned": {**unsigned, "m.relations": {**related, "m.replace": edit}}}
        return next(map(obj, await self._readable(room, [answer])), {})

    async def follow(self, room: RoomId, since: str | None, back: int, timeout_ms: int) -> tuple[list[Any], str]:
        """What happens in one room, as a person's client sees it: its events since then, ``m.typing`` among them, and
        the next `since`. Without one, the last `back` events, at once."""
        nothing: JsonObject = {"types": []}
        timeline = {"limit": back if since is None else 200}
        wanted = {"rooms": [room], "timeline": timeline, "state": nothing, "account_data": nothing}
        # Synapse answers a first sync that it was asked before with what it said then, for two minutes.
        about = {
            "presence": nothing,
            "account_data": nothing,
            "room": wanted,
            "io.roommate.alone": secrets.token_hex(8),
        }
        query = {"timeout": timeout_ms, "filter": json.dumps(about)} | ({"since": since} if since else {})
        patience = timeout_ms / 1000 + SYNC_GRACE_SECONDS
        answer = await self._call("sync", "GET", f"{CLIENT_API}/sync?{urlencode(query)}", seconds=patience)
        if self.encryption is not None and self.encryption.works:
            # Once asked with the next token, the homeserver forgets the keys that came with this one.
            with _tried_again():
                await self.encryption.reading.receive(answer)
        here = obj(obj(obj(answer.get("rooms")).get("join")).get(room))
        parts = (obj(here.get(part)) for part in ("timeline", "ephemeral"))
        events = [event for part in parts for event in items(part.get("events"))]
        return await self._readable(room, events), str(answer["next_batch"])

    async def _readable(self, room: RoomId, events: list[Any]) -> list[Any]:
        """Events as they were meant, where we can read them."""
        if self.encryption is None or not self.encryption.works:
            return events
        with _tried_again():
            return await self.encryption.read_old(room, events)

    async def open(self, what: str, path: str, seconds: float) -> ClientResponse:
        """Something that is no JSON, its body unread: whoever reads it closes it. `seconds` until its first byte."""

        async def ask(token: str) -> ClientResponse:
            try:
                async with deadlines.within(seconds):
                    response = await self._request("GET", path, token, DOWNLOAD_SECONDS)
                    if response.status < 300:
                        return response
                    try:
                        content = await response.content.read(LARGEST_ERROR)
                    finally:
                        response.close()
            except NETWORK_ERRORS as error:
                raise lost(what, error) from error
            raise refusal(what, response.status, response.headers, json_answers.read(content))

        return await self._as_bot(ask)

    # ── Writing ──────────────────────────────────────────────────────────────────────────────────

    async def send(self, room: RoomId, event_type: str, content: JsonObject, txn_id: str) -> EventId:
        """Send an event. The same `txn_id` from the same login is the same event, however often it is sent."""
        content = sendable(content)
        if self.encryption is not None:
            with _tried_again():
                event_type, content = await self.encryption.sealing.seal(room, event_type, content, txn_id)
        path = f"{_path(room)}/send/{quote(event_type, safe='')}/{quote(txn_id, safe='')}"
        answer = await self._call("send", "PUT", path, content)
        if self.encryption is not None:
            self.encryption.sealing.arrived(txn_id)
        return _event_id("send", answer)

    async def set_state(self, room: RoomId, kind: str, key: str, content: JsonObject) -> EventId:
        """Set a part of the room's state, which nobody encrypts. The same content once more is the same event. Who may
        not is Refused with ``M_FORBIDDEN``."""
        path = f"{_path(room)}/state/{quote(kind)}/{quote(key, safe='')}"
        answer = await self._call("set the state", "PUT", path, content)
        return EventId(str(answer.get("event_id", "")))

    async def redact(self, room: RoomId, event: EventId, reason: str | None, txn_id: str) -> EventId:
        if reason and await self._is_encrypted(room):
            reason = None  # nobody encrypts it
        path = f"{_path(room)}/redact/{quote(event, safe='')}/{quote(txn_id, safe='')}"
        return _event_id("redact", await self._call("redact", "PUT", path, {"reason": reason} if reason else {}))

    async def upload(self, content: bytes, content_type: str, name: str) -> str:
        """Put a file into the media repository; gives its ``mxc://`` URI. Too large a file is Refused unsent."""
        limit = await self.upload_limit()
        if limit is not None and len(content) > limit:
            raise Refused(f"the homeserver takes files of {limit:,} bytes at most, not {len(content):,}", "M_TOO_LARGE")
        patience = REQUEST_SECONDS + len(content) / UPLOAD_BYTES_PER_SECOND
        path = "/_matrix/media/v3/upload" + (f"?{urlencode({'filename': sendable(name)})}" if name else "")
        answer = await self._call("take a file", "POST", path, content, patience, content_type)
        if (uri := text(answer.get("content_uri"))) is None:
            raise Transient("the homeserver did not take a file: there is no content_uri in its answer")
        return uri

    async def put_file(self, room: RoomId, content: bytes, content_type: str, name: str) -> JsonObject:
        """Upload a file for a room. Gives what the event says of where it is: in an encrypted room it is encrypted,
        with a key that stands there, and the media repository learns neither its name nor its kind."""
        if not await self._is_encrypted(room):
            return {"url": await self.upload(content, content_type, name)}
        sealed, file = await asyncio.to_thread(attachments.encrypt, content)
        return {"file": {**file, "url": await self.upload(sealed, "application/octet-stream", "")}}

    async def _is_encrypted(self, room: RoomId) -> bool:
        with _tried_again():
            return self.encryption is not None and await self.encryption.sealing.is_encrypted(room)

    async def upload_limit(self) -> int | None:
        """The largest file that the homeserver takes, in bytes; None where it does not say.

        https://spec.matrix.org/v1.13/client-server-api/#get_matrixclientv1mediaconfig
        """
        if self._upload_limit is None:
            try:
                answer = await self._call("tell its upload limit", "GET", "/_matrix/client/v1/media/config")
            except Refused:
                return None
            limit = answer.get("m.upload.size")
            self._upload_limit = limit if isinstance(limit, int) and limit > 0 else None
        return self._upload_limit

    async def typing(self, room: RoomId, on: bool, timeout_ms: int) -> None:
        body = {"typing": on} | ({"timeout": timeout_ms} if on else {})
        await self._call("show typing", "PUT", f"{_path(room)}/typing/{quote(self.me.user_id, safe='')}", body)

    async def join(self, room: RoomId, via: Sequence[str] = ()) -> None:
        """`via` are servers that know the room, where ours does not.

        https://spec.matrix.org/v1.13/client-server-api/#post_matrixclientv3joinroomidoralias
        """
        servers = [(name, server) for server in via if server for name in ("via", "server_name")]
        path = f"{CLIENT_API}/join/{quote(room, safe='')}" + (f"?{urlencode(servers)}" if servers else "")
        await self._call("let the bot join", "POST", path, {})

    async def leave(self, room: RoomId, reason: str = "") -> None:
        """Leave a room, or decline its invitation; people see the reason."""
        await self._call("let the bot leave", "POST", f"{_path(room)}/leave", {"reason": reason} if reason else {})

    async def forget(self, room: RoomId) -> None:
        await self._call("forget the room", "POST", f"{_path(room)}/forget", {})

    async def call(
        self,
        what: str,
        method: str,
        path: str,
        body: JsonObject | None = None,
        seconds: float = REQUEST_SECONDS,
        also: int = 0,
    ) -> JsonObject:
        """Implements `matrix.crypto.ask.Ask`."""
        return await self._call(what, method, f"{CLIENT_API}{path}", body, seconds, also=also)

    # ── Asking ───────────────────────────────────────────────────────────────────────────────────

    async def _call(
        self,
        what: str,
        method: str,
        path: str,
        body: JsonObject | bytes | None = None,
        seconds: float = REQUEST_SECONDS,
        content_type: str = "application/json",
        also: int = 0,
    ) -> JsonObject:
        """A request whose answer is a JSON object. Where the answer of status `also` asks for further proof of who we
        are, that is given as well."""
        sent = json.dumps(sendable(body)).encode() if isinstance(body, dict) else body

        async def ask(token: str) -> JsonObject:
            try:
                # A stream: bytes would be written at one go, however many.
                data = None if sent is None else io.BytesIO(sent)
                response = await self._request(method, path, token, seconds, data, content_type)
                content = await response.read()
            except NETWORK_ERRORS as error:
                raise lost(what, error) from error
            answer = json_answers.read(content)
            if response.status == also and "flows" in answer:
                return answer
            if response.status >= 300:
                raise refusal(what, response.status, response.headers, answer)
            return answer

        return await self._as_bot(ask)

    async def _request(
        self,
        method: str,
        path: str,
        token: str,
        seconds: float,
        data: io.BytesIO | None = None,
        content_type: str = "application/json",
    ) -> ClientResponse:
        """Gives its answer, unread. Raises NETWORK_ERRORS."""
        if self._http is None:
            self._http = self._connect(more=self._ca)
        headers = {"Content-Type": content_type} | ({"Authorization": f"Bearer {token}"} if token else {})
        timeout = ClientTimeout(total=seconds)
        return await self._http.request(method, self._url + path, data=data, headers=headers, timeout=timeout)

    async def _as_bot(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """With the token of now; before there is one, without."""
        return await (ask("") if self._session is None else self._session.do(ask))

    async def _given(self, url: str, user: UserId, token: str) -> Account:
        try:
            account = await password_and_token.given(url, token, ca=self._ca)
        except TokenRevoked as error:
            raise TokenRevoked(f"the homeserver does not take MATRIX_ACCESS_TOKEN: {error}") from error
        except (Refused, NotHomeserver) as error:
            raise ConfigError(f"MATRIX_HOMESERVER {url}: {error}") from error
        if account.user_id != user:
            raise ConfigError(f"MATRIX_ACCESS_TOKEN is a token of {account.user_id}, and MATRIX_USER is {user}")
        return account

    async def _log_in(self, url: str, user: UserId, password: str) -> Account:
        if not password:
            raise ConfigError(
                "there is no login yet: set MATRIX_PASSWORD or MATRIX_ACCESS_TOKEN, or run `roommate auth login`"
            )
        try:
            await self._call("tell its versions", "GET", "/_matrix/client/versions")
            account = await password_and_token.by_password(url, user, password, ca=self._ca)
        except (NotMatrix, NotHomeserver) as error:
            raise ConfigError(f"MATRIX_HOMESERVER {url} is not the address of a homeserver: {error}") from error
        except Refused as error:
            if error.errcode == "M_FORBIDDEN":
                raise ConfigError(f"MATRIX_PASSWORD is not the password of {user} on {url}") from error
            raise ConfigError(f"MATRIX_HOMESERVER {url}: {error}") from error
        except TokenRevoked as error:
            raise ConfigError(f"MATRIX_USER {user} cannot log in: {error}") from error
        if account.user_id != user:
            raise ConfigError(f"MATRIX_USER is {user}, but {url} calls that account {account.user_id}")
        return account

    async def set_display_name(self, name: str) -> None:
        """https://spec.matrix.org/v1.13/client-server-api/#put_matrixclientv3profileuseriddisplayname"""
        path = f"{CLIENT_API}/profile/{quote(self.me.user_id)}/displayname"
        await self._call("take the bot's name", "PUT", path, {"displayname": name})
        self.me = Me(self.me.user_id, name)

    async def avatar(self) -> str:
        """The ``mxc://`` URI of the bot's picture; empty where it has none."""
        try:
            answer = await self._call("tell the bot's picture", "GET", f"{CLIENT_API}/profile/{quote(self.me.user_id)}")
        except Refused:
            return ""
        return text(answer.get("avatar_url"), MAX_NAME) or ""

    async def set_avatar(self, uri: str) -> None:
        """https://spec.matrix.org/v1.13/client-server-api/#put_matrixclientv3profileuseridavatar_url"""
        path = f"{CLIENT_API}/profile/{quote(self.me.user_id)}/avatar_url"
        await self._call("take the bot's picture", "PUT", path, {"avatar_url": uri})

    async def _display_name(self) -> str:
        try:
            answer = await self._call("tell the bot's name", "GET", f"{CLIENT_API}/profile/{quote(self.me.user_id)}")
        except Refused:
            return ""  # an account without a profile
        return text(answer.get("displayname"), MAX_NAME) or ""


def _lean(limit: int) -> str:
    """A sync filter: `limit` newest events of each timeline, little state, nothing else."""
    nothing: JsonObject = {"types": []}
    # Synapse counts members anew after a gap only where member events pass the filter.
    types = ["m.room.name", "m.room.encryption", "m.room.member", MESH_INTRODUCTION]
    state = {"types": types, "lazy_load_members": True}
    room = {"timeline": {"limit": limit}, "state": state, "ephemeral": nothing, "account_data": nothing}
    return json.dumps({"presence": nothing, "account_data": nothing, "room": room})


def _event_id(what: str, answer: JsonObject) -> EventId:
    if (event := text(answer.get("event_id"))) is None:
        raise Transient(f"the homeserver did not {what}: there is no event_id in its answer")
    return EventId(event)


@contextlib.contextmanager
def _tried_again() -> Iterator[None]:
    """What encryption could not remember, as on a full disk, can be had later."""
    try:
        yield
    except StateError as error:
        raise Transient(str(error)) from error


def _path(room: RoomId) -> str:
    return f"{CLIENT_API}/rooms/{quote(room, safe='')}"
