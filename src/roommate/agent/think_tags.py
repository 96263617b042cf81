"""Keeps what a model thinks out of what it says, where a server sends both as text: ``<think>…</think>``. Pure."""

from __future__ import annotations

_TAGS = {"<think>": "</think>", "<thinking>": "</thinking>"}
_CLOSING_LINE = "\n</think>\n"
_FENCE = "```"


class ThinkTags:
    """One reply's text, piece by piece.

    A reply thinks first if it does: a tag further on is text. Servers whose template opens the tag itself send only its
    end: on a line of its own, outside of code, it turns all before it into a thought (`retracted`).
    """

    def __init__(self) -> None:
        self._held = ""
        self._closing = ""
        """The tag that ends the thought; empty while the model speaks."""
        self._fences = 0
        """Of code blocks, in what was said; and backticks at its end that may become one more."""
        self._ticks = ""
        self._begun = False
        self._fresh = False
        """A thought has just ended: the line breaks behind it are not text."""
        self.retracted = False
        """What was given out until now was no text."""

    def take(self, piece: str) -> tuple[str, str]:
        """(what the model says, what it thinks) as far as this piece decides it."""
        self._held += piece
        if not self._begun:
            start = self._held.lstrip()
            if any(tag.startswith(start) for tag in _TAGS) and start not in _TAGS:
                return "", ""
            self._begun = True
            for tag, closing in _TAGS.items():
                if start.startswith(tag):
                    self._closing, self._held = closing, start[len(tag) :]
        return self._thinks() if self._closing else self._says()

    def end(self) -> str:
        """What is left to say when no piece follows."""
        rest, self._held = ("" if self._closing else self._held), ""
        return rest

    def _thinks(self) -> tuple[str, str]:
        thought, tag, rest = self._held.partition(self._closing)
        if tag:
            self._closing, self._held, self._fresh = "", rest, True
            return self._says()[0], thought
        keep = _begun_end(self._held, self._closing)
        thought, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return "", thought

    def _says(self) -> tuple[str, str]:
        if self._fresh:
            self._held = self._held.lstrip("\n")
            self._fresh = not self._held
        text, counted = self._held, 0
        place = -1 if self.retracted else text.find(_CLOSING_LINE)
        while place >= 0:
            self._count(text[counted:place])
            if not self._fences % 2:
                self.retracted, self._fresh = True, True
                self._held = text[place + len(_CLOSING_LINE) :]
                return self._says()[0], text[:place]
            counted, place = place, text.find(_CLOSING_LINE, place + 1)
        keep = _begun_end(text, _CLOSING_LINE)
        said, self._held = text[: len(text) - keep], text[len(text) - keep :]
        self._count(said[counted:])
        return said, ""

    def _count(self, said: str) -> None:
        text = self._ticks + said
        self._fences += text.count(_FENCE)
        ticks = len(text) - len(text.rstrip("`"))
        self._ticks = "`" * (ticks % len(_FENCE))


def _begun_end(text: str, tag: str) -> int:
    """How many characters at the end of the text may be the beginning of the tag."""
    return next((size for size in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-size:])), 0)
