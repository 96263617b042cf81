"""The two who say where a daemon is: the settings, and the quick look at them."""

from __future__ import annotations

from pathlib import Path

import pytest

from roommate.host import daemon_location
from roommate.settings import config


@pytest.mark.parametrize(
    "lines",
    [
        "",
        "STATE_DIR=/somewhere",
        "STATE_DIR=~/here\nIPC_BASE_DIR=/run/x",
        "state_dir=lower/relative",
        "STATE_DIR=\nIPC_BASE_DIR=",
        "STATE_DIR='/with space' # and a word on it\nIPC_BASE_DIR=.",
        'export STATE_DIR="/quoted"',
    ],
)
@pytest.mark.parametrize("said", [{}, {"STATE_DIR": "/of/the/environment"}, {"Ipc_Base_Dir": "/e"}, {"STATE_DIR": ""}])
def test_both_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: str, said: dict[str, str]) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("STATE_DIR", "IPC_BASE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    Path(".env").write_text(lines)
    settings = config.load()
    assert (daemon_location.state_dir(), daemon_location.run_dir()) == (settings.state_dir, settings.run_dir)


@pytest.mark.parametrize(
    ("line", "patience"), [("", 1.0), ("PATIENCE=", 1.0), ("PATIENCE=20", 20.0), ("patience=1.5 # slow", 1.5)]
)
def test_both_are_as_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, patience: float) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(line)
    assert (daemon_location.patience(), config.load().patience) == (patience, patience)
