"""Where the daemon of this folder is found, who asks from where, and how slow this host is: read without the time that
all settings take."""

from __future__ import annotations

import os
from pathlib import Path

STATE_DIR = "~/.local/state/roommate"


def state_dir(env_file: Path = Path(".env")) -> Path:
    """As `config.Settings.state_dir`."""
    return _path(_said("state_dir", env_file) or STATE_DIR)


def run_dir(env_file: Path = Path(".env")) -> Path:
    """As `config.Settings.run_dir`."""
    said = _said("ipc_base_dir", env_file)
    return _path(said) if Path(said) != Path() else state_dir(env_file) / "ipc"


def patience(env_file: Path = Path(".env")) -> float:
    """As `config.Settings.patience`; what is no number counts for nothing here."""
    try:
        return max(1.0, float(_said("patience", env_file)))
    except ValueError:
        return 1.0


def stands() -> Path:
    """The folder that whoever typed a command stands in: the command of an install folder goes there first, for its
    settings, and says where it came from."""
    return Path(os.environ.get("ROOMMATE_FROM") or Path.cwd())


def _path(text: str) -> Path:
    # A home that nobody has stays as it is written, and no daemon is found there.
    return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111


def _said(name: str, env_file: Path) -> str:
    for key, value in os.environ.items():
        if key.lower() == name:
            return value
    try:
        text = env_file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # none, or another user's: the daemon's own start says what is wrong with it
        return ""
    if not any(name in line.lower() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return ""  # as in most of them: reading it properly takes as long as a Python's start
    from io import StringIO

    from dotenv import dotenv_values

    return next((value or "" for key, value in dotenv_values(stream=StringIO(text)).items() if key.lower() == name), "")
