"""What turns run with: models, tools, and what a room tells its model."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from roommate.agent.fallback_model import FallbackModel
from roommate.agent.provider_model import ProviderModel
from roommate.composition.from_settings import MakeModel, choice_of
from roommate.composition.kernel import Kernel
from roommate.domain import IN_TURN, Clock, Model, RoomId, Tools
from roommate.features.coding_agents.delegated_tasks import RoomAgents
from roommate.features.room_settings import values
from roommate.monitoring.counting_ports import CountedModel, CountedTools
from roommate.net import outbound_http
from roommate.rooms.file_delivery import TurnShare
from roommate.rooms.room_prompt import RoomPrompts
from roommate.rooms.running_turn import TurnNeeds
from roommate.rooms.token_budget import TokenBudget
from roommate.rooms.turns_awaiting_people import TellingTools
from roommate.settings.config import Settings
from roommate.store import Agents, Rooms, RoomSettings, TokensSpent, Turn, Turns
from roommate.tools import RoomTools, TurnPorts
from roommate.tools.room_tools import SOURCES
from roommate.tools.tool import Source

log = logging.getLogger(__name__)


class Models:
    """By name, each made once, as the settings want them."""

    def __init__(self, settings: Callable[[], Settings], make: MakeModel) -> None:
        self._settings, self._make = settings, make
        self._session = outbound_http.LazySession(at_once=0)
        self._known: dict[str, Model] = {}

    def __call__(self, name: str) -> Model:
        if name not in self._known:
            self._known[name] = self._make(self._settings(), name, self._session)
        return self._known[name]

    def forget(self) -> None:
        """The settings have changed."""
        self._known.clear()

    async def close(self) -> None:
        await self._session.close()

    async def load(self) -> None:
        """Load what rooms' first turns would wait for."""
        model = self(self._settings().llm_model)
        if isinstance(model, ProviderModel | FallbackModel):
            await model.load()
            log.info("the model is looked up")


def agents_of(
    kernel: Kernel, room_id: RoomId, conversation: int = 0, turn: int = 0, clock: Clock | None = None
) -> RoomAgents:
    """The coding agents of a room, as its turns use them."""
    return RoomAgents(room_id, choice_of(kernel.settings()), Agents(kernel.database), conversation, turn, clock)


def budget_of(kernel: Kernel) -> TokenBudget:
    """What the models of rooms may take."""
    database = kernel.database
    return TokenBudget(RoomSettings(database), TokensSpent(database), kernel.outbox, kernel.sender, kernel.settings)


def turn_needs(kernel: Kernel, more: Callable[[Turn], Sequence[Source]], models: Models) -> TurnNeeds:
    """`more` are the tools that features give to a turn."""
    locks: dict[RoomId, defaultdict[str, asyncio.Lock]] = defaultdict(lambda: defaultdict(asyncio.Lock))

    rows = RoomSettings(kernel.database)

    async def tools(turn: Turn, up: Callable[[], Awaitable[None]]) -> Tools:
        settings, waiting = kernel.settings(), kernel.waiting.of(turn.id)
        timeout = values.timeout(await rows.of(turn.room_id), settings)
        ports = TurnPorts(
            command_timeout=timeout,
            longest_timeout=max(timeout, settings.coding_timeout_seconds),
            share=TurnShare(turn, kernel.outbox, kernel.sender, kernel.homeserver.upload_limit, up),
            jobs=kernel.jobs.of(turn),
            sees=lambda: models(turn.model).sees,
            env={IN_TURN: f"{turn.id}"},
            locks=locks[turn.room_id],
            clock=waiting,
        )
        hand, sources = partial(kernel.sandboxes.hand, turn.room_id), (*SOURCES, *more(turn))
        tools = CountedTools(RoomTools(hand, ports, sources, looks=turn.plans), kernel.counts)
        return TellingTools(tools, waiting) if waiting else tools

    prompts = RoomPrompts(Rooms(kernel.database), kernel.sandboxes, lambda room_id: agents_of(kernel, room_id).names)
    return TurnNeeds(
        turns=Turns(kernel.database),
        progress=kernel.sender,
        counts=kernel.counts,
        model=lambda name: CountedModel(models(name), kernel.counts),
        tools=tools,
        surroundings=prompts.surroundings,
        hand=kernel.sandboxes.hand,
        settings=kernel.settings,
        name=kernel.names.of,
        questions=kernel.questions,
        waiting=kernel.waiting,
        budget=budget_of(kernel),
        own=rows.of,
    )
