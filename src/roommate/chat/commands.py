"""Commands: ``!name arguments``, also behind a mention of the bot; and who a message is meant for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.chat.calling_by_name import called
from roommate.domain import Message, UserId


@dataclass(frozen=True, slots=True)
class Command:
    """What was said: the name without its ``!`` in lower case, the rest as it stands."""

    name: str
    argument: str


_COMMAND = re.compile(r"!([A-Za-z][\w-]*)[ \t]*(.*)", re.DOTALL)


def parse(text: str) -> Command | None:
    """The command that a text is, None when it is none (``!`` alone and ``!!`` are talk)."""
    match = _COMMAND.fullmatch(text.strip())
    return Command(match[1].lower(), match[2].strip()) if match else None


def names_of(bot: UserId, display_name: str) -> tuple[str, ...]:
    """What people call the bot: its id, its local part, its display name."""
    return tuple(filter(None, (bot, bot[1:].partition(":")[0], display_name)))


def meant_for(
    message: Message, bot: UserId, names: Sequence[str], *, people: int, to_us: bool, everything: bool
) -> bool:
    """Is a message for the bot? `people` is everybody in the room, the bot included, 0 where nobody knows how many they
    are; `to_us`: it replies to the bot."""
    return (
        0 < people <= 2
        or everything
        or to_us
        or bot in message.mentions
        or parse(message.text) is not None
        or called(message.text, names)
    )
