"""The card about what a coding agent is about to do. What the container wrote is data there: in code, on one line."""

from __future__ import annotations

from dataclasses import dataclass

from roommate.chat.texts import ALWAYS, NO, YES
from roommate.domain import HookEvent
from roommate.text.printable import block, in_code, one_line, visible

SHOWN = 200
"""Characters of a command that stand on the card itself."""
WHOLE = 2000
"""Characters that a command may have: so many fit into a card's details, whatever they are."""
NAME = 40
"""Characters of an agent's or a tool's name, or of a kind of risk."""

RISKS = {
    "push": "it changes something outside of this room",
    "install": "it brings in software from outside",
    "destroy": "git cannot bring back what it deletes",
}


@dataclass(frozen=True, slots=True)
class HookCard:
    """`text` and `hint` are Markdown, `details` a summary and what stands behind it."""

    text: str
    hint: str
    details: tuple[str, str] | None
    choices: tuple[str, ...]


def hook_card(event: HookEvent) -> HookCard:
    """Nobody allows for good what they did not see whole, and all of its kind with it."""
    command = event.command.strip()
    whole = command == one_line(command, SHOWN)
    kind = in_code(event.text, NAME)
    agent, tool = in_code(event.agent, NAME) or "a coding agent", in_code(event.tool, NAME)
    asked = " ".join(filter(None, (f"May {agent} do this?", tool, in_code(command, SHOWN))))
    why = RISKS.get(event.text, f"the room's list of risks has it as {kind}")
    always = f", {ALWAYS}\ufe0f all of the kind {kind} in this room from now on" if whole else ""
    hint = f"{YES} allows it once{always}, {NO} refuses. Without an answer it is refused in five minutes."
    if whole:
        return HookCard(f"{asked}\n\nIt is asked because {why}.", hint, None, (YES, ALWAYS, NO))
    cut = "⚠️ **That is not all of it:** the whole command is in the details. Read it before you decide."
    details = (f"The whole command, {len(command)} characters", block(visible(command)))
    return HookCard(f"{asked}\n\n{cut}\n\nIt is asked because {why}.", hint, details, (YES, NO))
