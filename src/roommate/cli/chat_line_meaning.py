"""What a line that a person wrote in the chat means."""

from __future__ import annotations

from dataclasses import dataclass

HELP = """\
✅ or /yes, ❌ or /no   answer the newest question
♾️ or /always          yes, and from now on; where the question offers it
!help                  what the bot understands; !commands go to it as they are
Ctrl-C                 stops what runs; a second one leaves
/quit                  leave (also Ctrl-D)"""


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class React:
    """Answer the newest card."""

    key: str


@dataclass(frozen=True, slots=True)
class Leave:
    pass


@dataclass(frozen=True, slots=True)
class Tell:
    """Nothing for the room: tell the person something."""

    text: str


def intent(line: str) -> Say | React | Leave | Tell | None:
    """None for an empty line. A path such as ``/etc/hosts`` is no command of the chat."""
    text = line.strip()
    match text.removesuffix("\ufe0f"):
        case "":
            return None
        case "✅" | "/yes":
            return React("✅")
        case "♾" | "/always":
            return React("♾️")
        case "❌" | "/no":
            return React("❌")
        case "/quit" | "/exit" | "/q":
            return Leave()
        case "/help":
            return Tell(HELP)
    return Say(text)
