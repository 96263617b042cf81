"""The model providers that coding agents may use: where they are, how a key is shown, which paths are let through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_CHAT = (
    r"(?:POST (?:{at})?(?P<post>/(?:chat/completions|responses))"
    r"|GET (?:{at})?(?P<get>/models(?:/(?!\.)[\w.:-]+){{0,3}}))"
)
_GEMINI = (
    r"POST (?P<post>/v1(?:beta|alpha)?/models/(?P<model>(?!\.)[\w.-]+)"
    r":(?:generateContent|streamGenerateContent|countTokens))"
)
_CLAUDE = r"POST (?P<post>/v1/messages(?:/count_tokens)?)"


@dataclass(frozen=True, slots=True)
class Kind:
    """`paths` is a pattern of ``METHOD path``; `key` the header that has the key, with what stands before it."""

    base: str
    paths: str
    header: str = "Authorization"
    before: str = "Bearer "
    not_in_base: str = ""
    """An end of a base URL that the paths have themselves: many write it, many leave it out."""


KINDS: Mapping[str, Kind] = {
    "gemini": Kind("https://generativelanguage.googleapis.com", _GEMINI, "x-goog-api-key", "", "/v1beta"),
    "openai": Kind("https://api.openai.com/v1", _CHAT.format(at="/v1")),
    "anthropic": Kind("https://api.anthropic.com", _CLAUDE, "x-api-key", "", "/v1"),
    "openrouter": Kind("https://openrouter.ai/api/v1", _CHAT.format(at="(?:/api)?/v1")),
    "dashscope": Kind(
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", _CHAT.format(at="(?:/compatible-mode)?/v1")
    ),
}


@dataclass(frozen=True, slots=True)
class Provider:
    """One that there is a key for."""

    name: str
    base: str
    paths: re.Pattern[str]
    header: str
    credential: str = field(repr=False)
    """The header's value."""
    key: str = field(repr=False)


def providers(keys: Mapping[str, str], bases: Mapping[str, str]) -> dict[str, Provider]:
    """Those of `KINDS` that have a key. `bases` are base URLs in place of the usual ones; empty is none."""
    return {
        name: Provider(
            name,
            (bases.get(name) or kind.base).rstrip("/").removesuffix(kind.not_in_base),
            re.compile(kind.paths),
            kind.header,
            kind.before + keys[name],
            keys[name],
        )
        for name, kind in KINDS.items()
        if keys.get(name)
    }
