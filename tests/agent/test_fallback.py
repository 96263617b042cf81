"""Where a provider does not answer another model does, people read it, and it is not asked again at each step."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from roommate.agent.fallback_model import BACK_AFTER, FallbackModel
from roommate.agent.provider_model import ProviderModel
from roommate.domain import Event, Note, Prompt, Reply, UserId
from roommate.errors import ModelAuth, ModelContext
from roommate.net import outbound_http
from tests.agent.test_provider_model import QUICK
from tests.scripted_model import ScriptedModel, Status, Text

HI = [Prompt("hi", UserId("@alice:x.org"))]


class Two:
    def __init__(self, first: ScriptedModel, second: ScriptedModel, session: outbound_http.LazySession) -> None:
        self.first, self.second = first, second
        models = [
            ProviderModel(f"openai/{name}", api_key="k", api_base=server.url, patience=QUICK, session=session)
            for name, server in (("first", first), ("second", second))
        ]
        self.now = 0.0
        self.model = FallbackModel(models, clock=lambda: self.now)
        self.events: list[Event] = []

    async def ask(self) -> Reply:
        return await self.model.reply("", HI, [], self.events.append)


@pytest.fixture
async def two() -> AsyncIterator[Two]:
    session = outbound_http.LazySession()
    async with ScriptedModel(lambda _: [Text("one")]) as first, ScriptedModel(lambda _: [Text("two")]) as second:
        yield Two(first, second, session)
        await session.close()


async def test_the_first_answers_while_it_can(two: Two) -> None:
    assert (await two.ask()).text == "one"
    assert two.model.name == "openai/first"
    assert not [event for event in two.events if isinstance(event, Note)]


@pytest.mark.parametrize("status", [Status(503, "overloaded"), Status(401, "no"), Status(402, "pay")])
async def test_the_second_answers_in_its_place_and_goes_on(two: Two, status: Status) -> None:
    two.first.rules = lambda _: [status]
    assert [(await two.ask()).text for _ in range(3)] == ["two"] * 3
    tries = 4 if status.code == 503 else 1
    assert len(two.first.asked) == tries
    [note] = [event for event in two.events if isinstance(event, Note)]
    assert note.text.startswith("openai/first: ")
    assert note.text.endswith("openai/second is asked instead.")


async def test_one_that_stays_away_is_tried_now_and_then_only(two: Two) -> None:
    two.first.rules = lambda _: [Status(401)]
    for tries in (1, 2, 3):
        assert [(await two.ask()).text for _ in range(3)] == ["two"] * 3
        assert len(two.first.asked) == tries
        two.now += BACK_AFTER + 1
    two.first.rules = lambda _: [Text("back")]
    assert (await two.ask()).text == "back"


async def test_the_first_is_asked_once_more_when_the_second_fails(two: Two) -> None:
    two.first.rules = lambda _: [Status(401)]
    await two.ask()
    two.first.rules, two.second.rules = (lambda _: [Text("back")]), (lambda _: [Status(401)])
    assert (await two.ask()).text == "back"


async def test_what_is_wrong_with_the_last_is_said(two: Two) -> None:
    two.first.rules = two.second.rules = lambda _: [Status(401)]
    with pytest.raises(ModelAuth):
        await two.ask()


async def test_a_history_that_is_too_long_is_shortened_first(two: Two) -> None:
    two.first.rules = lambda _: [Status(400, "maximum context length is 9 tokens")]
    with pytest.raises(ModelContext):
        await two.ask()
    assert not two.second.asked
