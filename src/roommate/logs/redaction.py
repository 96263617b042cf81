"""What is secret is taken out of a text: values that are known to be, and what has the shape of a key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import quote

REMOVED = "[removed]"
SHORTEST = 6
"""Characters of a known secret: shorter ones would take ordinary words out of every line."""

_SECRETS = r"(?i:passw|passphrase|pwd|secret|token|api_?-?key|access_?-?key|credential|authorization|signature)"
_QUOTED_OR_WORD = r"(?:\"[^\"\n]*\"?|'[^'\n]*'?|[^\s&,;\"')\]}]+)"

_SHAPES = re.compile(
    "|".join(
        (
            # Keys that say whose they are: OpenAI and its kin, GitHub, GitLab, Google, Matrix, Slack, AWS.
            r"\b(?:sk-|gh[oprsu]_|github_pat_|glpat-|AIza|sy[rt]_|xox[a-z]-|AKIA)[\w-]{10,}",
            r"\bma[rt]_[A-Za-z0-9]{20,}_\w{6}\b",
            r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*(?:-----END [A-Z ]{0,30}-----)?",
            # Headers: the whole of a cookie; of others what stands behind their name or scheme.
            r"(?P<cookie>\b(?i:set-)?(?i:cookie)[\"']?\s{0,9}[:=]\s{0,9})[^\n]+",
            r"(?P<scheme>\b(?i:bearer|basic)[ \t]+)(?=[a-z]*[\dA-Z_.~+/=-])[\w.~+/=-]{6,}",
            r"(?P<header>\b(?i:x-[\w-]{0,30}(?:key|token)):[ \t]*)[^\s\"']+",
            r"(?P<auth>\b(?i:authorization)[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:[\w-]{1,20}[ \t]+)?)[^\s\"',]+",
            # https://user:password@host, and https://token@host; an @ in the password is one of it
            r"(?P<url>://)[^\s/\"']+(?=@)",
            # password=…, "password": "…"
            rf"(?P<name>{_SECRETS}[\w-]{{0,20}}(?:=|%3[Dd]|[\"']\s{{0,9}}[:=]\s{{0,9}})){_QUOTED_OR_WORD}",
        )
    )
)

_DOTTED = re.compile(r"(?<![\w.-])[\w.-]{13,}")
_WEB_TOKEN = re.compile(r"\beyJ")
_LEAST_HEAD = len("eyJ") + 8
_SOME_KEY = "sk-0123456789"
"""Goes wherever a key goes: what it belongs to, such as a password's name, is seen as before."""


class Redaction:
    """Calling it gives a text without its secrets. `secrets` are known values; `learn` adds more."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._known: set[str] = set()
        self._values: re.Pattern[str] | None = None
        self.learn(*secrets)

    def learn(self, *secrets: str) -> None:
        for secret in secrets:
            if len(secret) >= SHORTEST:
                # As it is, and as URLs, JSON and Python's repr write it.
                self._known |= {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], repr(secret)[1:-1]}
        if self._known:
            longest_first = sorted(self._known, key=len, reverse=True)
            self._values = re.compile("|".join(map(re.escape, longest_first)))

    def __call__(self, text: str) -> str:
        if self._values is not None:
            text = self._values.sub(REMOVED, text)
        if "eyJ" in text:
            text = _DOTTED.sub(_without_web_token, text)
        return _SHAPES.sub(_removed, text)


def _without_web_token(words: re.Match[str]) -> str:
    """A JSON web token (RFC 7519), of which only `eyJ` and the dots are known, becomes a key of a shape that is known.
    As one pattern, each `eyJ` would look for its dot to the end of the text."""
    text, start = words[0], 0
    while (dot := text.find(".", start)) >= 0:
        head = _WEB_TOKEN.search(text, start, dot)
        if head and dot - head.start() >= _LEAST_HEAD and dot + 1 < len(text):
            return text[: head.start()] + _SOME_KEY
        start = dot + 1
    return text


def _removed(match: re.Match[str]) -> str:
    """What only names the secret stays: it tells what was there."""
    return (match[match.lastgroup] if match.lastgroup else "") + REMOVED
