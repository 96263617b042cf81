"""What the model sees of a conversation is valid, is the newest part, and fits wherever it can."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.agent import litellm_client
from roommate.agent.window import Calibration, fit, text_tokens, tokens
from roommate.domain import Answer, Prompt, Step, ToolCall, ToolResult, UserId
from tests.agent.conversations import conversations, is_valid

ROOT = Path(__file__).parents[2]
ALICE = UserId("@alice:x.org")


def flat(conversation: tuple[list[Step], ...] | list[list[Step]]) -> list[Step]:
    return [step for turn in conversation for step in turn]


@given(conversations, st.integers(0, 4000))
def test_a_window_is_a_valid_history_that_fits_unless_nothing_is_left_to_cut(
    conversation: tuple[list[Step], ...], budget: int
) -> None:
    window = fit(conversation, budget)
    assert is_valid(list(window.steps))
    assert tokens(window.steps) <= budget or window == fit(conversation, 0)


@given(conversations, st.integers(0, 4000))
def test_whole_turns_are_dropped_oldest_first_and_the_newest_stays(
    conversation: tuple[list[Step], ...], budget: int
) -> None:
    window = fit(conversation, budget)
    kept = conversation[window.dropped_turns :]
    assert len(window.steps) == len(flat(list(kept)))
    if not window.shortened:
        assert list(window.steps) == flat(list(kept))
    else:
        assert len(kept) == 1
    assert fit(conversation, budget + 500).dropped_turns <= window.dropped_turns


@given(conversations)
def test_what_fits_stays_as_it_is(conversation: tuple[list[Step], ...]) -> None:
    window = fit(conversation, tokens(flat(list(conversation))))
    assert (list(window.steps), window.dropped_turns, window.shortened) == (flat(list(conversation)), 0, 0)


def long_turn(rounds: int) -> list[Step]:
    turn: list[Step] = [Prompt("do it", ALICE)]
    for n in range(rounds):
        content = '{"path": "notes.md", "content": "' + f"round {n} " * 400 + '"}'
        turn += [Answer("", (ToolCall(f"c{n}", "write_file", content),)), ToolResult(f"c{n}", f"result {n} " * 400)]
    return turn


def test_a_turn_that_is_too_long_alone_loses_its_oldest_results_first_and_says_so() -> None:
    turn = long_turn(4)
    window = fit([long_turn(1), turn], tokens(turn) - 1500)
    assert (window.dropped_turns, window.shortened) == (1, 2)
    results = [step.text for step in window.steps if isinstance(step, ToolResult)]
    assert [("shortened" in text) for text in results] == [True, True, False, False]
    assert "3600 characters" in results[0]
    assert [step for step in window.steps if isinstance(step, Answer)] == [
        step for step in turn if isinstance(step, Answer)
    ]


def test_then_it_loses_its_oldest_arguments_which_stay_an_object() -> None:
    window = fit([long_turn(4)], 2500)
    answers = [step.calls[0].arguments for step in window.steps if isinstance(step, Answer)]
    assert [("shortened" in text) for text in answers] == [True, True, False, False]
    assert answers[0].startswith('{"path": "notes.md", "content": "round 0')


def test_a_prompt_is_never_shortened() -> None:
    prompt = Prompt("x" * 100_000, ALICE)
    assert fit([[prompt]], 100).steps == (prompt,)


async def test_the_guess_is_rather_too_high_than_too_low() -> None:
    await asyncio.to_thread(litellm_client.import_litellm)
    from litellm.litellm_core_utils.default_encoding import encoding

    ours = [*(ROOT / "src").rglob("*.py"), ROOT / "README.md", ROOT / "pyproject.toml"]
    for path in ours:
        text = path.read_text()
        assert 0.95 * len(encoding.encode(text)) <= text_tokens(text) <= 2 * len(encoding.encode(text)) + 1, path


def test_calibration_follows_the_provider_up_at_once_and_down_slowly() -> None:
    up = Calibration().learned(guessed=1000, counted=2000)
    assert up.ratio == 2.0
    assert up.guessed(8000) == 4000
    down = up.learned(guessed=1000, counted=500)
    assert 1.5 < down.ratio < 2.0
    assert up.learned(guessed=10, counted=100) == up


@pytest.mark.parametrize("counted", [0, 10**9])
def test_a_provider_that_counts_nonsense_does_no_harm(counted: int) -> None:
    assert 0.25 <= Calibration().learned(1000, counted).ratio <= 4.0


def test_a_window_that_moves_begins_alike_for_many_turns() -> None:
    """So that a provider's cache of what requests begin alike with is of use."""
    talk: list[list[Step]] = [[Prompt(f"question {n}", ALICE), Answer("words " * 100)] for n in range(200)]
    firsts = []
    for count in range(60, 200):
        window = fit(talk[:count], 40 * tokens(talk[0]))
        assert window.dropped_turns >= count - 40
        assert tokens(window.steps) >= 15 * tokens(talk[0])
        firsts.append(window.steps[0])
    moved = sum(before != after for before, after in itertools.pairwise(firsts))
    assert moved <= 140 / 4
