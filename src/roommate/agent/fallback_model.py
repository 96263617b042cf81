"""A model and those that answer in its place while its provider does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from roommate.agent.provider_model import ProviderModel
from roommate.domain import Emit, Note, Reply, Step, ToolSpec
from roommate.errors import ModelContext, ModelError

BACK_AFTER = 300.0
"""Seconds for which the first that answered is asked at once, before those that did not are tried again."""


class FallbackModel:
    """Asks the models in their order until one answers; implements `Model`.

    A history that is too long for one is the caller's to shorten, and no reason to ask another.
    """

    def __init__(self, models: Sequence[ProviderModel], *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds."""
        self._models = models
        self._clock = clock
        self._answering = 0
        self._until = 0.0

    @property
    def name(self) -> str:
        return self._models[0].name

    @property
    def context_tokens(self) -> int:
        return self._models[self._first].context_tokens

    @property
    def sees(self) -> bool:
        return self._models[self._first].sees

    @property
    def _first(self) -> int:
        return self._answering if self._clock() < self._until else 0

    async def load(self) -> None:
        """Look the first one up."""
        await self._models[0].load()

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        """See `Model`. Raises what the last of them raised."""
        first = self._first
        order = [*range(first, len(self._models)), *range(first)]
        for place, number in enumerate(order):
            try:
                reply: Reply = await self._models[number].reply(system, history, tools, emit)
            except ModelContext:
                raise
            except ModelError as error:
                if place + 1 == len(order):
                    raise
                instead = self._models[order[place + 1]].name
                emit(Note(f"{self._models[number].name}: {error} {instead} is asked instead."))
            else:
                if number != first:
                    self._answering, self._until = number, self._clock() + BACK_AFTER
                return reply
        raise AssertionError("the loop returns or raises")
