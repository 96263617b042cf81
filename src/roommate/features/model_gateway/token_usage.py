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
_TOKEN_BYTES = 4
"""Of English text and of code, about."""
_PIECE = b"\ndata:"
"""Begins a piece of a stream, which is a token or several; JSON has no line that begins so."""


class Counter:
    """Keeps the first and the last of a body, of whatever kind: each API says its counts there, the last is right.

    A quote within what a model says is escaped, so its text cannot be taken for a count.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray(b"\n")  # a body begins with a line
        self._bytes = self._pieces = 0

    def feed(self, piece: bytes) -> None:
        self._bytes += len(piece)
        self._pieces += (self._tail[-len(_PIECE) + 1 :] + piece).count(_PIECE)
        if len(self._head) < _KEPT:
            self._head += piece[:_KEPT]
        self._tail += piece[-_KEPT:]
        if len(self._tail) > 2 * _KEPT:
            del self._tail[:-_KEPT]

    def usage(self, asked: int, *, whole: bool) -> Usage:
        """Of a request of `asked` bytes. An answer that does not say, or that was not heard to its end, counts by its
        size, so that nobody asks for nothing."""
        from_cache = max(self._last((_CACHED[0],)), self._last(_WITHIN))
        read = self._last(_READ) + sum(self._last((name,)) for name in _CACHED)
        written = self._last(_WRITTEN) + self._last(_THOUGHT)
        if not whole or not written:
            written = max(written, self._pieces or self._bytes // _TOKEN_BYTES)
        return Usage(read or asked // _TOKEN_BYTES, written, cached_tokens=from_cache)

    def _last(self, names: tuple[bytes, ...]) -> int:
        pattern = re.compile(rb'"(?:%s)"\s*:\s*(\d{1,12})\b' % b"|".join(names))
        for part in (self._tail, self._head):
            if found := pattern.findall(part):
                return int(found[-1])
        return 0
