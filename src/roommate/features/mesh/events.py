"""What other daemons say, given in order to those that deal with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from roommate import logs
from roommate.errors import StateError
from roommate.store import MeshArrival, MeshEvents

log = logging.getLogger(__name__)

Deal = Callable[[MeshArrival], Awaitable[object]]
"""Deals with one, and takes its row in the transaction that stores what came of it (`store.mesh_events.taking`). It
waits for nothing but the database: what takes longer is a task of its own. The row is gone afterwards in any case, so
one whose dealing was cut off by a crash is dealt with again."""

RETRY_SECONDS = 5.0


class EventRoad:
    """Run `run()`."""

    def __init__(self, events: MeshEvents, news: asyncio.Event, deals: Mapping[str, Deal]) -> None:
        """`news` is set when there is more; `deals` by the type of event. What has none is passed over."""
        self._events, self._news, self._deals = events, news, deals

    async def run(self) -> None:
        while True:
            self._news.clear()
            try:
                while arrivals := await self._events.waiting():
                    for arrival in arrivals:
                        await self._deal(arrival)
            except StateError as error:  # a full disk: what came waits where it is
                log.error("%s", error)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await self._news.wait()

    async def _deal(self, arrival: MeshArrival) -> None:
        with logs.about(room=arrival.room_id):
            try:
                if deal := self._deals.get(arrival.type):
                    await deal(arrival)
            except StateError:
                raise
            except Exception:  # one peer's words must not end the hearing of all others
                log.exception("an event of the mesh was not dealt with")
            await self._events.taken(arrival)
