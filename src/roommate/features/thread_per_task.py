"""Whether each task of a room gets a thread of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.operations import Call, Change, OfRoom, Who, changing, form, operation
from roommate.store import Rooms
from roommate.store.rooms import setting_threads


class Wanted(OfRoom):
    off: Annotated[bool, Field(description="Answer in the main timeline again.")] = False


def _told(on: bool) -> str:
    if on:
        return "Each task that is said in the main timeline gets a thread of its own. `!thread off` ends that."
    return "Tasks are answered where they are said. `!thread on` gives each a thread of its own."


@dataclass(frozen=True, slots=True)
class Threads:
    rooms: Rooms

    @operation("threads.show", reads=_told, who=Who.ANYONE, chat="thread", cli="thread show")
    async def show(self, params: OfRoom, call: Call) -> bool:
        """Says whether each task gets a thread of its own."""
        return (await self.rooms.get(call.its_room)).threads

    @operation(
        "threads.set",
        reads=_told,
        who=Who.ANYONE,
        audit="thread",
        subject=lambda params: "off" if params.off else "on",
        chat=(form("thread on", off=False), form("thread off", off=True)),
        cli="thread set",
    )
    async def set(self, params: Wanted, call: Call) -> Change[bool]:
        """Gives each task that is said in the main timeline a thread of its own, or does not."""
        return changing([setting_threads(call.its_room, on=not params.off)], not params.off)
