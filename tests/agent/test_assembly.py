"""A streamed reply comes out the same, however its provider cuts it into pieces."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.agent.stream_assembly import Assembly
from tests.agent.conversations import objects

TOOLS = ["run_command", "read_file", "read", "write_file"]

Piece = tuple[int | None, str, str, str]
"""index, id, name, arguments"""


def parts(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def as_openai(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    yield n, f"id{n}", name, ""
    for part in parts(arguments, size):
        yield n, "", "", part


def without_index(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    yield None, f"id{n}", name, ""
    for part in parts(arguments, size):
        yield None, "", "", part


def always_index_0(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    for part in parts(arguments, size):
        yield 0, f"id{n}", name, part


def with_late_id(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    first, *rest = parts(arguments, size)
    yield n, "", name, first
    yield n, f"id{n}", "", "".join(rest)


def with_name_in_parts(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    for part in parts(name, size):
        yield n, f"id{n}", part, ""
    yield n, "", "", arguments


def with_name_every_time(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    for part in parts(arguments, size):
        yield n, f"id{n}", name, part


def with_the_whole_again(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    yield from as_openai(n, name, arguments, size)
    yield n, f"id{n}", "", arguments


def whole_without_ids(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    yield 0, "", name, arguments


def whole_with_equal_ids(n: int, name: str, arguments: str, size: int) -> Iterator[Piece]:
    yield n, "same", name, arguments


STYLES = [
    as_openai,
    without_index,
    always_index_0,
    with_late_id,
    with_name_in_parts,
    with_name_every_time,
    with_the_whole_again,
    whole_without_ids,
    whole_with_equal_ids,
]

made_calls = st.lists(st.tuples(st.sampled_from(TOOLS), objects.map(json.dumps)), min_size=1, max_size=4)


@pytest.mark.parametrize("style", STYLES)
@given(made_calls, st.integers(1, 30))
def test_parallel_calls_of_every_style(
    style: Callable[[int, str, str, int], Iterator[Piece]], made: list[tuple[str, str]], size: int
) -> None:
    assembly = Assembly(TOOLS)
    for n, (name, arguments) in enumerate(made):
        for piece in style(n, name, arguments, size):
            assembly.call(*piece)
    calls = assembly.calls(taken={"id0", "same"})
    assert [(call.name, call.arguments) for call in calls] == made
    ids = [call.id for call in calls]
    assert len({*ids, "id0", "same"}) == len(ids) + 2
    assert all(ids)


def test_interleaved_calls_keep_their_arguments() -> None:
    assembly = Assembly(TOOLS)
    for piece in [
        (0, "a", "read", ""),
        (1, "b", "read_file", ""),
        (1, "", "", '{"x'),
        (0, "", "", '{"y'),
        (1, "", "", '": 1}'),
    ]:
        assembly.call(*piece)
    assembly.call(0, "", "", '": 2}')
    assert [(call.id, call.arguments) for call in assembly.calls(())] == [("a", '{"y": 2}'), ("b", '{"x": 1}')]


@pytest.mark.parametrize("name", ["default_api.run_command", "functions.run_command:0", "run_command"])
def test_a_tool_is_found_behind_the_name_that_some_models_write(name: str) -> None:
    assembly = Assembly(TOOLS)
    assembly.call(0, "a", name, "{}")
    assert assembly.calls(())[0].name == "run_command"


def test_a_ghost_is_no_call_and_an_unknown_tool_is_one() -> None:
    assembly = Assembly(TOOLS)
    assembly.call(0, "a", "", "")
    assembly.call(1, "b", "no_such_tool", '{"not JSON')
    assert [(call.name, call.arguments) for call in assembly.calls(())] == [("no_such_tool", '{"not JSON')]


@given(st.text(st.characters()), st.integers(1, 5))
def test_text_comes_out_as_utf8_can_carry_it(text: str, size: int) -> None:
    assembly = Assembly(())
    shown = "".join(assembly.say(part)[0] for part in parts(text, size)) + assembly.end()
    assert shown == assembly.text
    shown.encode()
    if text.isprintable():
        assert shown == text


def test_an_emoji_in_two_halves_is_one() -> None:
    assembly = Assembly(())
    assert [assembly.say(part)[0] for part in ("a\ud83d", "\ude00b", "\ud83d", "x")] == [
        "a",
        "😀b",
        "",
        "\ufffdx",
    ]
