"""What is typed at an operator's shell."""

from __future__ import annotations

import sys

import pytest

from roommate.cli.shell_terminal import Escape
from tests.terminal import Terminal


@pytest.mark.parametrize(
    ("pieces", "typed", "leaves"),
    [
        ([b"ls ~.\r"], b"ls ~.\r", False),
        ([b"ls\r~."], b"ls\r", True),
        ([b"~", b"."], b"", True),
        ([b"\r", b"~", b"/x"], b"\r~/x", False),
        ([b"~~."], b"~.", False),
        ([b"a\n~", b"~", b"."], b"a\n~.", False),
        ([b"\r~\r~."], b"\r~\r", True),
        ([bytes(range(256))], bytes(range(256)), False),
    ],
)
def test_what_leaves_and_what_is_typed(pieces: list[bytes], typed: bytes, leaves: bool) -> None:
    escape = Escape()
    fed = [escape.feed(piece) for piece in pieces]
    assert b"".join(text for text, _ in fed) == typed
    assert [left for _, left in fed] == [False] * (len(pieces) - 1) + [leaves]


async def test_a_table_in_a_narrow_terminal_folds_what_is_long_and_leaves_out_what_is_empty() -> None:
    row = ["!" + "abcdefghij" * 6, "workshop", "2", "", "gemini/flash"]
    script = f"""
from roommate.cli.daemon_requests import show_table
show_table(["room", "name", "members", "paused", "model"], [{row}, {row}])
show_table(["nothing", "here"], [])
"""
    async with Terminal(sys.executable, "-c", script, environment={}, columns=80, rows=24) as terminal:
        assert await terminal.ended() == 0
        await terminal.see("nothing")
    heads, first, *_ = [line.split() for line in terminal.screen.text.splitlines() if line.strip()]
    assert heads == ["room", "name", "members", "model"]
    assert first[1:] == ["workshop", "2", "gemini/flash"]
    assert "abcdefghij" * 6 in "".join(terminal.screen.text.split()).replace("workshop2gemini/flash", "")
