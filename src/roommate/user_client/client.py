"""The HTTP side of a person's client: log in, be in a room, write, and follow what happens there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import aiohttp

from roommate.domain import Account, EventId, JsonObject, RoomId, UserId
from roommate.errors import MatrixError, Refused, TokenRevoked, Transient
from roommate.net import outbound_http
from roommate.net.retrying import patiently
from roommate.user_client.timeline import Post, Timeline

PATIENCE_SECONDS = 60.0
"""How long a request is tried again while the homeserver is away, or has had too much of us."""

LONGEST_DELAY = 8.0
LONG_POLL_SECONDS = 30


async def login(homeserver: str, user: str, password: str) -> Account:
    """A new device of `user` (an id, or its localpart). Raises MatrixError."""
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        "initial_device_display_name": "roommate chat",
    }
    async with Client(Account(homeserver.rstrip("/"), UserId(user), "", "")) as client:
        answer = await client.call("POST", "login", body)
    return Account(homeserver.rstrip("/"), UserId(answer["user_id"]), answer["device_id"], answer["access_token"])


class Client:
    """One account at its homeserver. An async context manager."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self._txn = itertools.count()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._http = outbound_http.session(timeout=aiohttp.ClientTimeout(total=LONG_POLL_SECONDS + 30))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()

    async def create_room(self, name: str, invite: Sequence[UserId]) -> RoomId:
        body = {"name": name, "preset": "private_chat", "invite": list(invite)}
        return RoomId((await self.call("POST", "createRoom", body))["room_id"])

    async def enter(self, room: str) -> RoomId:
        """Be in a room, given by its id or an alias: joined unless we are in it already. Raises Refused for an
        encrypted one: what we would write there everybody on the way could read."""
        entered = RoomId((await self.call("POST", f"join/{quote(room)}", {}))["room_id"])
        try:
            await self.call("GET", f"rooms/{quote(entered)}/state/m.room.encryption/")
        except Refused:
            return entered
        raise Refused(
            f"{entered} is encrypted, and from here nothing can be: use the command on the bot's host, where the "
            "daemon writes for you, or a client such as Element"
        )

    async def members(self, room: RoomId) -> frozenset[UserId]:
        """Who has joined."""
        return frozenset((await self.call("GET", f"rooms/{quote(room)}/joined_members"))["joined"])

    async def say(self, room: RoomId, text: str) -> EventId:
        return await self._send(room, "m.room.message", {"msgtype": "m.text", "body": text})

    async def react(self, room: RoomId, event_id: EventId, key: str) -> EventId:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self._send(room, "m.reaction", {"m.relates_to": relation})

    async def follow(
        self, room: RoomId, back: int = 0, on_away: Callable[[MatrixError | None], None] = lambda _: None
    ) -> AsyncGenerator[JsonObject]:
        """The room's events for ever: the last `back` ones, then what happens, with ``m.typing`` among it.

        Yields an empty object after each sync, the first one included. While the homeserver is away it keeps trying;
        `on_away` is told why, and None when it is back.
        """
        since = ""
        # Synapse answers a first sync that it was asked before with what it said then, for two minutes
        # (sync_response_cache_duration): so no two are alike.
        alone = secrets.token_hex(8)
        while True:
            limit = back if not since else 200
            rooms = {"rooms": [room], "timeline": {"limit": limit}}
            about = {"room": rooms, "presence": {"types": []}, "io.roommate.alone": alone}
            wait = LONG_POLL_SECONDS * 1000 if since else 0
            path = f"sync?timeout={wait}&filter={quote(json.dumps(about))}" + (f"&since={since}" if since else "")
            try:
                answer = await self._call_once("GET", path, None)
            except Transient as error:
                on_away(error)
                await asyncio.sleep(error.retry_after or 1)
                continue
            on_away(None)
            since = answer["next_batch"]
            here = answer.get("rooms", {}).get("join", {}).get(room, {})
            for part in ("timeline", "ephemeral"):
                for event in here.get(part, {}).get("events", ()):
                    yield event
            yield {}

    async def ask(
        self,
        room: RoomId,
        act: Callable[[Timeline], Coroutine[Any, Any, object]],
        back: int = 0,
        *,
        stops: bool = False,
        of: UserId | None = None,
    ) -> Post:
        """Do something in the room, and wait for what a bot says to it in the end. Raises MatrixError.

        What says what it answers is the answer to that alone; people's talk is none. `act` is started when we look
        already, and is given the room's last `back` events. It `stops` what runs: then the end of what was stopped is
        an answer, too. Where there is more than one bot, `of` is the one that is asked.
        """
        timeline = Timeline()
        acting = False
        acts: set[str] = set()
        async with asyncio.TaskGroup() as group, contextlib.aclosing(self.follow(room, back)) as events:
            async for event in events:
                if not event:
                    if not acting:
                        acting = True
                        group.create_task(act(timeline))
                    continue
                mine = event.get("sender") == self.account.user_id
                if mine and acting:
                    acts.add(event.get("event_id", ""))
                seen = timeline.take(event)
                if (
                    not acts
                    or not isinstance(seen, Post)
                    or mine
                    or seen.live
                    or seen.of_request
                    or not seen.of_bot
                    or of not in (None, seen.sender)
                ):
                    continue
                if not seen.answers or seen.answers & acts or (stops and seen.state == "stopped"):
                    return seen
        raise MatrixError("the homeserver has nothing more to say")

    async def call(self, method: str, path: str, body: JsonObject | None = None) -> JsonObject:
        """One call of the client-server API below ``/_matrix/client/v3/``, tried again with patience.

        Raises Refused, TokenRevoked, and Transient when the patience ends.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        return await patiently(
            lambda: self._call_once(method, path, body),
            gives_up=lambda _, delay: time.monotonic() + delay > until,
            longest=LONGEST_DELAY,
        )

    async def _send(self, room: RoomId, event_type: str, content: JsonObject) -> EventId:
        # The id of the transaction is the same for each try: the homeserver takes one of them.
        txn = f"{time.time_ns()}-{next(self._txn)}"
        answer = await self.call("PUT", f"rooms/{quote(room)}/send/{event_type}/{txn}", content)
        return EventId(answer["event_id"])

    async def _call_once(self, method: str, path: str, body: JsonObject | None) -> JsonObject:
        if self._http is None:
            raise MatrixError("the client is not open")
        url = f"{self.account.homeserver}/_matrix/client/v3/{path}"
        token = self.account.access_token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with self._http.request(method, url, json=body, headers=headers) as response:
                status = response.status
                answer = await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError from error  # now and then aiohttp takes that for a timeout of its own
            raise Transient(outbound_http.unanswered(f"the homeserver {self.account.homeserver}", error)) from error
        if status == 200 and isinstance(answer, dict):
            return answer
        said: JsonObject = answer if isinstance(answer, dict) else {}
        words = f"the homeserver refused: {said.get('error') or f'HTTP {status}'}"
        if status == 429:
            raise Transient(words, retry_after=said.get("retry_after_ms", 1000) / 1000)
        if status >= 500:
            raise Transient(words)
        if said.get("errcode") == "M_UNKNOWN_TOKEN":
            raise TokenRevoked(words)
        raise Refused(words, said.get("errcode", ""))
