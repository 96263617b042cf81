"""Whatever a peer gives as parameters is right, or refused; and people are shown all of it, whatever it is."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from roommate.features.mesh import request_view
from roommate.features.mesh.call_method import Called
from roommate.features.mesh.exec_method import Exec
from roommate.features.mesh.methods import MOST_INPUT, Inputs, Shape
from roommate.features.mesh.share_methods import Get, List, Put

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["argv", "cwd", "env", "timeout", "pty", "stdin", "place", "output_bytes", "tool", "arguments", "path", "size",
         "sha256", "parts", "more"]  # fmt: skip
SHAPES: list[type[Shape]] = [Exec, Called, Get, List, Put]


@given(st.sampled_from(SHAPES), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5))
def test_anything_is_read_or_wrong(shape: type[Shape], params: dict[str, Any]) -> None:
    try:
        read = shape.model_validate(params)
    except ValidationError:
        return
    assert set(params) <= set(shape.model_fields)
    assert shape.model_validate(read.model_dump()) == read


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"argv": []},
        {"argv": ["a\0b"]},
        {"argv": ["a"] * 513},
        {"argv": ["a"], "cwd": "/a\0"},
        {"argv": ["a"], "env": {"A": "\0"}},
        {"argv": ["a"], "env": {"A\0": ""}},
        {"argv": ["a"], "place": "container"},
        {"argv": ["a"], "timeout": 0},
        {"argv": ["a"], "timeout": True},
        {"argv": ["a"], "stdin": 1},
        {"argv": ["a"], "pty": {"rows": 0, "columns": 1}},
        {"argv": ["a"], "pty": {"rows": 1, "columns": 1, "term": "x\x1b[2J"}},
        {"argv": ["a"], "user": "root"},
    ],
)
def test_what_is_wrong_with_a_program(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Exec.model_validate(params)


@given(st.sampled_from(["exec", "call", "share.put"]), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=4))
def test_people_see_it_whole_and_nothing_in_it_is_hidden(method: str, params: dict[str, Any]) -> None:
    shown = request_view.asked_for(method, params)
    assert all(one.isprintable() or one.isspace() for one in shown)
    assert method == "exec" or len(shown.splitlines()) == max(1, len(params))
    assert all(name in shown for name in params if not (name == "argv" and isinstance(params[name], list)))


@given(st.lists(st.integers(1, MOST_INPUT), max_size=9))
async def test_what_waits_of_input_has_a_limit(sizes: list[int]) -> None:
    inputs, kept = Inputs(), list[int]()
    for number, size in enumerate(sizes):
        if inputs.put({"kind": "data", "number": number}, size):
            kept.append(number)
    assert sum(sizes[one] for one in kept) <= MOST_INPUT
    assert [cast(int, (await inputs.get())["number"]) for _ in kept] == kept
