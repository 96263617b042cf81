"""Every real model: one streamed reply, begun again where that may help."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from roommate.agent import litellm_client
from roommate.agent.model_name_checks import UNKNOWN_PROVIDER
from roommate.agent.openai_messages import Messages, clean, tools_for
from roommate.agent.openai_wire import OpenAIWire, Session
from roommate.agent.own_wire_or_litellm import own_route
from roommate.agent.provider_errors import Fault, fault
from roommate.agent.stream_assembly import CUT_OFF, Assembly
from roommate.agent.window import Calibration, Scale, text_tokens
from roommate.agent.wire import Counts, Piece, Wire
from roommate.domain import (
    NO_USAGE,
    Emit,
    JsonObject,
    Note,
    Reply,
    Step,
    TextDelta,
    TextDropped,
    Thinking,
    Thought,
    ToolResult,
    ToolSpec,
    Usage,
)
from roommate.errors import ModelBusy, ModelRefused

log = logging.getLogger(__name__)

UNKNOWN_CONTEXT = 32_768
"""Tokens that a model is taken to read while, or where, LiteLLM does not know it."""

NOTHING_SAID = "(The model gave an empty answer.)"


@dataclass(frozen=True, slots=True)
class Patience:
    """How a request is repeated. Waits are in seconds, double from ``first_wait`` on and are spread at random."""

    tries: int = 4
    first_wait: float = 0.5
    longest_wait: float = 60.0
    """A provider that asks us to wait longer is not waited for."""
    silent_wait: float = 3.0
    """Waits longer than this are told to the room."""

    def wait(self, failed: int, asked: float | None) -> float | None:
        """Seconds until the next try when `failed` have failed; None to give up."""
        if failed >= self.tries or (asked is not None and asked > self.longest_wait):
            return None
        if asked is not None:
            return asked * random.uniform(1.0, 1.1)  # noqa: S311  (not for secrets)
        return min(self.first_wait * (1 << (failed - 1)), self.longest_wait) * random.uniform(0.5, 1.0)  # noqa: S311


DEFAULT_PATIENCE = Patience()


@dataclass(frozen=True, slots=True)
class _Tools:
    specs: tuple[ToolSpec, ...]
    sent: Sequence[JsonObject]
    tokens: int
    """A guess."""


class _TryFailed(Exception):
    def __init__(self, found: Fault) -> None:
        super().__init__(found.why)
        self.fault = found


class ProviderModel:
    """A model by its LiteLLM name, such as ``gemini/gemini-2.5-flash``; implements `Model`.

    What speaks OpenAI's chat completions is asked by our own wire, all else through LiteLLM. That is imported by
    `load`, in a thread, never by importing this module; a reply that comes first waits for it.
    """

    def __init__(
        self,
        name: str,
        *,
        api_key: str = "",
        api_base: str = "",
        context_tokens: int = 0,
        sees: bool | None = None,
        timeout: float = 120.0,
        patience: Patience = DEFAULT_PATIENCE,
        params: Mapping[str, Any] | None = None,
        session: Session | None = None,
    ) -> None:
        """`context_tokens` 0 and `sees` None ask the lists; `timeout` is the longest silence in seconds, before a reply
        and within it; `params` are fields of every request. Without a `session` every model goes through LiteLLM."""
        self._name = name
        self._api_key = api_key
        self._api_base = api_base
        self._context = context_tokens
        self._sees = sees
        self._timeout = timeout
        self._patience = patience
        self._params = params or {}
        self._session = session
        self._wire: Wire | None = None
        self._messages = Messages(name)
        self._weigh = Scale()
        self._tools = _Tools((), (), 0)
        self._writes_calls = False
        """It writes tool calls into its text, and people know."""
        self._calibration = Calibration()
        self._around = 2000
        """Guessed tokens of the system prompt and the tools; the last request's, once there was one."""

    @property
    def name(self) -> str:
        return self._name

    @property
    def context_tokens(self) -> int:
        """What is left for a history, in tokens as `window.tokens` guesses them; the provider's counts correct it."""
        context = self._calibration.guessed(self._context or UNKNOWN_CONTEXT)
        return max(context - self._around, context // 2)

    @property
    def sees(self) -> bool:
        known = self._wire is not None and self._wire.sees
        return known if self._sees is None else self._sees

    async def load(self) -> Wire:
        """Look the model up, for which LiteLLM may be imported (3 s of CPU, in a thread). Nothing is left to do the
        second time."""
        if self._wire is None:
            wire = await self._connect()
            own = isinstance(wire, OpenAIWire)
            self._messages = Messages(self._name, litellm=not own, provider=wire.provider)
            self._context = self._context or wire.context_tokens
            self._wire = wire
        return self._wire

    async def _connect(self) -> Wire:
        if self._session is not None:
            route = await asyncio.to_thread(own_route, self._name, self._api_key, self._api_base, self._params)
            if route is not None:
                own = OpenAIWire(route, session=self._session, params=self._params)
                if not own.context_tokens and not self._context:
                    await own.look_up()
                return own
        name, params = self._name, self._params
        if name.startswith(("ollama/", "ollama_chat/")):
            # LiteLLM has `ollama/` prompt for JSON; Ollama cuts what is longer than its own 4096 tokens, in silence.
            name = f"ollama_chat/{name.partition('/')[2]}"
            params = {"num_ctx": self._context or UNKNOWN_CONTEXT, **params}
            self._context = int(params["num_ctx"])
        return await litellm_client.connect(name, self._api_key, self._api_base, params)

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        """See `Model`. A reply that breaks off is begun again, with a TextDropped where people saw a part of it."""
        wire = await self.load()
        if not wire.provider:
            raise ModelRefused(UNKNOWN_PROVIDER.format(what="the model", name=self._name))
        spent, failed, empty = NO_USAGE, 0, 0
        while True:
            assembly = Assembly([tool.name for tool in tools])
            try:
                reply = await self._try(wire, assembly, system, history, tools, emit)
            except _TryFailed as failure:
                failed += 1
                if assembly.text:
                    emit(TextDropped(failure.fault.why))
                await asyncio.sleep(self._wait(failed, failure.fault, emit))
                continue
            spent += reply.usage
            if assembly.empty:
                empty += 1
                if empty == 1:  # some models do that now and then, and speak when they are asked again
                    continue
                emit(TextDelta(NOTHING_SAID))
                reply = Reply(NOTHING_SAID)
            return replace(reply, usage=spent)

    def _wait(self, failed: int, found: Fault, emit: Emit) -> float:
        """Seconds until the next try. Raises the ModelError when there is none."""
        if not found.again:
            raise found.error
        seconds = self._patience.wait(failed, found.after)
        if seconds is None and failed < self._patience.tries:
            raise ModelBusy(f"The model's provider asks us to wait {found.after:.0f} s ({found.why}): try again then.")
        if seconds is None:
            raise ModelBusy(f"{found.error} I have asked {failed} times: try again later.")
        log.info("%s: try %d failed (%s), the next in %.1f s", self._name, failed, found.why, seconds)
        if seconds > self._patience.silent_wait:
            emit(Note(f"{found.error} I ask again in {seconds:.0f} s."))
        return seconds

    async def _try(
        self,
        wire: Wire,
        assembly: Assembly,
        system: str,
        history: Sequence[Step],
        tools: Sequence[ToolSpec],
        emit: Emit,
    ) -> Reply:
        """One request. Raises _TryFailed."""
        counts = Counts()
        finish = ""
        try:
            said = self._messages.of(system, history, sees=self.sees)
            sent = self._given(tools).sent
            async with contextlib.aclosing(wire.pieces(said, sent, self._timeout, counts)) as pieces:
                async for piece in pieces:
                    finish = piece.finish or finish
                    _take(piece, assembly, emit)
        except TimeoutError:
            why = f"it was silent for {self._timeout:.0f} s"
            raise _TryFailed(Fault(ModelBusy(f"The model's provider failed: {why}."), why, again=True)) from None
        except Exception as error:  # whatever LiteLLM makes of a provider's answer must not end more than this try
            raise _TryFailed(fault(error, self._api_key)) from error
        if rest := assembly.end():
            emit(TextDelta(rest))
        if end := CUT_OFF.get(finish):
            emit(TextDelta(assembly.say(end)[0]))
        elif assembly.take_text_calls():
            log.info("%s wrote a call into its text", self._name)
            emit(TextDropped("" if self._writes_calls else "It wrote a tool call as text: taken as a call."))
            self._writes_calls = True
            if assembly.text:
                emit(TextDelta(assembly.text))
        calls = assembly.calls({step.call_id for step in history if isinstance(step, ToolResult)})
        reply = Reply(assembly.text, calls, thought=Thought(self._name, assembly.kept))
        return replace(reply, usage=self._usage(wire, counts, system, history, tools, reply))

    def _usage(
        self, wire: Wire, counts: Counts, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], reply: Reply
    ) -> Usage:
        """What the call took by the provider's count, which also teaches us; or our guess where it gives none."""
        self._around = text_tokens(system) + self._given(tools).tokens
        guessed = self._around + self._weigh(history)
        if not counts.read:
            written = [reply.text, *(call.name + call.arguments for call in reply.calls)]
            return Usage(guessed, sum(text_tokens(text) for text in written))
        self._calibration = self._calibration.learned(guessed, counts.read)
        return wire.usage(counts)

    def _given(self, tools: Sequence[ToolSpec]) -> _Tools:
        """The tools as they are sent, which are the same at every round of a turn."""
        if tuple(tools) != self._tools.specs:
            self._tools = _Tools(tuple(tools), tools_for(tools), sum(text_tokens(f"{tool}") for tool in tools))
        return self._tools


def _take(piece: Piece, assembly: Assembly, emit: Emit) -> None:
    """One piece of the reply; what a model thinks before it speaks is no part of it."""
    if piece.text:
        before = assembly.retracted
        shown, thought = assembly.say(piece.text)
        if thought:
            emit(Thinking(thought))
        if assembly.retracted != before:
            emit(TextDropped(""))
        if shown:
            emit(TextDelta(shown))
    if piece.thought:
        emit(Thinking(clean(piece.thought)))
    assembly.keep(piece.kept)
    for call in piece.calls:
        assembly.call(call.index, call.id, call.name, call.arguments)
