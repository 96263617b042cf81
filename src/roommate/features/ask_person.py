"""The tool ask_person: a question of the model to the room's people, whose answer is its result; and where the turn has
ended meanwhile, a prompt."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field

from roommate.chat.card_answers import KEYCAPS, spelled
from roommate.domain import ASK_PERSON, CardKind, EventId, Incoming, Message, Note, Question, RoomId, UserId
from roommate.errors import ToolError
from roommate.features.feature import Feature
from roommate.rooms.questions import Decide, Questions
from roommate.settings.config import Settings
from roommate.store import Card, Cards, Inbox, Turn
from roommate.store.messages_to_running_turn import adding, named
from roommate.text.amounts import age
from roommate.text.printable import one_line, plain
from roommate.tools.arguments import Arguments, Text
from roommate.tools.outcome import Outcome
from roommate.tools.tool import Call, Source, tool

OPEN_SECONDS = 7 * 86_400
LONGEST_QUESTION, LONGEST_CHOICE, SHOWN, ABOUT = 4000, 200, 80, 60
Name = Callable[[RoomId, str], Awaitable[str]]
"""What people call somebody in a room."""
GAVE_UP = "Nobody has answered yet: an answer to the question begins a new turn, whenever it comes."


def _choices(value: object) -> object:
    """Some models write a list as one text."""
    return [line for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


class AskPerson(Arguments):
    """Ask people what only they can know or decide, and wait for the answer."""

    question: Text = Field(description="All that somebody must know to answer, in Markdown")
    choices: Annotated[list[str], BeforeValidator(_choices)] | None = Field(
        None, description="Up to nine short answers that can be tapped; people may write another one"
    )


@dataclass(frozen=True, slots=True)
class TurnQuestions:
    """What one turn asks. A restart finds the question again by the call that asked it."""

    turn: Turn
    cards: Cards
    questions: Questions
    settings: Callable[[], Settings]
    name: Name

    async def ask(self, asked: AskPerson, call: Call) -> Outcome:
        subject = f"{self.turn.id}:{call.id}"
        card = await self.cards.asked(self.turn.room_id, CardKind.PERSON, subject)
        if card is None:
            question = self._question(asked, subject)
            card = await self.questions.put_up(self.turn.room_id, question, thread=self.turn.thread)
        seconds = self.settings().answer_wait_seconds
        answer = await self.questions.answer(card, one_line(re.sub(r"[*`]", "", asked.question), ABOUT), seconds)
        if answer is None:
            call.emit(Note(GAVE_UP))
            told = f"nobody has answered within {age(seconds)}. Say what you have asked and end the turn: {GAVE_UP}"
            return Outcome(told, "no answer yet", ok=False)
        found = await self.cards.of(card)
        text = spelled(answer.choice, found.text if found else "")
        who = await self.name(self.turn.room_id, answer.by)
        return Outcome(f"{answer.by} answers: {text}", one_line(f"{who}: {text}", SHOWN))

    def _question(self, asked: AskPerson, subject: str) -> Question:
        choices = [" ".join(one.split())[:LONGEST_CHOICE] for one in asked.choices or ()]
        if len(choices) > len(KEYCAPS):
            raise ToolError(f"{len(choices)} choices are too many to tap: give up to {len(KEYCAPS)}, people may write")
        if len(asked.question) > LONGEST_QUESTION:
            raise ToolError(f"the question is too long: {LONGEST_QUESTION} characters are the most")
        lines = [f"{key} {plain(choice)}" for key, choice in zip(KEYCAPS, choices, strict=False)]
        return Question(
            CardKind.PERSON,
            "\n\n".join(filter(None, (asked.question.strip(), "\n".join(lines)))),
            subject=subject,
            choices=KEYCAPS[: len(choices)],
            seconds=OPEN_SECONDS,
            asker=self.turn.asked_by,
            turn=self.turn.id,
            takes_text=True,
            waits=True,
        )


def prompt(card: Card, choice: str) -> str:
    """What the model is told where its turn has ended meanwhile."""
    return f"You asked: {card.text}\n\nThe answer is: {spelled(choice, card.text)}"


def decider(inbox: Inbox, cards: Cards, wake: Callable[[RoomId], None]) -> Decide:
    """Answers from the host: a turn that waits has the answer with the card, and otherwise it is a prompt."""

    async def decide(card: Card, choice: str, by: UserId) -> str:
        if not await cards.is_waited_for(card.id):
            said = Message(prompt(card, choice), EventId(card.thread) if card.thread else None)
            asker = card.asker or by
            line = Incoming(named(f"card-{card.id}"), card.room_id, asker, int(time.time() * 1000), said)
            await inbox.do(adding(line))
            wake(card.room_id)
        return ""

    return decide


def offered(questions: TurnQuestions) -> Source:
    made = tool(ASK_PERSON, AskPerson, questions.ask, title=("question",), sandbox=False, again=True, looks=True)
    return [made]


def feature(
    cards: Cards,
    inbox: Inbox,
    questions: Questions,
    settings: Callable[[], Settings],
    name: Name,
    wake: Callable[[RoomId], None],
) -> Feature:
    return Feature(
        tools=lambda turn: offered(TurnQuestions(turn, cards, questions, settings, name)),
        cards={CardKind.PERSON: decider(inbox, cards, wake)},
        prompts={CardKind.PERSON: prompt},
    )
