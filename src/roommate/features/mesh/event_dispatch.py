"""What other daemons say, given in order to those that deal with it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from roommate import logs
from roommate.domain import RoomId
from roommate.errors import StateError
from roommate.store import MeshArrival, MeshEvents
from roommate.store.mesh_events import MOST_READ

T = TypeVar("T")

log = logging.getLogger(__name__)

Deal = Callable[[MeshArrival], Awaitable[object]]
"""Deals with one, and takes its row in the transaction that stores what came of it (`store.mesh_events.taking`). Those
behind it in its room wait for that. The row is gone afterwards in any case, so one whose dealing was cut off by a crash
is dealt with again."""

RETRY_SECONDS = 5.0


class EventRoad:
    """Run `run()`. The events of a room are dealt with one after the other, and no room waits for another one."""

    def __init__(
        self, events: MeshEvents, news: asyncio.Event, deals: Mapping[str, Deal], waited: Callable[[int], None]
    ) -> None:
        """`news` is set when there is more; `deals` by the type of event. What has none is passed over. `waited` is
        told up to which `seq` they came before anybody dealt with them."""
        self._events, self._news, self._deals, self._waited = events, news, deals, waited
        self._rooms: dict[RoomId, asyncio.Event] = {}
        """Where somebody deals with what comes; set where there may be more."""

    async def run(self) -> None:
        self._waited(await self._patiently(self._events.newest))
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._news.clear()
                busy = set(self._rooms)
                for room_id, arrivals in (await self._patiently(self._events.by_room)).items():
                    if room_id not in self._rooms:
                        self._rooms[room_id] = asyncio.Event()
                        tasks.create_task(self._room(room_id, () if room_id in busy else arrivals))
                        if room_id not in busy:
                            continue
                    self._rooms[room_id].set()  # what was read while it was dealt with there is read again
                await self._news.wait()

    async def _room(self, room_id: RoomId, arrivals: Sequence[MeshArrival]) -> None:
        """`arrivals` are the first ones, where they were read already."""
        news = self._rooms[room_id]
        with logs.about(room=room_id):
            while True:
                for arrival in arrivals:
                    await self._patiently(partial(self._deal, arrival))
                    await asyncio.sleep(0)  # what comes of it may all have been done without a wait
                if len(arrivals) < MOST_READ and not news.is_set():
                    break
                news.clear()
                arrivals = await self._patiently(partial(self._events.waiting, room_id))
            del self._rooms[room_id]

    async def _deal(self, arrival: MeshArrival) -> None:
        try:
            if deal := self._deals.get(arrival.type):
                await deal(arrival)
        except StateError:
            raise
        except Exception:  # one peer's words must not end the hearing of all others
            log.exception("an event of the mesh was not dealt with")
        await self._events.taken(arrival)

    async def _patiently(self, do: Callable[[], Awaitable[T]]) -> T:
        """What a full disk keeps from being stored waits where it is."""
        while True:
            try:
                return await do()
            except StateError as error:
                log.error("%s", error)
                await asyncio.sleep(RETRY_SECONDS)
