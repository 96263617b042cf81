"""The file `.env` as people keep it: settings are written into it, and everything else in it stays as it is; and which
of its lines nobody reads."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from dotenv.parser import parse_stream

from roommate.errors import ConfigError
from roommate.host import durable_files
from roommate.settings.config import Settings

OF_OTHERS = frozenset(
    {"MATRIX_ADMIN_PASSWORD"}  # of scripts/setup-synapse.sh
    | {"ALL_PROXY"}
    | {"SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}
    | {"TZ", "LANG", "LC_ALL", "PATH", "HOME"}
)
"""Names that may stand in the file although they are no settings: other programs read it, too."""

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
        durable_files.replace(path.resolve(), text.encode(), lasting=True)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from error


def said(path: Path) -> frozenset[str]:
    """Names of the settings that the file gives a value; none where there is no file."""
    if not path.is_file():
        return frozenset()
    with path.open(encoding="utf-8", errors="replace") as file:
        return frozenset(line.key.upper() for line in parse_stream(file) if line.key and line.value)


def with_setting(text: str, name: str, value: str) -> str:
    """The text of the file, with the value in the last line that sets it, behind a commented one, or at the end."""
    line = f"{name}={_quoted(name, value)}"
    if found := list(re.finditer(rf"^(export[^\S\n]+|){name}[^\S\n]*=[^\S\n]*{_VALUE}", text, re.M | re.S)):
        return text[: found[-1].end(1)] + line + text[found[-1].end() :]
    if commented := re.search(rf"^#[^\S\n]*{name}=[^\n]*\n?", text, re.M):
        before = text[: commented.end()]
        return f"{_ended(before)}{line}\n{text[commented.end() :]}"
    return f"{_ended(text)}{line}\n"


def doubts(path: Path) -> Iterator[str]:
    """Lines of the file that nobody reads, in words: names that are no settings, each with what may be meant; names
    that stand there twice; what is no line of such a file at all. Nothing where there is no file."""
    known, seen = {name.upper() for name in Settings.model_fields}, set[str]()
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in parse_stream(file):
            name = (line.key or "").upper()
            if line.error:
                yield f"line {line.original.line} of {path} cannot be read: it must be NAME=VALUE"
            elif name in known:
                if line.value is None:
                    yield f"{name}: there is no = behind it in {path}"
                elif name in seen:
                    yield f"{name}: it stands in {path} more than once, and the last one counts"
                seen.add(name)
            elif name and name not in OF_OTHERS:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
                yield f"{name}: it is no setting{f', {near[0]} is' if near else ''} (in {path})"


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
