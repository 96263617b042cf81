"""The file `.env`: what of a line is its value."""

from __future__ import annotations

from pathlib import Path

import pytest

from roommate.errors import ConfigError
from roommate.settings import config


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("LLM_MODEL=openai/gpt # the small one", "openai/gpt"),
        ("LLM_MODEL=openai/gpt\t# the small one", "openai/gpt"),
        ("LLM_MODEL=a#b", "a#b"),
        ('LLM_MODEL="a # b"', "a # b"),
        ('LLM_MODEL="a # b" # not this', "a # b"),
        ("LLM_MODEL='a # \"b\"' # not this", 'a # "b"'),
        ("LLM_MODEL='it\\'s \\\\'", "it's \\"),
        ("export LLM_MODEL = spaced ", "spaced"),
        ("LLM_MODEL= # nothing but a comment", config.REHEARSAL),
        ("LLM_MODEL=", config.REHEARSAL),
        ("#LLM_MODEL=openai/gpt", config.REHEARSAL),
    ],
)
def test_a_comment_is_no_value(line: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM_MODEL", raising=False)
    file = tmp_path / ".env"
    file.write_text(f"{line}\nMAX_AGENT_TURNS=7 # rounds\n")
    settings = config.load(file)
    assert settings.llm_model == value
    assert settings.max_agent_turns == 7


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://git.example.org/", "https://git.example.org"),
        ("http://10.0.0.5:3000/forge", "http://10.0.0.5:3000/forge"),
        ("", "https://github.com"),
        ("git.example.org", None),
        ("https://user:password@git.example.org", None),
        ("https://git.example.org/?x", None),
        ("ssh://git.example.org", None),
    ],
)
def test_the_forge_has_a_web_address(given: str, kept: str | None) -> None:
    if kept is None:
        with pytest.raises(ConfigError, match="GITHUB_SERVER_URL: "):
            config.load(None, github_server_url=given)
    else:
        assert config.load(None, github_server_url=given).github_server_url == kept
