"""Whatever a model writes as arguments becomes a type, or an error that tells it what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import ToolCall
from roommate.errors import ToolError
from roommate.tools import TurnPorts
from roommate.tools.arguments import loaded
from roommate.tools.command_tools import ReadBackground, RunCommand
from roommate.tools.files import EditFile, ReadFile
from roommate.tools.room_tools import offered

TOOLS = offered(TurnPorts(command_timeout=1, longest_timeout=1))
SPECS = [one.spec for one in TOOLS.values()]


def parse(call: ToolCall) -> object:
    tool = TOOLS[call.name]
    return tool.parse(loaded(tool.spec, call.arguments))


def call(name: str, arguments: object) -> ToolCall:
    return ToolCall("1", name, arguments if isinstance(arguments, str) else json.dumps(arguments))


def test_the_schemas_use_only_what_every_provider_knows() -> None:
    for spec in SPECS:
        assert 10 < len(spec.description) < 120
        parameters = dict(spec.parameters)
        assert parameters.keys() == {"type", "properties", "required"}
        for wanted in parameters["properties"].values():
            if wanted["type"] == "array":
                assert wanted["items"] == {"type": "string"}
            else:
                assert wanted.keys() == {"type", "description"}
                assert wanted["type"] in ("string", "integer", "number", "boolean")
    run = TOOLS["run_command"].spec.parameters
    assert run["required"] == ["command"]
    assert {name: wanted["type"] for name, wanted in run["properties"].items()} == {
        "command": "string",
        "timeout": "number",
        "cwd": "string",
        "background": "boolean",
        "wake": "boolean",
    }


@pytest.mark.parametrize(
    ("name", "arguments", "meant"),
    [
        ("run_command", {"command": "ls"}, RunCommand(command="ls")),
        ("run_command", {"command": "ls", "timeout": "5"}, RunCommand(command="ls", timeout=5)),
        ("run_command", {"command": "ls", "background": "true"}, RunCommand(command="ls", background=True)),
        ("run_command", {"command": ["echo", "a b"]}, RunCommand(command="echo 'a b'")),
        ("run_command", {"command": "ls", "timeout": None, "cwd": None, "background": None}, RunCommand(command="ls")),
        ("run_command", json.dumps(json.dumps({"command": "ls"})), RunCommand(command="ls")),
        ("read_file", {"path": "a", "offset": "3", "limit": 2.0}, ReadFile(path="a", offset=3, limit=2)),
        ("read_background", {"id": 3}, ReadBackground(id="3")),
        ("edit_file", {"path": "a", "old": "x", "new": ""}, EditFile(path="a", old="x", new="")),
    ],
)
def test_what_is_meant_is_understood(name: str, arguments: object, meant: object) -> None:
    assert parse(call(name, arguments)) == meant


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("run_command", "", "`command` is missing"),
        ("run_command", "{}", "`command` is missing"),
        ("run_command", '{"command": "ls', "not valid JSON (EOF while parsing a string"),
        ("run_command", "ls -la", "not valid JSON"),
        ("run_command", "[]", "not a JSON object but `[]`"),
        ("run_command", "null", "not a JSON object but `null`"),
        ("run_command", '"ls"', "not valid JSON"),
        ("run_command", {"command": ""}, "`command`: string should have at least 1 character"),
        ("run_command", {"command": "ls", "timeout": "soon"}, "`timeout`: input should be a valid number"),
        ("run_command", {"command": "ls", "timeout": -1}, "greater than 0"),
        ("run_command", '{"command": "ls", "timeout": 1e999}', "`timeout`"),
        ("run_command", '{"command": "ls", "timeout": NaN}', "not valid JSON"),
        ("run_command", {"command": "ls", "shell": "zsh"}, "there is no argument `shell`"),
        ("run_command", {"command": {"a": 1}}, "`command`: input should be a valid string"),
        ("run_command", {"command": None}, "`command` is missing"),
        ("run_command", '{"command": "\\ud800"}', "not valid JSON"),
        ("run_command", "[" * 100_000, "not valid JSON"),
        ("shell", {"command": "ls", "input": "y"}, "command and input cannot go together"),
        ("read_file", {"path": "a", "offset": 1.5}, "`offset`"),
        ("read_file", {"path": "a", "limit": 0}, "`limit`"),
        ("edit_file", {"path": "a", "old": "", "new": "x"}, "`old`"),
        ("write_file", {"path": "package.json", "content": {"name": "x"}}, "`content`: input should be a valid string"),
    ],
)
def test_what_is_wrong_is_said_with_the_schema(name: str, arguments: object, says: str) -> None:
    with pytest.raises(ToolError) as error:
        parse(call(name, arguments))
    text = str(error.value)
    assert says in text
    assert len(text) < 2000
    assert text.startswith(f"{name} was not run: ")
    assert json.dumps(TOOLS[name].spec.parameters) in text


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["command", "path", "id"]) | st.text(), inner),
)


@given(st.sampled_from(list(TOOLS)), st.text() | JSON.map(json.dumps))
def test_anything_else_is_an_error_and_no_crash(name: str, arguments: str) -> None:
    try:
        parse(ToolCall("1", name, arguments))
    except ToolError as error:
        str(error).encode()
