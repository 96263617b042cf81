"""The file `.env` as people keep it: settings are written into it, and everything else in it stays as it is."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from roommate.errors import ConfigError

_PLAIN = re.compile(r"[\w@%+=:,./~!*?^&;()<>|-]+", re.ASCII)
_VALUE = r"""(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[^\n]*?(?=[^\S\n]+#|[^\S\n]*$))"""


def write(path: Path, settings: Mapping[str, str], *, header: str = "") -> None:
    """Set these settings in the file, by name, for its owner alone to read (0600); a new one begins with `header`.

    The file is replaced at one go, or stays as it was. Raises ConfigError where a value cannot be written in a line, or
    the folder cannot be written.
    """
    try:
        text = path.read_text() if path.exists() else header
        for name, value in settings.items():
            text = with_setting(text, name, value)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".env-", delete=False) as file:  # 0600
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).replace(path.resolve())
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def with_setting(text: str, name: str, value: str) -> str:
    """The text of the file, with the value in the last line that sets it, behind a commented one, or at the end."""
    line = f"{name}={_quoted(name, value)}"
    if found := list(re.finditer(rf"^(export[^\S\n]+|){name}[^\S\n]*=[^\S\n]*{_VALUE}", text, re.M | re.S)):
        return text[: found[-1].end(1)] + line + text[found[-1].end() :]
    if commented := re.search(rf"^#[^\S\n]*{name}=[^\n]*\n?", text, re.M):
        before = text[: commented.end()]
        return f"{_ended(before)}{line}\n{text[commented.end() :]}"
    return f"{_ended(text)}{line}\n"


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _quoted(name: str, value: str) -> str:
    if "\n" in value or "\r" in value or "\0" in value:
        raise ConfigError(f"{name} has more than one line, which does not fit into .env")
    if _PLAIN.fullmatch(value):
        return value
    # "${NAME}" would be replaced, also within quotes: "${:-$}" is a variable without a name, whose default is "$".
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("${", "${:-$}{")
    return f"'{escaped}'"
