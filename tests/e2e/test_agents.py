"""Coding agents in a room: the real CLIs in a real container, driven by stand-ins of their providers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator

import pytest

from roommate.features.coding_agents.agent_clis import AGENT_CLIS
from tests.conftest import MakeDaemon, MakePerson
from tests.fake_providers import FakeProviders
from tests.harness import Daemon, notice, tool
from tests.person import Person, Shown
from tests.sandbox_image import podman
from tests.scripted_model import ScriptedModel

KEY = "a-key-that-stays-on-the-host"
READ_BY = {"GEMINI.md": "gemini", "QWEN.md": "qwen", "CLAUDE.md": "claude", "AGENTS.md": "gemini qwen codex opencode"}
"""Files of a workspace that say how to work in it."""


@pytest.fixture
async def providers() -> AsyncIterator[FakeProviders]:
    async with FakeProviders(delay=0.5) as providers:
        yield providers


def keys(providers: FakeProviders) -> dict[str, str]:
    """Every provider is the stand-in."""
    names = [plan.provider for plan in AGENT_CLIS.values()]
    bases = {f"{name.upper()}_API_BASE": f"{providers.url}/{name}" for name in names}
    # Codex gives the models that it knows a tool that runs JavaScript; others get plain tools.
    return {f"{name.upper()}_API_KEY": KEY for name in names} | bases | {"AGENT_MODELS": "codex=fake"}


def has_step(said: list[Shown]) -> bool:
    """Has an agent's step with hello.txt been seen?"""
    return any(re.search(r"^- [▶✔] .*hello\.txt", look, re.MULTILINE) for one in said for look in one.looks)


@pytest.mark.parametrize("agent", AGENT_CLIS)
async def test_an_agent_writes_a_file_runs_a_command_and_waits_for_people_before_a_risky_one(
    agent: str,
    daemon: MakeDaemon,
    person: MakePerson,
    model: ScriptedModel,
    agents_image: str,
    providers: FakeProviders,
) -> None:
    bot = await daemon(limited=False, start=True, model=model, SANDBOX_IMAGE=agents_image, **keys(providers))
    alice = await person("alice")
    room = await bot.room_with(alice)
    rules = [tool("write_file", path=name, content=f"The rule of {name}.") for name in READ_BY]
    written = tool("implement", task="DO write hello.txt some text", agent=agent)
    providers.go_on.clear()
    asked = await alice.say(room, "\n".join(rules) + f"\n---\n{written}\n---\nECHO")
    await alice.wait(lambda: has_step(bot.said(alice, room)), what="the agent's step, while it works")
    providers.go_on.set()
    answer = await alice.answer_to(asked)
    assert "Done: write hello.txt. Prompts so far: 1." in answer.body
    shown = "\n".join(answer.looks)
    assert "I will do it." in shown, "what it said"
    assert f"<strong>{agent}</strong> · 1 call" in answer.html, "what its hooks reported"
    assert "do it. will do it." not in answer.html, "its words once"

    asked = "".join(json.dumps(one.body) for one in providers.asked)
    assert {name for name, who in READ_BY.items() if agent in who} <= set(re.findall(r"The rule of (\w+\.md)", asked))

    looked = tool("run_command", command="cat hello.txt .roommate/agents/*.md")
    files = await alice.ask(room, f"{looked}\n---\nECHO")
    assert files.body.startswith("some text\n")
    assert "I will do it." in files.body, "the transcript"

    told = await alice.ask(room, f"!ask {agent} DO shell echo hi-from-shell")
    assert "Done: shell echo hi-from-shell. Prompts so far: 2." in told.body, "its session goes on"
    assert "hi-from-shell" in "\n".join(told.looks)
    assert not cards(bot, alice, room), "it wants to go nowhere else"
    assert {key for asked in providers.asked for key in asked.keys} <= {KEY, f"Bearer {KEY}"}
    assert f"{alice.user_id} said no" in await decided("❌", agent, bot, alice, room, providers)
    assert "not a git repository" in await decided("✅", agent, bot, alice, room, providers), "it ran"
    if agent != "codex":  # which writes by its shell
        planned = await alice.ask(room, f"{tool('plan', task='DO write never.txt text', agent=agent)}\n---\nECHO")
        assert "Done: write never.txt." in planned.body
        assert "look only" in json.dumps(providers.asked[-1].body)


async def decided(choice: str, agent: str, bot: Daemon, alice: Person, room: str, providers: FakeProviders) -> str:
    """Have an agent push, and make this choice on the card. Gives what its model is told from then on."""
    seen = len(cards(bot, alice, room))
    asked = await alice.say(room, f"!ask {agent} DO shell git push origin main")
    await alice.wait(lambda: len(cards(bot, alice, room)) > seen, what="a card")
    card = cards(bot, alice, room)[-1]
    assert agent in card.body
    assert "git push origin main" in card.body
    told = len(providers.asked)
    await asyncio.sleep(0.5)
    assert len(providers.asked) == told, "it waits"
    await alice.react(room, card.event_id, choice)
    answer = await alice.answer_to(asked)
    assert "Done: shell git push origin main." in answer.body
    return "\n".join(json.dumps(asked.body) for asked in providers.asked[told:])


def cards(bot: Daemon, alice: Person, room: str) -> list[Shown]:
    return [message for message in bot.said(alice, room) if "io.roommate.card" in message.content]


async def test_where_there_are_none_people_and_the_model_are_told(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel, providers: FakeProviders
) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(limited=False, start=True, model=model, OPERATORS=alice.user_id, **keys(providers))
    room = await bot.room_with(alice, bob)
    told = await alice.ask(room, "!ask gemini what is this?")
    assert "gemini is not installed in the room's image. An operator runs `roommate image build" in told.body
    assert "own tools" not in told.body + told.html, "that is for a model"
    await alice.say(room, "!ask copilot what is this?")
    await notice(bot, alice, room, "talks to a coding agent")
    await alice.say(room, "!agents")
    shown = await notice(bot, alice, room, "No coding agents here yet. An operator runs `roommate image build")
    assert shown.body.endswith("then there are Gemini CLI, Qwen Code, Claude Code, Codex, OpenCode.")
    await bob.say(room, "!agents plan codex")
    await notice(bot, alice, room, "Only an operator")
    await alice.say(room, "!agents plan codex claude")
    await notice(bot, alice, room, "Nothing was changed: codex is not installed in the room's image; claude is not")
    await alice.say(room, "!agents plan copilot")
    await notice(bot, alice, room, "Say `plan` or `implement` and some of")
    asked = await alice.ask(room, f"{bot.user_id} {tool('plan', task='a plan')}\n---\nECHO")
    assert "gemini is not installed" in asked.body
    assert "own tools" in asked.body, "the model is told more than people"
    assert "own tools" not in asked.html.partition("<details>")[2]


async def test_operators_tell_the_model_more(daemon: MakeDaemon, person: MakePerson, model: ScriptedModel) -> None:
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(limited=False, start=True, model=model, OPERATORS=alice.user_id)
    room = await bot.room_with(alice, bob)
    await bob.say(room, "!prompt Speak Greek.")
    await notice(bot, alice, room, "Only an operator")
    await alice.say(room, "!prompt Speak Latin.")
    await notice(bot, alice, room, "From the next turn on")
    await alice.ask(room, f"{bot.user_id} {tool('write_file', path='AGENTS.md', content='Use tabs.')}")
    await alice.ask(room, f"{bot.user_id} hello")
    system = model.asked[-1].messages[0]
    assert system["role"] == "system"
    assert "Speak Latin." in system["content"]
    assert "<AGENTS.md>\nUse tabs.\n</AGENTS.md>" in system["content"]
    assert "coding agents" not in system["content"], "there is no key"
    await bot.kill9()
    podman("stop", "--time", "0", *bot.containers())
    await bot.start()
    await alice.ask(room, f"{bot.user_id} hello once more")
    assert "Use tabs." in model.asked[-1].messages[0]["content"], "its container is started for it"
    await alice.say(room, "!prompt none")
    await notice(bot, alice, room, "nothing more")
    await alice.ask(room, f"{bot.user_id} hello again")
    assert "Speak Latin." not in model.asked[-1].messages[0]["content"]
