"""Files that are replaced whole."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from roommate.host import durable_files


def test_who_replaces_a_file_at_the_same_time_does_no_harm(tmp_path: Path) -> None:
    """A daemon and `roommate doctor`, say."""
    file = tmp_path / "seccomp.json"
    versions = [f"{n}".encode() * 50_000 for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(25):
            list(pool.map(lambda content: durable_files.replace(file, content), versions))
            assert file.read_bytes() in versions
    assert list(tmp_path.iterdir()) == [file]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_what_cannot_be_replaced_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "there" / "full").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        durable_files.replace(tmp_path / "there", b"a file")
    assert [one.name for one in tmp_path.iterdir()] == ["there"]
