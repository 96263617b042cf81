"""The card at the end of a turn that only planned: it is carried out, changed or dropped."""

from __future__ import annotations

from roommate.chat import texts
from roommate.domain import CardKind, Question
from roommate.store import Card, Turn

OPEN_SECONDS = 7 * 86_400
CARRY_OUT = "Carry out the plan."


def question(turn: Turn) -> Question:
    return Question(
        CardKind.PLAN,
        "Carry out this plan?",
        subject=str(turn.id),
        hint=f"{texts.YES} carries it out, {texts.NO} drops it.",
        seconds=OPEN_SECONDS,
        asker=turn.asked_by,
        turn=turn.id,
        takes_text=True,
    )


def prompt(card: Card, choice: str) -> str | None:
    """What is asked for then; None where the plan is dropped."""
    return {texts.YES: CARRY_OUT, texts.NO: None}.get(choice, f"!plan {choice}")
