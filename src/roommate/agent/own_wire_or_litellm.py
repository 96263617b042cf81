"""Which way a model is asked: OpenAI's chat completions by our own wire, every other protocol through LiteLLM."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roommate.agent import model_facts
from roommate.agent.model_facts import Facts

OWN_BASES = {
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "deepseek": "https://api.deepseek.com/v1",
    "groq": "https://api.groq.com/openai/v1",
    "moonshot": "https://api.moonshot.ai/v1",
    "xai": "https://api.x.ai/v1",
}
"""Providers whose own protocol this is, and where they are."""

LOCAL = frozenset({"custom_openai", "hosted_vllm", "litellm_proxy", "lm_studio", "llamafile", "openai_like", "vllm"})
"""LiteLLM's words for what speaks it at an address of one's own."""

NEED_A_KEY = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "dashscope": ("DASHSCOPE_API_KEY",),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY", "OR_API_KEY"),
    "xai": ("XAI_API_KEY",),
}
"""Providers that take nothing without a key, and where LiteLLM looks for one in the environment. Others have logins of
their own, or run at home."""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a model of our own wire is. `model` is the endpoint's name for it."""

    provider: str
    model: str
    base: str
    key: str
    facts: Facts


def own_route(name: str, key: str, base: str, params: Mapping[str, Any]) -> Route | None:
    """The way of the model of this LiteLLM name; None where LiteLLM is to ask it. Blocks, for some milliseconds."""
    provider, _, model = name.partition("/")
    facts = model_facts.facts(name)
    if not model or provider not in model_facts.providers():
        if facts.provider in OWN_BASES and not base:  # such as gpt-4o-mini
            provider, model = facts.provider, name
        elif base:  # nearly everything that people run themselves speaks like OpenAI
            provider, model = "openai", name
        else:
            return None
    if facts.mode not in ("", "chat"):
        return None
    if provider in OWN_BASES and not base:
        if provider == "openai" and "reasoning_effort" in params:  # there it takes no tools beside it
            return None
        base = _environment(f"{provider.upper()}_API_BASE", f"{provider.upper()}_BASE_URL") or OWN_BASES[provider]
    elif provider not in OWN_BASES and provider not in LOCAL:
        return None
    if not base:
        return None
    return Route(provider, model, base, key or _environment(*NEED_A_KEY.get(provider, ())), facts)


def listing_route(name: str, key: str, base: str) -> tuple[str, Route | None]:
    """(what stands before the names of the models beside this one, where they are listed); None where nobody is asked
    in OpenAI's words. Blocks as `own_route` does."""
    provider = name.partition("/")[0]
    if provider in ("ollama", "ollama_chat"):  # it lists them so, too
        root = (base or _environment("OLLAMA_API_BASE") or "http://localhost:11434").rstrip("/")
        return "ollama_chat", Route(provider, "", f"{root}/v1", key, model_facts.UNKNOWN)
    route = own_route(f"{provider}/any" if provider in model_facts.providers() else name, key, base, {})
    return route.provider if route else model_facts.facts(name).provider or provider, route


def _environment(*names: str) -> str:
    return next((value for name in names if (value := os.environ.get(name))), "")
