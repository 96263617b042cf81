"""What a peer prints does not command the terminal of who asked."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import tty
from pathlib import Path

import pytest

from roommate.cli.peer_requests import _Shown

EVIL = (
    "\x1b]52;c;Y3VybA==\x07"  # the clipboard
    "\x1b]0;title\x07\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\"
    "\x1bP$q\"p\x1b\\\x1b[c\x1b[6n"  # what it answers as if it were typed
    "\x1b[2J\x1b[1A\x9b31m\x9d0;x\x9c\x1b[?1049h\x08\x08\r\x7f\x0e"
    "\u202egnp\u2066.txt\nplain\tänd\n"
)  # fmt: skip


def pieces(text: str) -> list[str]:
    """A byte each, so that nothing is seen whole."""
    return [base64.b64encode(bytes([one])).decode() for one in text.encode()]


def read_out(terminal: int) -> bytes:
    """All that was written to a terminal whose other end is closed."""
    found = b""
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as file:
        while piece := file.read(65536):
            found += piece
    return found


def test_at_a_terminal_nothing_is_left_that_it_would_obey() -> None:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    with os.fdopen(theirs, "wb", buffering=0) as terminal:
        shown = _Shown(out=terminal)
        for piece in pieces(EVIL):
            shown.take(piece)
    seen = read_out(ours).decode()
    assert all(one.isprintable() or one in "\n\t" for one in seen)
    assert seen.endswith("gnp.txt\nplain\tänd\n")


def test_a_file_gets_every_byte(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file:
        shown = _Shown(out=file)
        for piece in pieces(EVIL):
            shown.take(piece)
    assert (tmp_path / "out").read_bytes() == EVIL.encode()


def test_as_json_it_is_told_with_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    shown = _Shown(as_json=True)
    for piece in pieces("änd\n"):
        shown.take(piece)
    shown.take({"errors": base64.b64encode(b"oops\n").decode()})
    shown.end({"code": 3})
    assert json.loads(capsys.readouterr().out) == {"code": 3, "stdout": "änd\n", "stderr": "oops\n"}
