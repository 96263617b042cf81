"""What people of a room are asked."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from roommate.domain.ids import UserId

ASK_PERSON = "ask_person"
"""The tool with which a model asks them."""


class CardKind(enum.StrEnum):
    """What a card is about, and so who deals with the choice. Rows hold these names: none is ever another's."""

    EGRESS = "egress"
    HOOK = "hook"
    RESET_WORKSPACE = "reset-workspace"
    REDEPLOY = "redeploy"
    GO_ON = "go-on"
    ROLLBACK = "rollback"
    PERSON = "person"
    PLAN = "plan"
    DEVCONTAINER = "devcontainer"
    VERIFY = "verify"
    TRUST = "trust"
    MESH_REQUEST = "mesh-request"


@dataclass(frozen=True, slots=True)
class Question:
    """What a card asks the people of a room. They choose with a reaction of one of the `choices`."""

    what: CardKind
    text: str
    """Markdown: all that somebody must know to decide. It stays when the card is closed."""
    subject: str = ""
    """What it is about, for who deals with the choice. A room has one open question of a kind and subject."""
    choices: tuple[str, ...] = ("✅", "❌")
    operators_only: bool = False
    seconds: float = 86_400
    """How long it stays open."""
    details: tuple[str, str] | None = None
    """A summary, and Markdown that stands behind it."""
    hint: str = ""
    """Markdown: what the choices mean, and for how long. It stands there while the card is open."""
    about: str = ""
    """In a word or two, for who sees that a turn waits for the answer."""
    asker: UserId | None = None
    """For whom it is asked: they are called, where not operators alone can answer."""
    turn: int | None = None
    """The turn that wants to know."""
    quiet: bool = False
    """Nobody is called, and nothing rings."""
    waits: bool = False
    """The turn waits for the answer. As long as it does, the answer is no prompt."""
    takes_text: bool = False
    """What somebody writes is an answer, too, whatever it is."""
