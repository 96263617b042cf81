"""What somebody writes, as parameters; and that what is declared is known to every door."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from roommate.cli import daemon_commands, forward_to_daemon, peer_requests, recovery, sandbox, workspace
from roommate.cli.app import app
from roommate.composition.features import DECLARED
from roommate.domain import RoomId
from roommate.doors import command_line
from roommate.errors import Misused
from roommate.operations import Form, OfRoom, Operation, Params, Short, Who, form
from roommate.operations.parameters import chat_usage, cli_usage, said, typed

HERE = RoomId("!here:example.org")


class Lent(OfRoom):
    book: Annotated[str, Field(title="BOOK[:PAGE]")]
    days: Annotated[int, Short("-d")] = 7
    loudly: bool = False


class Told(OfRoom):
    times: int
    text: str


class Named(Params):
    names: Annotated[list[str], Field(title="NAME", min_length=1)]


def operation(params: type[Params]) -> Operation[Any, Any, Any]:
    async def act(feature: object, params: object, call: object) -> None: ...

    return Operation(name="test", does="Does it.", params=params, act=act, reads=str)


def in_chat(params: type[Params], text: str, of: Form) -> Any:
    return said(operation(params), of, text, HERE)


def on_the_command_line(params: type[Params], *arguments: str) -> Any:
    return typed(operation(params), form("lend"), arguments)


def test_in_chat_the_room_is_the_one_it_is_said_in_and_the_last_text_goes_to_the_end() -> None:
    assert in_chat(Lent, "lend  Emma:3", form("lend", days=1, loudly=False)) == {
        "room": HERE, "book": "Emma:3", "days": 1, "loudly": False}  # fmt: skip
    assert in_chat(Told, "Tell all 3 of one\n two", form("tell all")) == {
        "room": HERE, "times": 3, "text": "of one\n two"}  # fmt: skip
    assert in_chat(Named, "ask a b", form("ask")) == {"names": ["a", "b"]}
    for params, wrong in ((Told, "tell often x"), (Told, "tell"), (Told, "tell 3"), (Named, "ask"), (OfRoom, "go on")):
        with pytest.raises(Misused):
            in_chat(params, wrong, form(wrong.split()[0]))


def test_on_the_command_line_what_may_be_left_out_is_an_option() -> None:
    whole = {"room": "Den", "book": "Emma", "days": 3, "loudly": True}
    for line in ("Den Emma -d 3 --loudly", "--days=3 Den --loudly Emma", "--loudly --days 3 -- Den Emma"):
        assert on_the_command_line(Lent, *line.split()) == whole
    assert on_the_command_line(Lent, "Den", "--", "--days") == {"room": "Den", "book": "--days"}
    assert on_the_command_line(Named, "a", "-") == {"names": ["a", "-"]}
    for wrong in ("Den", "Den Emma x", "Den Emma -d", "Den Emma -d x", "Den Emma --day 3", "Den Emma -x"):
        with pytest.raises(Misused):
            on_the_command_line(Lent, *wrong.split())


@given(st.lists(st.text(max_size=8) | st.sampled_from(["--days", "-d", "--", "--days=", "3", "--json"]), max_size=6))
def test_any_line_is_understood_or_misused(arguments: list[str]) -> None:
    try:
        command_line.understood(DECLARED, ["rooms", "pause", *arguments])
        typed(operation(Lent), form("lend"), arguments)
    except Misused as error:
        assert str(error)


@given(
    st.text(max_size=30) | st.sampled_from(["all", "!other:x", "--room !other:x", "room=!other:x", "!other:x default"])
)
def test_in_chat_nobody_means_another_room(text: str) -> None:
    for operation in DECLARED:
        for of in operation.chat:
            try:
                found = said(operation, of, f"{of.words} {text}", HERE)
            except Misused:
                continue
            # Who says that to all rooms is an operator.
            assert found.get("room", HERE) in {HERE, "" if operation.who is Who.OPERATORS else HERE}


def test_usage() -> None:
    assert chat_usage(operation(Told), form("tell all")) == "!tell all TIMES TEXT"
    assert chat_usage(operation(Named), form("ask")) == "!ask NAME …"
    assert cli_usage(operation(Lent), form("lend")) == "roommate lend ROOM BOOK[:PAGE] [-d DAYS] [--loudly]"


def test_the_command_line_knows_what_is_not_for_the_daemon() -> None:
    local = {str(one.name) for one in (*app.registered_commands, *daemon_commands.app.registered_commands)}
    local |= {str(one.name) for one in peer_requests.app.registered_commands}
    mixed = {"sandbox": sandbox.app, "workspace": workspace.app, "share": peer_requests.share, "recovery": recovery.app}
    local |= {str(one.name) for one in app.registered_groups if one.name and one.name not in mixed}
    local |= {f"{name} {one.name}" for name, group in mixed.items() for one in group.registered_commands}
    assert local == forward_to_daemon.LOCAL
    words = [form.words.split() for operation in DECLARED for form in operation.cli]
    assert [one for one in words if not forward_to_daemon.knows(one)] == []
    assert not any(
        forward_to_daemon.knows(line.split()) for line in ("", "--version", "rooms --help", "status --json", "auth x")
    )
    assert forward_to_daemon.METHOD == command_line.NAME


def test_nothing_is_called_as_something_else_is() -> None:
    names = Counter(operation.name for operation in DECLARED)
    forms = Counter(f"roommate {form.words}" for operation in DECLARED for form in operation.cli)
    said = Counter(chat_usage(operation, form) for operation in DECLARED for form in operation.chat)
    assert [one for one, count in (names + forms + said).items() if count > 1] == []
