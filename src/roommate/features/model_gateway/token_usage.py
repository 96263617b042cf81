"""How many tokens a model's answer says it took, read from what passes by."""

from __future__ import annotations

import re

from roommate.domain import Usage

_KEPT = 1 << 17
_READ = (b"promptTokenCount", b"prompt_tokens", b"input_tokens")
_CACHED = (b"cache_read_input_tokens", b"cache_creation_input_tokens")
"""Anthropic counts these beside the input; others within it."""
_WITHIN = (b"cachedContentTokenCount", b"cached_tokens", b"prompt_cache_hit_tokens")
_WRITTEN = (b"candidatesTokenCount", b"completion_tokens", b"output_tokens")
_THOUGHT = (b"thoughtsTokenCount",)
"""Gemini counts these beside the output."""


class Counter:
    """Keeps the first and the last of a body, of whatever kind: each API says its counts there, the last is right.

    A quote within what a model says is escaped, so its text cannot be taken for a count.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()

    def feed(self, piece: bytes) -> None:
        if len(self._head) < _KEPT:
            self._head += piece[:_KEPT]
        self._tail += piece[-_KEPT:]
        if len(self._tail) > 2 * _KEPT:
            del self._tail[:-_KEPT]

    def usage(self) -> Usage:
        from_cache = max(self._last((_CACHED[0],)), self._last(_WITHIN))
        return Usage(
            self._last(_READ) + sum(self._last((name,)) for name in _CACHED),
            self._last(_WRITTEN) + self._last(_THOUGHT),
            cached_tokens=from_cache,
        )

    def _last(self, names: tuple[bytes, ...]) -> int:
        pattern = re.compile(rb'"(?:%s)"\s*:\s*(\d{1,12})\b' % b"|".join(names))
        for part in (self._tail, self._head):
            if found := pattern.findall(part):
                return int(found[-1])
        return 0
