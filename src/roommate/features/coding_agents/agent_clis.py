"""The coding agents that Roommate knows: for each CLI its command, its environment and how its stream is read.

A CLI finds its provider at the room's model gateway, which adds the key: what stands for a key here is none. Its own
prompts are off, since nobody sits in front of it (hooks ask people), and so is its own sandbox: the container is one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from roommate.features.coding_agents import streams
from roommate.features.coding_agents.streams import Read

GATEWAY = "http://127.0.0.1:8080"
"""Where the model gateway is within a container."""
NO_KEY = "the-gateway-adds-it"

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


@dataclass(frozen=True, slots=True)
class AgentCli:
    """One CLI. `command` takes the prompt, a model ("" is its own choice) and a session to go on with ("" is none)."""

    name: str
    title: str
    program: str
    provider: str
    """Of models, as the gateway calls it."""
    read: Read
    command: Callable[[str, str, str], Sequence[str]]
    environment: Callable[[str, str], Mapping[str, str]]
    """Takes the gateway's URL of the provider, and the model."""
    model: str = ""
    """The one that is asked for where no other is set; "" leaves it to the CLI."""

    def environment_of(self, model: str, gateway: str = GATEWAY) -> dict[str, str]:
        return dict(self.environment(f"{gateway}/{self.provider}+{self.name}", model))


def is_session(text: str) -> bool:
    """Can this be the id of a session? It comes out of the container and goes into a command."""
    return _SESSION.fullmatch(text) is not None


def _gemini(prompt: str, model: str, session: str) -> Sequence[str]:
    resume = ("--resume", session) if session else ()
    chosen = ("--model", model) if model else ()
    return ("gemini", "--skip-trust", "--yolo", "--output-format", "stream-json", *chosen, *resume, "--prompt", prompt)


def _gemini_environment(url: str, model: str) -> Mapping[str, str]:
    return {"GEMINI_API_KEY": NO_KEY, "GOOGLE_GEMINI_BASE_URL": url}


def _qwen(prompt: str, model: str, session: str) -> Sequence[str]:
    resume = ("--resume", session) if session else ()
    return ("qwen", "--yolo", "--output-format", "stream-json", "--auth-type", "openai", *resume, prompt)


def _qwen_environment(url: str, model: str) -> Mapping[str, str]:
    return {
        "OPENAI_API_KEY": NO_KEY,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_MODEL": model,
        "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
    }


def _claude(prompt: str, model: str, session: str) -> Sequence[str]:
    resume = ("--resume", session) if session else ()
    chosen = ("--model", model) if model else ()
    return (
        "claude", "--dangerously-skip-permissions", "--output-format", "stream-json", "--verbose",
        *chosen, *resume, "--print", prompt,
    )  # fmt: skip


def _claude_environment(url: str, model: str) -> Mapping[str, str]:
    return {
        "ANTHROPIC_API_KEY": NO_KEY,
        "ANTHROPIC_BASE_URL": url,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }


def _codex(prompt: str, model: str, session: str) -> Sequence[str]:
    resume = ("resume",) if session else ()
    chosen = ("--model", model) if model else ()
    return (
        "codex", "exec", *resume, "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
        "--config", "model_provider=room", "--config", "model_providers.room.name=room",
        "--config", f"model_providers.room.base_url={_toml(GATEWAY + '/openai+codex/v1')}",
        "--config", "model_providers.room.env_key=OPENAI_API_KEY",
        "--config", "model_providers.room.wire_api=responses",
        "--config", "check_for_update_on_startup=false", "--config", "analytics.enabled=false",
        "--config", "features.plugins=false", "--config", "features.apps=false",  # it would look for more of them
        *chosen, *([session] if session else []), prompt,
    )  # fmt: skip


def _codex_environment(url: str, model: str) -> Mapping[str, str]:
    return {"OPENAI_API_KEY": NO_KEY}


def _opencode(prompt: str, model: str, session: str) -> Sequence[str]:
    resume = ("--session", session) if session else ()
    return ("opencode", "run", "--format", "json", *resume, prompt)


def _opencode_environment(url: str, model: str) -> Mapping[str, str]:
    room = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "room",
        "options": {"baseURL": f"{url}/v1", "apiKey": NO_KEY},
        "models": {model: {"name": model, "tool_call": True}},
    }
    every = dict.fromkeys(("edit", "bash", "webfetch", "external_directory", "doom_loop"), "allow")
    settings = {
        "autoupdate": False,
        "share": "disabled",
        "model": f"room/{model}",
        "small_model": f"room/{model}",
        "enabled_providers": ["room"],
        "permission": every,
        "provider": {"room": room},
    }
    return {
        "OPENCODE_CONFIG_CONTENT": json.dumps(settings),
        "OPENCODE_CONFIG_DIR": "/etc/opencode",  # with the plugin that calls the hooks
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        # With a plugin it would wait a minute and more for a package from npm that ours does without. The plugin takes
        # this out again for what OpenCode runs.
        "npm_config_offline": "true",
    }


def _toml(text: str) -> str:
    return json.dumps(text)


AGENT_CLIS: Mapping[str, AgentCli] = {
    cli.name: cli
    for cli in (
        AgentCli("gemini", "Gemini CLI", "gemini", "gemini", streams.gemini, _gemini, _gemini_environment),
        AgentCli(
            "qwen", "Qwen Code", "qwen", "dashscope", streams.claude, _qwen, _qwen_environment, "qwen3-coder-plus"
        ),
        AgentCli("claude", "Claude Code", "claude", "anthropic", streams.claude, _claude, _claude_environment),
        AgentCli("codex", "Codex", "codex", "openai", streams.codex, _codex, _codex_environment),
        AgentCli(
            "opencode", "OpenCode", "opencode", "openrouter", streams.opencode, _opencode, _opencode_environment,
            "qwen/qwen3-coder",
        ),
    )
}  # fmt: skip
