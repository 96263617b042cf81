"""The agents that the settings know are those that there are plans for."""

from pathlib import Path

import pytest

from roommate.composition.from_settings import choice_of
from roommate.errors import ConfigError
from roommate.features.coding_agents.agent_clis import AGENT_CLIS
from roommate.settings.config import AGENTS, load


def test_settings_and_plans_know_the_same_agents() -> None:
    assert tuple(AGENT_CLIS) == AGENTS


def test_what_is_set_is_what_is_chosen(tmp_path: Path) -> None:
    settings = load(
        None,
        plan_agent="claude, gemini",
        agent_models="gemini=gemini-2.5-pro",
        anthropic_api_key="k",
        state_dir=tmp_path,
    )
    choice = choice_of(settings)
    assert choice.preferred == {"plan": ("claude", "gemini"), "implement": ("qwen",)}
    assert choice.models == {"gemini": "gemini-2.5-pro"}
    assert choice.keyed == ["anthropic"]


def test_an_agent_that_there_is_not_is_named() -> None:
    with pytest.raises(ConfigError, match="copilot"):
        load(None, implement_agent="qwen,copilot")
