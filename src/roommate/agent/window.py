"""Which part of a conversation fits into what a model can read, and a guess at how many tokens a text has."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from roommate.agent.cached_per_step import CachedPerStep
from roommate.agent.openai_messages import as_object
from roommate.domain import Answer, Picture, Prompt, Step, ToolCall, ToolResult

STEP_TOKENS = 6
"""What a provider puts around each message: its role, the ids of calls."""

PICTURE_TOKENS = 1600
"""About what providers count for a picture of the size that models are given."""

STUB_ABOVE = 400
"""Texts of up to this many characters stay as they are: a stub would hardly be shorter."""

MILESTONES = 8
"""One turn in so many is one that a shortened history begins with."""

LEAST_KEPT = 0.5
"""The part of a budget that is used rather than to look for one."""

MOST_CHARACTERS = 4
"""That a token has, as `tokens` guesses: what has more of them than that does not fit."""

_WORDS = b"abcdefghijklmnopqrstuvwxyz "
_HIGH = bytes(range(128, 256))


@dataclass(frozen=True, slots=True)
class Window:
    """What the model sees: a valid history that starts with a Prompt, and what is missing from it."""

    steps: tuple[Step, ...]
    dropped_turns: int = 0
    shortened: int = 0
    """How many texts of the newest turn (results and arguments of calls) were cut down to a stub."""


class Scale:
    """Weighs steps as `tokens` does, and shortens them, each once: a turn's history is weighed at every round, and only
    its end is new."""

    def __init__(self) -> None:
        self._weights: CachedPerStep[int] = CachedPerStep()
        self._stubs: CachedPerStep[Step] = CachedPerStep()

    def __call__(self, steps: Iterable[Step]) -> int:
        return sum(self._weights(step, _weight) for step in steps)

    def stub(self, step: Step) -> Step:
        """The step without its long texts; what the model said and what a person wrote stays."""
        return self._stubs(step, _stub)


def fit(turns: Sequence[Sequence[Step]], budget_tokens: int, scale: Scale | None = None) -> Window:
    """The newest turns that fit into the budget, in guessed tokens (see `tokens`; a `scale` remembers them).

    Each turn is a Prompt with its rounds, every call answered. Whole turns are dropped, oldest first; the newest always
    stays. Where that alone is too long, the results of its oldest calls become stubs that say so, then the arguments of
    its oldest calls, until it fits or nothing is left to shorten: so a window may still be too long, when a person
    wrote more than the model can read.
    """
    weigh = scale or Scale()
    *past, newest = turns
    left = budget_tokens - weigh(newest)
    if left < 0:
        steps, shortened = _shorten(newest, -left, weigh)
        return Window(tuple(steps), len(past), shortened)
    kept: list[Sequence[Step]] = [newest]
    for turn in reversed(past):
        left -= weigh(turn)
        if left < 0:
            break
        kept.append(turn)
    if len(kept) < len(turns):
        _cut_at_a_milestone(kept, budget_tokens, weigh)
    return Window(tuple(step for turn in reversed(kept) for step in turn), len(turns) - len(kept))


def _cut_at_a_milestone(kept: list[Sequence[Step]], budget_tokens: int, weigh: Scale) -> None:
    """Drop a few more of the oldest, so that the history begins with a turn where it may go on beginning.

    Providers keep what two requests begin alike with, and charge a tenth for it: a window that moves with every turn
    begins anew each time. Which turns may come first is told by their own words, so nothing has to be remembered.
    """
    weight, least = sum(weigh(turn) for turn in kept), budget_tokens * LEAST_KEPT
    for count, turn in enumerate(reversed(kept)):
        if weight < least:
            return
        if _is_milestone(turn):
            del kept[len(kept) - count :]
            return
        weight -= weigh(turn)


def _is_milestone(turn: Sequence[Step]) -> bool:
    first = turn[0]
    return isinstance(first, Prompt) and zlib.crc32(first.text.encode("utf-8", "replace")) % MILESTONES == 0


def _shorten(turn: Sequence[Step], too_many: int, scale: Scale) -> tuple[list[Step], int]:
    """Stub the oldest results, then the oldest arguments, until `too_many` tokens are saved."""
    steps = list(turn)
    shortened = 0
    for kind in (ToolResult, Answer):
        for place, step in enumerate(steps):
            if too_many <= 0:
                return steps, shortened
            if isinstance(step, kind) and (stub := scale.stub(step)) is not step:
                steps[place] = stub
                too_many -= scale([step]) - scale([stub])
                shortened += 1
    return steps, shortened


def _stub(step: Step) -> Step:
    """See `Scale.stub`; the step itself where there is nothing to shorten."""
    match step:
        case ToolResult(text=text, picture=picture) if picture or len(text) > STUB_ABOVE:
            return replace(step, text=_cut(text), picture=None)
        case Answer(calls=calls):
            short = tuple(_stub_arguments(call) for call in calls)
            return replace(step, calls=short) if short != calls else step
        case _:
            return step


def _stub_arguments(call: ToolCall) -> ToolCall:
    """The call with its long arguments cut; they stay a JSON object, as providers read them."""
    if len(call.arguments) <= STUB_ABOVE:
        return call
    arguments = as_object(call.arguments) or {}
    short = {key: _cut(value) if isinstance(value, str) else value for key, value in arguments.items()}
    text = json.dumps(short, ensure_ascii=False)
    if not arguments or len(text) > len(call.arguments) // 2:
        text = json.dumps({"shortened": _cut(call.arguments)}, ensure_ascii=False)
    return replace(call, arguments=text) if len(text) < len(call.arguments) else call


def _cut(text: str) -> str:
    if len(text) <= STUB_ABOVE:
        return text
    return f"{text[:80]}\n[shortened to save room: {len(text)} characters were here; look again if you need them]"


# ── Counting without the provider's tokenizer ────────────────────────────────────────────────────


def tokens(steps: Iterable[Step]) -> int:
    """A guess at the tokens of these steps, quick (about 3 ms a megabyte) and rather too high than too low.

    Measured against OpenAI's cl100k_base and o200k_base: code, prose, JSON and logs 1.0-1.5 times the true count, other
    alphabets 1.1-3.8 times, and only what has hardly any words falls short (hex 0.9, emoji and base64 0.7).
    """
    return sum(map(_weight, steps))


def _weight(step: Step) -> int:
    return STEP_TOKENS + sum(text_tokens(text) for text in _texts(step)) + _seen(step)


def _seen(step: Step) -> int:
    match step:
        case ToolResult(picture=Picture()):
            return PICTURE_TOKENS
        case Prompt(pictures=pictures):
            return PICTURE_TOKENS * len(pictures)
    return 0


def text_tokens(text: str) -> int:
    """A guess at the tokens of a text: words are cheap, digits, capitals and signs are not."""
    content = text.encode("utf-8", "surrogatepass")
    rest = content.translate(None, _WORDS)
    signs = len(rest.translate(None, _HIGH))
    return (len(content) - len(rest)) // 4 + signs * 2 // 3 + (len(rest) - signs) // 2 + 1


def _texts(step: Step) -> list[str]:
    match step:
        case Prompt(text=text) | ToolResult(text=text):
            return [text]
        case Answer(text=text, calls=calls):
            return [text, *(part for call in calls for part in (call.name, call.arguments))]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How a provider's own counts compare with our guesses: real tokens = ``ratio`` × guessed tokens."""

    ratio: float = 1.0

    def learned(self, guessed: int, counted: int) -> Calibration:
        """With one more request seen. Small ones teach nothing: what a provider adds to each outweighs them."""
        if guessed < 500 or counted < 1:
            return self
        seen = min(max(counted / guessed, 0.25), 4.0)
        # Up at once, down slowly: too long a history costs a refused request, too short a one only some memory.
        return Calibration(seen if seen > self.ratio else 0.8 * self.ratio + 0.2 * seen)

    def guessed(self, counted: int) -> int:
        """How many guessed tokens make this many real ones."""
        return int(counted / self.ratio)
