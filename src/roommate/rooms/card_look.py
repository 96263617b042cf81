"""What a card looks like: while it is open, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.chat import card_answers, texts
from roommate.domain import CARD, EventId, JsonObject, Question, UserId
from roommate.matrix import render
from roommate.store import Card
from roommate.text.printable import one_line, plain

EXPIRED = "expired"
UNNEEDED = "unneeded"
"""Verdicts of nobody."""
ANSWER_SHOWN = 200


def open_look(question: Question, called: Sequence[UserId], thread: EventId | None = None) -> JsonObject:
    """A message that rings for who is `called`: who can answer."""
    # Clients show what one person says as one piece: a question is seen where it begins.
    asked = "\n\n".join(filter(None, (f"❓ {question.text}", question.hint, how_to_answer(question))))
    content = render.content(
        asked, notice=question.quiet, mentions=called, pills=True, thread=thread, details=question.details
    )
    content[CARD] = {"what": question.what, "choices": list(question.choices)}
    return content


def closed_look(card: Card, over: str) -> JsonObject:
    """What is left of it, which rings for nobody: how it ended, and what was asked."""
    asked = "\n".join(f"> {line}" for line in f"❓ {card.text}".splitlines())
    content = render.content(f"{over}\n\n{asked}", notice=card.quiet, details=card.details)
    content[CARD] = {"what": card.what, "choices": [], "over": True}
    return content


def how_to_answer(question: Question) -> str:
    words = card_answers.words(question.choices)
    if question.takes_text:
        also = "; or reply with what you want instead"
        return f"*Tap, or write {words}{also}.*" if words else "*Reply with what you want.*"
    return f"*Tap, or write {words}.*" if words else ""


def ended(choice: str, who: str, said: str) -> str:
    """How it ended, in a line: who chose what, as Markdown, and what came of it."""
    how = {
        texts.YES: f"{texts.YES} allowed by {who}",
        texts.ALWAYS: f"{texts.ALWAYS}\ufe0f allowed by {who} from now on",
        texts.NO: f"{texts.NO} refused by {who}",
        texts.AGAIN: f"{texts.AGAIN} taken up again by {who}",
        EXPIRED: "⌛ expired: nobody answered",
        UNNEEDED: "➖ no longer needed",
    }.get(choice, f"💬 {who}: {plain(one_line(choice, ANSWER_SHOWN))}")
    return f"{how}, {said}" if said else how
