"""What the daemon counts on in a model: replies as they stream, tool calls, what they took."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from roommate.agent.provider_model import ProviderModel
from roommate.domain import Answer, Event, Prompt, Step, TextDelta, ToolCall, ToolResult, ToolSpec, Usage, UserId
from roommate.domain.model import Model
from roommate.errors import ModelError
from roommate.net import outbound_http
from tests.fakes.model import NAME, MemoryModel
from tests.scripted_model import ScriptedModel

ALICE = UserId("@alice:example.org")
TOOLS = [ToolSpec("look", "Looks.", {"type": "object", "properties": {"at": {"type": "string"}}})]


@pytest.fixture
def memory() -> MemoryModel:
    return MemoryModel()


@pytest.fixture
async def litellm() -> AsyncIterator[ProviderModel]:
    async with ScriptedModel() as scripted:
        yield ProviderModel(NAME, api_key="scripted", api_base=scripted.url)


@pytest.fixture
async def own_wire() -> AsyncIterator[ProviderModel]:
    session = outbound_http.LazySession()
    async with ScriptedModel() as scripted:
        yield ProviderModel(NAME, api_key="scripted", api_base=scripted.url, session=session)
        await session.close()


@pytest.fixture(params=["memory", "own_wire", pytest.param("litellm", marks=pytest.mark.slow)])
def model(request: pytest.FixtureRequest) -> Model:
    """The scripted model in this process, and over HTTP by our own wire and by way of LiteLLM."""
    found: Model = request.getfixturevalue(request.param)
    return found


async def test_what_is_said_comes_in_pieces_and_whole(model: Model) -> None:
    events: list[Event] = []
    reply = await model.reply("", [Prompt("SAY hello there\nSAY again\nUSAGE 1200 34", ALICE)], TOOLS, events.append)
    assert (reply.text, reply.calls) == ("hello there\nagain", ())
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (1200, 34)
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == reply.text
    assert len(pieces) > 1
    assert (await model.reply("", [Prompt("no script", ALICE)], TOOLS, events.append)).text == "echo: no script"


async def test_tools_are_called_and_their_results_read(model: Model) -> None:
    script = 'SAY so\nTOOL look {"at": "it"}\nTOOL look not json\n---\nECHO'
    history: list[Step] = [Prompt(script, ALICE)]
    reply = await model.reply("Be brief.", history, TOOLS, lambda _: None)
    assert reply.text == "so"
    assert [(call.name, call.arguments) for call in reply.calls] == [("look", '{"at": "it"}'), ("look", "not json")]
    assert len({call.id for call in reply.calls}) == 2
    results = [ToolResult(call.id, f"seen {number}") for number, call in enumerate(reply.calls)]
    history += [Answer(reply.text, reply.calls), *results]
    assert (await model.reply("Be brief.", history, TOOLS, lambda _: None)).text == "seen 0\nseen 1"


async def test_what_no_provider_takes_is_refused(model: Model) -> None:
    unanswered: list[Step] = [
        Prompt("SAY x", ALICE),
        Answer("", (ToolCall("a", "look", "{}"),)),
        Prompt("SAY y", ALICE),
    ]
    for history in (unanswered, [Prompt("STATUS 400", ALICE)]):
        with pytest.raises(ModelError):
            await model.reply("", history, TOOLS, lambda _: None)


async def test_it_can_be_left(model: Model) -> None:
    asked = asyncio.create_task(model.reply("", [Prompt("SAY begun\nSTALL", ALICE)], TOOLS, lambda _: None))
    await asyncio.sleep(0.1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (await model.reply("", [Prompt("SAY well", ALICE)], TOOLS, lambda _: None)).usage != Usage()
