"""A person's client ends when it is told to."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import Any

from roommate.domain import Account, RoomId, UserId
from roommate.user_client import Client
from tests.patience import PATIENCE


class Deaf:
    """An HTTP client that now and then takes a cancellation for a timeout of its own, as aiohttp's does."""

    def __init__(self) -> None:
        self.asked = 0

    @asynccontextmanager
    async def request(self, *_: object, **__: object) -> Any:
        self.asked += 1
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            raise TimeoutError from None
        yield

    async def close(self) -> None:
        pass


async def test_who_follows_a_room_can_be_told_to_stop() -> None:
    http = Deaf()
    client = Client(Account("http://homeserver.invalid", UserId("@me:homeserver.invalid"), "", ""))
    client._http = http  # type: ignore[assignment]

    async def follow() -> None:
        async with aclosing(client.follow(RoomId("!one:homeserver.invalid"))) as events:
            async for _ in events:
                pass

    following = asyncio.create_task(follow())
    while not http.asked:
        await asyncio.sleep(0)
    following.cancel()
    await asyncio.wait([following], timeout=PATIENCE)
    assert following.cancelled()
    assert http.asked == 1
