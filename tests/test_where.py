"""The two who say where a daemon is: the settings, and the quick look at them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from roommate.host import daemon_location
from roommate.settings import config
from tests.harness import no_settings


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
        "  'STATE_DIR' = /a/quoted/name",
        "#STATE_DIR=/commented\n  # IPC_BASE_DIR=/out",
        "LLM_MODEL='rehearsal' # STATE_DIR=/no\nOTHER='one\nSTATE_DIR=/in/a/value\n'",
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


def test_who_asks_how_it_is_loads_nothing_for_a_file_that_does_not_say_where(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(config.example() + "MATRIX_USER=@bot:example.org\n")
    look = (
        "import sys; from roommate.cli import status; from roommate.host import daemon_location; "
        "daemon_location.run_dir(); "
        "print(sorted({'dotenv', 'logging', 'pydantic', 'typer', 'typing', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], cwd=tmp_path, env=no_settings(), capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("line", "patience"), [("", 1.0), ("PATIENCE=", 1.0), ("PATIENCE=20", 20.0), ("patience=1.5 # slow", 1.5)]
)
def test_both_are_as_patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, patience: float) -> None:
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text(line)
    assert (daemon_location.patience(), config.load().patience) == (patience, patience)
