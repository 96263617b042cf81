"""A room's model, and what it is told there besides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.agent import model_name_checks
from roommate.errors import Misused, ModelError
from roommate.operations import Call, Change, OfRoom, Params, Who, changing, operation
from roommate.settings.config import Settings
from roommate.store import Rooms
from roommate.store.rooms import setting_model, setting_prompt
from roommate.text.printable import block, plain, span

DEFAULT, NONE = "default", "none"
LONGEST_PROMPT = 4000
MOST_SHOWN = 50


class Chosen(OfRoom):
    name: Annotated[str, Field(min_length=1, title="NAME|default", description="A LiteLLM model name.")]


class Wanted(Params):
    word: Annotated[str, Field(title="WORD", description="Only those with this in their name.")] = ""


class Told(OfRoom):
    text: Annotated[str, Field(min_length=1, title="TEXT|none", description="What the model is told.")]


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    doubt: str
    """Why that may be a slip of the pen; empty where nothing speaks for it."""


@dataclass(frozen=True, slots=True)
class Reached:
    models: Sequence[str]
    unanswered: Sequence[str]
    """Of the providers that there is a key for, those that did not tell, with why."""


def _models(reached: Reached) -> str:
    shown = [f"- {span(name)}" for name in reached.models[:MOST_SHOWN]]
    if more := len(reached.models) - len(shown):
        shown.append(f"- … and {more} more: `!models WORD` shows those with a word in their name")
    return "\n".join([*(shown or ["No model found."]), *(f"⚠️ {plain(why)}" for why in reached.unanswered)])


def _model(chosen: Model) -> str:
    doubt = f" ⚠️ {plain(chosen.doubt)}: is that what you mean?" if chosen.doubt else ""
    return f"From the next turn on this room's model is {span(chosen.name)}.{doubt}"


def _prompt(text: str) -> str:
    shown = f"The model is told in this room:\n\n{block(text)}" if text else "Nothing is added in this room."
    return f"{shown}\n\n`!prompt TEXT` sets it, `!prompt none` takes it away (operators)."


@dataclass(frozen=True, slots=True)
class ModelAndPrompt:
    settings: Callable[[], Settings]
    rooms: Rooms

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
            key, base = settings.way_to(chosen)
            if len(chosen.split()) != 1:
                raise Misused(f"A model has one name, such as `gemini/gemini-2.5-flash`, or `{DEFAULT}`.")
            if wrong := await asyncio.to_thread(model_name_checks.problem, chosen, key, base, "the model"):
                raise Misused(f"Nothing was changed: {plain(wrong)}.")
            doubt = await asyncio.to_thread(model_name_checks.doubt, chosen, base)
        return changing([setting_model(call.its_room, chosen)], Model(chosen or settings.llm_model, doubt))

    @operation("model.list", reads=_models, who=Who.OPERATORS, chat="models", cli="model list")
    async def models(self, params: Wanted, call: Call) -> Reached:
        """Lists the models that the keys reach."""
        from roommate.agent.model_listing import models_of  # reading of operations is to need no HTTP
        from roommate.net import outbound_http

        settings, names, silent = self.settings(), set[str](), list[str]()
        mine = settings.llm_model.partition("/")[0]
        others = [f"{name}/" for name, key in settings.model_keys.items() if key and name != mine]
        async with outbound_http.session() as session:
            for model in (settings.llm_model, *others):
                try:
                    names.update(await models_of(model, *settings.way_to(model), lambda: session))
                except ModelError as error:
                    silent.append(f"{model.partition('/')[0]} does not tell: {error}")
        return Reached(sorted(name for name in names if params.word.lower() in name.lower()), silent)

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
