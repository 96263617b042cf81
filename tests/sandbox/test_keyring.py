"""The kernel's keys: what doctor says of them, and whose a container sees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roommate.sandbox.empty_shared_keyring import examine

USERS = """\
    0:     9 8/8 3/1000000 40/25000000
  998:     1 1/1 1/200 9/20000
1000000000:   199 199/199 199/200 9950/20000
"""


@pytest.mark.parametrize(
    ("user", "level", "words"),
    [(0, "ok", "3 of at most 1000000"), (998, "ok", "1 of at most 200"), (1_000_000_000, "warn", "199 of at most 200")],
)
def test_a_user_without_keys_left_is_told(tmp_path: Path, user: int, level: str, words: str) -> None:
    (tmp_path / "key-users").write_text(USERS)
    check = examine(user, tmp_path / "key-users")
    assert (check.level, words in check.found) == (level, True), check
    assert "sysctl -w kernel.keys.maxkeys=" in check.mend or user == 0
    assert examine(1, tmp_path / "key-users").ok
    assert examine(0, tmp_path / "nowhere").ok


SESSIONS = """
import ctypes, subprocess, sys
from roommate.sandbox import empty_shared_keyring as keyring
number = keyring._KEYCTL[__import__("platform").machine()]
def session():
    return ctypes.CDLL(None).syscall(number, 0, -3, 0)
before = session()
keyring.leave_behind()
keyring.leave_behind()
child = f"import ctypes; print(ctypes.CDLL(None).syscall({number}, 0, -3, 0))"
print(before, session(), subprocess.run([sys.executable, "-c", child], capture_output=True, text=True).stdout)
"""


def test_what_a_daemon_starts_has_none_of_its_starter_s_keys() -> None:
    done = subprocess.run((sys.executable, "-c", SESSIONS), capture_output=True, text=True, check=True)
    before, after, of_child = done.stdout.split()
    assert after == of_child != before
