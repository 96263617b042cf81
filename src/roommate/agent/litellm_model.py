"""Every real model, through LiteLLM: one streamed reply, begun again where that may help."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from roommate.agent.litellm_client import Counts, Wire, connect
from roommate.agent.model_name_checks import UNKNOWN_PROVIDER
from roommate.agent.openai_messages import messages, tools_for
from roommate.agent.provider_errors import Fault, fault
from roommate.agent.stream_assembly import CUT_OFF, Assembly
from roommate.agent.window import Calibration, text_tokens, tokens
from roommate.domain import NO_USAGE, Emit, Note, Reply, Step, TextDelta, TextDropped, ToolResult, ToolSpec, Usage
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


class _TryFailed(Exception):
    def __init__(self, found: Fault) -> None:
        super().__init__(found.why)
        self.fault = found


class LiteLLMModel:
    """A model by its LiteLLM name, such as ``gemini/gemini-2.5-flash``; implements `Model`.

    LiteLLM is imported by `load`, in a thread, never by importing this module; a reply that comes first waits for it.
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
    ) -> None:
        """`context_tokens` 0 and `sees` None ask LiteLLM; `timeout` is the longest silence in seconds, before a reply
        and within it."""
        self._name = name
        self._api_key = api_key
        self._api_base = api_base
        self._context = context_tokens
        self._sees = sees
        self._timeout = timeout
        self._patience = patience
        self._wire: Wire | None = None
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
        """Import LiteLLM (3 s of CPU, in a thread) and look the model up. Nothing is left to do the second time."""
        if self._wire is None:
            self._wire = await connect(self._name, self._api_key, self._api_base)
            self._context = self._context or self._wire.context_tokens
        return self._wire

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
            raise ModelBusy(f"The model's provider did not answer in {failed} tries ({found.why}): try again later.")
        log.info("%s: try %d failed (%s), the next in %.1f s", self._name, failed, found.why, seconds)
        if seconds > self._patience.silent_wait:
            emit(Note(f"The model's provider did not answer ({found.why}); asking again in {seconds:.0f} s."))
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
            asked = wire.chunks(messages(system, history), tools_for(tools), self._timeout, counts)
            async with contextlib.aclosing(asked) as chunks:
                async for chunk in chunks:
                    for choice in chunk.choices[:1]:
                        finish = choice.finish_reason or finish
                        _take(choice.delta, assembly, emit)
        except TimeoutError:
            why = f"it was silent for {self._timeout:.0f} s"
            raise _TryFailed(Fault(ModelBusy(f"The model's provider failed: {why}."), why, again=True)) from None
        except Exception as error:  # whatever LiteLLM makes of a provider's answer must not end more than this try
            raise _TryFailed(fault(error, self._api_key)) from error
        if end := CUT_OFF.get(finish):
            emit(TextDelta(assembly.say(end)))
        calls = assembly.calls({step.call_id for step in history if isinstance(step, ToolResult)})
        reply = Reply(assembly.text, calls)
        return replace(reply, usage=self._usage(wire, counts, system, history, tools, reply))

    def _usage(
        self, wire: Wire, counts: Counts, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], reply: Reply
    ) -> Usage:
        """What the call took by the provider's count, which also teaches us; or our guess where it gives none."""
        self._around = text_tokens(system) + sum(text_tokens(f"{tool}") for tool in tools)
        guessed = self._around + tokens(history)
        if not counts.read:
            written = [reply.text, *(call.name + call.arguments for call in reply.calls)]
            return Usage(guessed, sum(text_tokens(text) for text in written))
        self._calibration = self._calibration.learned(guessed, counts.read)
        return wire.usage(counts)


def _take(delta: Any, assembly: Assembly, emit: Emit) -> None:
    """One chunk's part of the reply; what a model thinks before it speaks (``reasoning_content``) is left out."""
    if delta.content and (shown := assembly.say(delta.content)):
        emit(TextDelta(shown))
    for call in delta.tool_calls or ():
        function = call.function
        assembly.call(call.index, call.id or "", function.name or "", function.arguments or "")
