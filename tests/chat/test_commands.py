"""What a text means: a command, talk, for the bot or not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.chat import commands
from roommate.chat.commands import Command
from roommate.domain import Message, UserId
from roommate.doors.chat import unknown

BOT = UserId("@roommate:example.org")
NAMES = commands.names_of(BOT, "Robin the Bot")


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("!ping", Command("ping", "")),
        ("  !Reset workspace \n", Command("reset", "workspace")),
        ("!model gemini/x", Command("model", "gemini/x")),
        ("!", None),
        ("!!", None),
        ("! ping", None),
        ("hello !ping", None),
    ],
)
def test_parse(text: str, command: Command | None) -> None:
    assert commands.parse(text) == command


@given(st.text())
def test_any_text_is_a_command_or_talk(text: str) -> None:
    command = commands.parse(text)
    assert command is None or text.strip().lower().startswith(f"!{command.name}")


@pytest.mark.parametrize(
    ("message", "people", "to_us", "meant"),
    [
        (Message("hello"), 2, False, True),
        (Message("hello"), 3, False, False),
        (Message("hello"), 3, True, True),
        (Message("hello", mentions=(BOT,)), 3, False, True),
        (Message("!ping"), 3, False, True),
        (Message("roommate: hello"), 3, False, True),
        (Message("Hi all. Hey Robin the Bot can you look?"), 3, False, True),
        (Message("my roommate said: hello"), 3, False, False),
    ],
)
def test_who_a_message_is_for(message: Message, people: int, to_us: bool, meant: bool) -> None:
    assert commands.meant_for(message, BOT, NAMES, people=people, to_us=to_us, everything=False) is meant
    assert commands.meant_for(message, BOT, NAMES, people=people, to_us=to_us, everything=True)


def test_a_slip_of_the_finger_is_understood() -> None:
    names = ["help", "status", "stop"]
    assert "`!status`" in unknown("stauts", names)
    assert "mean" not in unknown("zzzzzz", names)
