"""What LiteLLM's own lists say of models and providers, read from its files: importing it takes seconds and 130 MB."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from roommate.agent.wire import Counts

_PRICES = "model_prices_and_context_window_backup.json"
_PROVIDERS = "provider_endpoints_support_backup.json"
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)k_tokens")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one model; everything is empty for one that is on no list."""

    provider: str = ""
    mode: str = ""
    """``chat``, ``responses`` (OpenAI's newer API alone), or what it is else."""
    context_tokens: int = 0
    """What it reads besides what it may write; 0 where that is not known."""
    sees: bool = False
    prices: Mapping[str, float] = field(default_factory=dict)
    """US dollars, by LiteLLM's names."""

    def cost(self, counts: Counts) -> float | None:
        """What a reply costs in US dollars: tokens that the provider had in its cache for less, and dearer ones above
        a length where the list says so. None where it has no price."""
        above = [int(match[1]) for name in self.prices if (match := _ABOVE.fullmatch(name))]
        dearer = max((size for size in above if counts.read > size * 1000), default=0)

        def price(name: str) -> float:
            plain = self.prices.get(name, 0.0)
            return self.prices.get(f"{name}_above_{dearer}k_tokens", plain) if dearer else plain

        cached = min(counts.cached, counts.read)
        read = price("input_cost_per_token")
        cheaper = price("cache_read_input_token_cost") or read
        return (
            (counts.read - cached) * read + cached * cheaper + counts.written * price("output_cost_per_token")
        ) or None


UNKNOWN = Facts()


def facts(name: str) -> Facts:
    """Of the model of this name, with or without its provider before it. Blocks, for some milliseconds."""
    text = _text(_PRICES)
    for known in (name, name.partition("/")[2]):
        # One entry of 4000: the whole file as objects would be 20 MB for a moment.
        begins = f"\n    {json.dumps(known)}: "
        if known and (place := text.find(begins)) >= 0:
            return _facts(json.JSONDecoder().raw_decode(text, place + len(begins))[0])
    return UNKNOWN


def _facts(entry: Mapping[str, Any]) -> Facts:
    read = entry.get("max_input_tokens") or entry.get("max_tokens") or 0
    written = entry.get("max_output_tokens") or 4096
    return Facts(
        provider=entry.get("litellm_provider", ""),
        mode=entry.get("mode", ""),
        context_tokens=read - min(written, read // 8) if isinstance(read, int) and isinstance(written, int) else 0,
        sees=bool(entry.get("supports_vision")),
        prices={name: float(one) for name, one in entry.items() if "cost" in name and isinstance(one, int | float)},
    )


def listed(provider: str) -> Sequence[str]:
    """The models of a provider that hold a conversation, as LLM_MODEL takes them. Blocks."""
    entries = json.loads(_text(_PRICES))
    names = [
        name
        for name, entry in entries.items()
        if entry.get("litellm_provider") == provider and entry.get("mode") in ("chat", "responses")
    ]
    return sorted({name if name.startswith(f"{provider}/") else f"{provider}/{name}" for name in names})


@functools.cache
def providers() -> frozenset[str]:
    """LiteLLM's words for the providers that it knows."""
    return frozenset(json.loads(_text(_PROVIDERS))["providers"])


def _text(name: str) -> str:
    found = importlib.util.find_spec("litellm")  # does not import it
    assert found is not None
    assert found.submodule_search_locations is not None
    return (Path(found.submodule_search_locations[0]) / name).read_text()
