"""A room begins anew: its conversation is forgotten, or its files are deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.chat import texts
from roommate.domain import CardKind, EventId, Question, RoomId, UserId
from roommate.features.feature import Feature
from roommate.operations import Ask, Call, Change, OfRoom, Who, form, operation
from roommate.rooms.questions import Decide
from roommate.rooms.residents import Resident
from roommate.rooms.sandboxes_port import Sandboxes
from roommate.store import Card, Turn, Work
from roommate.store.turns import clearing, clearing_all

CARD_SECONDS = 3600


class Reset(OfRoom):
    all: Annotated[bool, Field(description="All conversations of the room.")] = False


@dataclass(frozen=True, slots=True)
class Forgotten:
    turns: int
    everywhere: bool
    """Of all conversations of the room."""


def _forgotten(forgotten: Forgotten) -> str:
    many = f"{forgotten.turns} turn{'' if forgotten.turns == 1 else 's'}"
    where = "all conversations here" if forgotten.everywhere else "this conversation"
    return f"Forgotten: {many} of {where}. The files are still there."


def resetting(sandboxes: Sandboxes, resident: Callable[[RoomId], Resident]) -> Decide:
    """Empties a workspace, where that is what people choose."""

    async def decide(card: Card, choice: str, by: UserId) -> str:
        if choice == texts.NO:
            return "nothing was deleted"
        await resident(card.room_id).stop(by)
        await sandboxes.reset_workspace(card.room_id)
        return "the workspace is empty now"

    return decide


@dataclass(frozen=True, slots=True)
class Resets:
    resident: Callable[[RoomId], Resident]

    @operation(
        "rooms.reset",
        reads=_forgotten,
        who=Who.ANYONE,
        audit="reset",
        chat=(form("reset", all=False), form("reset all", all=True)),
        cli="rooms reset",
    )
    async def reset(self, params: Reset, call: Call) -> Change[Forgotten]:
        """Forgets this conversation, with `all` every one of the room; the files stay."""
        room_id, thread, everywhere = call.its_room, call.thread, params.all or call.here is None
        clear = clearing_all(room_id) if everywhere else clearing(room_id, EventId(thread) if thread else None)

        def meant(turn: Turn) -> bool:
            return everywhere or turn.thread == thread

        async def stop(along: Work[object]) -> None:
            await self.resident(room_id).stop(UserId(call.name), meant, lambda stopped: along)

        return Change(lambda c: Forgotten(clear(c), everywhere), carrier=stop)

    @operation("workspace.reset", who=Who.ANYONE, chat="reset workspace", cli="workspace reset")
    async def reset_workspace(self, params: OfRoom, call: Call) -> Ask:
        """Deletes every file of a room, after asking there."""
        return Ask(Question(CardKind.RESET_WORKSPACE, texts.RESET, hint=texts.RESET_HINT, seconds=CARD_SECONDS))


def feature(sandboxes: Sandboxes, resident: Callable[[RoomId], Resident]) -> Feature:
    return Feature([Resets(resident)], cards={CardKind.RESET_WORKSPACE: resetting(sandboxes, resident)})
