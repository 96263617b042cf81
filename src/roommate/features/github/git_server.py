"""git over HTTP for the rooms: clones, fetches and pushes go through here, where the token is added and pushes judged.

What is served is git's smart protocol and nothing else (gitprotocol-http(5)).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import aiohttp

from roommate.domain import DAEMON, Deed, Program, RoomId
from roommate.errors import ForgeError
from roommate.features.github import push_rules
from roommate.features.github.forge import NAME, Forge
from roommate.features.github.git_spool import Push, Spool
from roommate.features.github.git_upstream import (
    ANSWER_BYTES,
    FETCH,
    PUSH,
    GitUpstream,
    Target,
    how_to_grant,
)
from roommate.features.github.git_wire import COMMANDS_BYTES, BadPush, Commands, commands, report
from roommate.host import deadlines
from roommate.tunnels.http_forward import TOTAL_SECONDS
from roommate.tunnels.http_server import Servers, tunnel_of
from roommate.tunnels.request_body_stream import Body, RequestRefused

if TYPE_CHECKING:
    from aiohttp import web

log = logging.getLogger(__name__)

PORT = 9418
"""Of the container's 127.0.0.1."""

FETCH_BYTES = 16 << 20
FETCH_SECONDS = 300.0
"""For what a fetch asks to come."""
AT_ONCE, PUSHES_AT_ONCE = 16, 2
"""Requests of one room, and pushes among them: each of these lies in a file while it is judged."""

_PIECE = 1 << 18
_ASKED = re.compile(rf"/({NAME})(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")


class Audit(Protocol):
    """The log of who did what: rows are added, and nothing changes them."""

    async def record(self, deed: Deed) -> None:
        """Returns when it is on the disk. What is too long for a line is cut."""
        ...


class RepoStore(Protocol):
    """Where it is kept which repositories of the forge a room may use. Names do not tell cases apart."""

    async def granted(self, room_id: RoomId, name: str) -> str | None:
        """The name as it was granted; None when it was not."""
        ...


class Refusal(Protocol):
    """As `Gate.refusal`: why a room may not connect there now; empty when it may."""

    def __call__(
        self, room_id: RoomId, host: str, port: int, caller: Callable[[], Awaitable[Program]]
    ) -> Awaitable[str]: ...


class GitServer:
    """Of all rooms. ``http://127.0.0.1:PORT/OWNER/NAME`` is that repository of the forge."""

    def __init__(
        self, forge: Forge, repos: RepoStore, refusal: Refusal, audit: Audit, *, protected: Sequence[str], folder: Path
    ) -> None:
        """`refusal` says why a room may not read a repository that is not its own. `protected` are globs of
        branches, beside each repository's default branch; pushes lie in `folder`."""
        self._forge, self._repos, self._refusal, self._audit = forge, repos, refusal, audit
        self._protected, self._spool = tuple(protected), Spool(folder)
        self._upstream = GitUpstream(forge.site)
        self._servers = Servers(self._handle)
        self.serve = self._servers.serve
        self._running: dict[tuple[RoomId, str], int] = {}

    async def close(self) -> None:
        await self._servers.close()
        await self._upstream.close()
        await self._forge.close()

    async def _handle(self, room_id: RoomId, request: web.BaseRequest) -> web.StreamResponse:
        asked = _ASKED.fullmatch(request.rel_url.raw_path)
        what = _service(request, asked[2]) if asked else ""
        if asked is None or not what:
            return _told(404, "only git's clone, fetch and push are served here")
        most = PUSHES_AT_ONCE if request.path.endswith(PUSH) else AT_ONCE
        key = (room_id, request.path.rpartition("/")[2])
        if self._running.get(key, 0) >= most:
            return _told(429, f"this room has {most} of these running: wait for one to end")
        self._running[key] = self._running.get(key, 0) + 1
        try:
            granted = await self._repos.granted(room_id, asked[1])
            if what == PUSH:
                return await self._receive(room_id, request, asked[1], granted)
            return await self._fetch(
                room_id, request, Target(granted or asked[1], asked[2], FETCH, granted is not None)
            )
        except RequestRefused as refused:
            return _told(refused.status, str(refused))
        except BadPush as error:
            return _told(400, f"this push is not understood: {error}")
        except ForgeError as error:
            return _told(502, str(error))
        except aiohttp.ClientError as error:
            log.warning("the forge did not answer: %s", type(error).__name__)
            return _told(502, f"{self._forge.site.server} cannot be reached ({type(error).__name__})")
        except TimeoutError:
            return _told(504, f"{self._forge.site.server} did not answer in time")
        finally:
            self._running[key] -= 1

    async def _fetch(self, room_id: RoomId, request: web.BaseRequest, to: Target) -> web.StreamResponse:
        """A repository that is not granted is read as anybody may, where the room may connect to the forge."""
        if not to.granted:
            there = self._forge.site.destination
            if why := await self._refusal(room_id, there.host, there.port, tunnel_of(request).caller):
                raise RequestRefused(403, f"{why} {how_to_grant(to.name)}")
        body = Body(request, most=FETCH_BYTES, seconds=FETCH_SECONDS)
        try:
            return await self._upstream.forward(request, to, body, body.size)
        except aiohttp.ClientError:
            if body.bad is not None:
                raise body.bad from None
            raise

    async def _receive(
        self, room_id: RoomId, request: web.BaseRequest, name: str, granted: str | None
    ) -> web.StreamResponse:
        from aiohttp import web

        if not self._forge.site.token:
            raise RequestRefused(403, "nothing can be pushed from here: the operator has set no GITHUB_TOKEN")
        if granted is None:
            raise RequestRefused(403, f"{name} is not among this room's repositories. {how_to_grant(name)}")
        if request.method == "GET":
            return await self._upstream.forward(request, Target(granted, "info/refs", PUSH, granted=True))
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise RequestRefused(415, "a push is not compressed once more")
        with self._spool.push(room_id) as push:
            await _receive_all(request, push)
            push.file.seek(0)
            pushed = commands(push.file.read(COMMANDS_BYTES))
            if not pushed.updates:  # git asks so before a large push whether it would be let in
                return web.Response(content_type=f"application/x-{PUSH}-result")
            refs = [update.ref for update in pushed.updates]
            if refusals := await self._judged(pushed, push, granted):
                log.info("a push to %s was refused: %s", granted, ", ".join(refs[:5]))
                return web.Response(body=report(pushed, refusals), content_type=f"application/x-{PUSH}-result")
            # First, since whoever has sent it may hang up and not wait for its end.
            deed = Deed(DAEMON, "git", "push", room_id=room_id, subject=granted, detail=", ".join(refs))
            await self._audit.record(deed)
            return await self._send(request, granted, pushed, push.file)

    async def _judged(self, pushed: Commands, push: Push, granted: str) -> dict[str, str]:
        """Why refs are not pushed. git shows these reasons, and no text of an answer with another status than 200."""
        if not (why := push.why):
            try:
                return await push_rules.refusals(
                    pushed, push.file, repository=granted, forge=self._forge, globs=self._protected
                )
            except ForgeError as error:
                why = str(error)
        return {update.ref: why for update in pushed.updates}

    async def _send(
        self, request: web.BaseRequest, granted: str, pushed: Commands, body: BinaryIO
    ) -> web.StreamResponse:
        """The commands as they were understood, and the pack as it came."""
        start = pushed.encoded()
        size = len(start) + body.seek(0, 2) - pushed.size

        async def content() -> AsyncIterator[bytes]:
            yield start
            body.seek(pushed.size)
            while piece := await asyncio.to_thread(body.read, _PIECE):
                yield piece

        return await self._upstream.forward(request, Target(granted, PUSH, PUSH, granted=True), content(), size)


def _service(request: web.BaseRequest, path: str) -> str:
    """git-upload-pack or git-receive-pack; "" for what is not served."""
    if path == "info/refs":
        service = request.rel_url.raw_query_string.removeprefix("service=")
        return service if request.method == "GET" and service in (FETCH, PUSH) else ""
    return path if request.method == "POST" and not request.rel_url.raw_query_string else ""


async def _receive_all(request: web.BaseRequest, push: Push) -> None:
    """Also of what is not kept: git listens only when it has said all."""
    async with deadlines.within(TOTAL_SECONDS):
        async for piece in request.content.iter_any():
            await push.add(piece)
            if push.size > ANSWER_BYTES:
                raise ConnectionAbortedError("a push without an end")


def _told(status: int, why: str) -> web.Response:
    """git shows a text of this type, each line after ``remote:``."""
    from aiohttp import web

    return web.Response(status=status, text=f"Roommate: {why}\n", content_type="text/plain")
