"""Being in a room by way of the daemon: what is said is said by the bot, on behalf of an operator."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any, Self

from roommate import control
from roommate.cli import daemon_requests
from roommate.control.async_client import stream
from roommate.domain import Account, EventId, JsonObject, RoomId, UserId
from roommate.errors import ControlError, MatrixError, NotRunning, Transient
from roommate.host import daemon_location
from roommate.user_client import Client

AGAIN_SECONDS = 1.0


def daemon_runs() -> bool:
    """Is there a daemon here that this user may speak through?"""
    with contextlib.suppress(ControlError):
        daemon_requests.ask("status")
        return True
    return False


class ThroughDaemon(Client):
    """`person.Client` without an account of one's own. `enter` a room first: that tells whose name is used."""

    def __init__(self) -> None:
        super().__init__(Account("", UserId(""), "", ""))
        self._session = secrets.token_hex(8)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def enter(self, room: str) -> RoomId:
        """A room that the bot is in: its id, the beginning of one, or its name."""
        found = await self._ask("speaking.enter", room=room)
        self.account = Account("", UserId(found["me"]), "", "")
        return RoomId(found["room_id"])

    async def say(self, room: RoomId, text: str) -> EventId:
        return EventId(await self._ask("speaking.say", room=room, text=text, session=self._session))

    async def react(self, room: RoomId, event_id: EventId, key: str) -> EventId:
        return EventId(await self._ask("speaking.react", room=room, event=event_id, key=key, session=self._session))

    async def follow(
        self, room: RoomId, back: int = 0, on_away: Callable[[MatrixError | None], None] = lambda _: None
    ) -> AsyncGenerator[JsonObject]:
        since = ""
        while True:
            about: dict[str, Any] = {"room": room, "back": back, "since": since, "session": self._session}
            try:
                async with contextlib.aclosing(
                    stream(daemon_location.run_dir() / control.NAME, "speaking.follow", **about)
                ) as news:
                    async for seen in news:
                        on_away(None)
                        for event in seen["events"]:
                            yield event
                        since = seen["since"]
                        yield {}
            except ControlError as error:
                on_away(Transient(str(error)))
                await asyncio.sleep(AGAIN_SECONDS)

    async def _ask(self, method: str, **params: Any) -> Any:
        try:
            return await asyncio.to_thread(daemon_requests.ask, method, **params)
        except NotRunning:
            raise
        except ControlError as error:
            raise MatrixError(str(error)) from error
