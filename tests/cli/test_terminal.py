"""What is typed at an operator's shell."""

from __future__ import annotations

import pytest

from roommate.cli.terminal import Escape


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
