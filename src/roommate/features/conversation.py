"""A room's conversation: forgotten, and its files with it, its model, and what that one is told besides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.agent import model_name_checks
from roommate.chat import texts
from roommate.domain import CardKind, EventId, Question, RoomId, UserId
from roommate.errors import Misused
from roommate.operations import Ask, Call, Change, OfRoom, Who, changing, form, operation
from roommate.rooms.questions import Decide
from roommate.rooms.residents import Resident
from roommate.rooms.sandboxes import Sandboxes
from roommate.settings.config import Settings
from roommate.store import Card, Rooms, Turn, Work
from roommate.store.rooms import setting_model, setting_prompt
from roommate.store.turns import clearing, clearing_all
from roommate.text.printable import block, plain, span

CARD_SECONDS = 3600
DEFAULT, NONE = "default", "none"
LONGEST_PROMPT = 4000


class Reset(OfRoom):
    all: Annotated[bool, Field(description="All conversations of the room.")] = False


class Chosen(OfRoom):
    name: Annotated[str, Field(min_length=1, title="NAME|default", description="A LiteLLM model name.")]


class Told(OfRoom):
    text: Annotated[str, Field(min_length=1, title="TEXT|none", description="What the model is told.")]


@dataclass(frozen=True, slots=True)
class Forgotten:
    turns: int
    everywhere: bool
    """Of all conversations of the room."""


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    doubt: str
    """Why that may be a slip of the pen; empty where nothing speaks for it."""


def _forgotten(forgotten: Forgotten) -> str:
    many = f"{forgotten.turns} turn{'' if forgotten.turns == 1 else 's'}"
    where = "all conversations here" if forgotten.everywhere else "this conversation"
    return f"Forgotten: {many} of {where}. The files are still there."


def resetting(sandboxes: Sandboxes, resident: Callable[[RoomId], Resident]) -> Decide:
    """Empties a workspace, where that is what people choose."""

    async def decide(card: Card, choice: str, by: UserId) -> str:
        if choice == texts.NO:
            return "Nothing was deleted."
        await resident(card.room_id).stop(by)
        await sandboxes.reset_workspace(card.room_id)
        return f"The workspace is empty now, as {by} decided."

    return decide


def _model(chosen: Model) -> str:
    doubt = f" ⚠️ {plain(chosen.doubt)}: is that what you mean?" if chosen.doubt else ""
    return f"From the next turn on this room's model is {span(chosen.name)}.{doubt}"


def _prompt(text: str) -> str:
    shown = f"The model is told in this room:\n\n{block(text)}" if text else "Nothing is added in this room."
    return f"{shown}\n\n`!prompt TEXT` sets it, `!prompt none` takes it away (operators)."


@dataclass(frozen=True, slots=True)
class Conversation:
    settings: Callable[[], Settings]
    rooms: Rooms
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
        return Ask(Question(CardKind.RESET_WORKSPACE, texts.reset_card(), seconds=CARD_SECONDS))

    @operation(
        "model.show",
        reads=lambda name: f"This room's model is `{name}`.",
        who=Who.ANYONE,
        chat="model",
        cli="model show",
    )
    async def model(self, params: OfRoom, call: Call) -> str:
        """Shows a room's model."""
        return (await self.rooms.get(call.its_room)).model or self.settings().llm_model

    @operation(
        "model.set",
        reads=_model,
        who=Who.OPERATORS,
        audit="model",
        subject=lambda params: params.name,
        chat="model",
        cli="model set",
    )
    async def set_model(self, params: Chosen, call: Call) -> Change[Model]:
        """Sets a room's model."""
        settings, chosen, doubt = self.settings(), None if params.name == DEFAULT else params.name, ""
        if chosen is not None:
            key, base = settings.llm_api_key.get_secret_value(), settings.llm_api_base
            if len(chosen.split()) != 1:
                raise Misused(f"A model has one name, such as `gemini/gemini-2.5-flash`, or `{DEFAULT}`.")
            if wrong := await asyncio.to_thread(model_name_checks.problem, chosen, key, base, "the model"):
                raise Misused(f"Nothing was changed: {plain(wrong)}.")
            doubt = await asyncio.to_thread(model_name_checks.doubt, chosen, base)
        return changing([setting_model(call.its_room, chosen)], Model(chosen or settings.llm_model, doubt))

    @operation("prompt.show", reads=_prompt, who=Who.ANYONE, chat="prompt", cli="prompt show")
    async def prompt(self, params: OfRoom, call: Call) -> str:
        """Shows what the model is told in a room besides."""
        return (await self.rooms.get(call.its_room)).prompt or ""

    @operation(
        "prompt.set",
        reads=lambda text: f"From the next turn on the model is told {'this' if text else 'nothing more'}.",
        who=Who.OPERATORS,
        audit="prompt",
        subject=lambda params: NONE if params.text == NONE else f"{len(params.text)} characters",
        chat="prompt",
        cli="prompt set",
    )
    async def set_prompt(self, params: Told, call: Call) -> Change[str]:
        """Sets what the model is told in a room besides, or takes it away."""
        if (length := len(params.text)) > LONGEST_PROMPT:
            raise Misused(f"That has {length} characters, {LONGEST_PROMPT} is the most: put the rest into AGENTS.md.")
        text = None if params.text == NONE else params.text
        return changing([setting_prompt(call.its_room, text)], text or "")
