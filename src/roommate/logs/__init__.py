"""Log lines, for people or as JSON, on stderr and in a file: with the room and the turn that they are about, and
without secrets. What people write is never in them."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable
from contextvars import ContextVar, Token
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from roommate.host import folder_modes
from roommate.logs.redaction import Redaction
from roommate.settings.config import Settings

NOISY = ("nio", "aiohttp", "urllib3", "podman", "LiteLLM", "httpx", "asyncio")
FILE = Path("logs") / "roommate.log"
"""Below STATE_DIR."""

AT_ONCE, SECONDS = 20, 30.0
"""Lines of one kind that a room may cause at once, and then one in so many seconds: the rest is counted."""
LONGEST = 2000
"""Characters of what a line about a room says; a trace is not counted."""
_KINDS = 10_000
"""Of rooms and lines, that are remembered."""

_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
_ABOUT: ContextVar[dict[str, str | int]] = ContextVar("about")
_NOTHING: dict[str, str | int] = {}
NOT_SENT_INTO = "not_sent_into"
"""What a record has besides, as `extra`, that says that something could not be sent: the room. Nothing said there would
tell of it."""


class about:  # noqa: N801 — reads as a word: `with about(room=…):`
    """From here on lines are about this room, turn or request: to the end of the block; without `with`, of the task.

    Tasks that are started meanwhile inherit it. None is no longer about any.
    """

    def __init__(self, **ids: str | int | None) -> None:
        known = {**_ABOUT.get(_NOTHING), **ids}
        self._token: Token[Any] = _ABOUT.set({key: value for key, value in known.items() if value is not None})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _ABOUT.reset(self._token)


def ids() -> dict[str, str | int]:
    """What lines are about here."""
    return _ABOUT.get(_NOTHING)


def said(record: logging.LogRecord, redact: Callable[[str], str] = str) -> str:
    """What a line says, and what it is about, for people: ``!room turn 12: it failed``. One line, whatever is in it."""
    about = " ".join(str(value) if key == "room" else f"{key} {value}" for key, value in ids().items())
    message = _message(record, redact)
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], f"{about}: {message}" if about else message)


def _message(record: logging.LogRecord, redact: Callable[[str], str]) -> str:
    message = record.getMessage()
    if len(message) > LONGEST and "room" in ids():
        message = redact(message)  # first: a secret that is cut is known no more
        cut = len(message) - LONGEST
        message = f"{message[:LONGEST]}… ({cut:,} characters more)" if cut > 0 else message
    more = getattr(record, _Throttle.MORE, 0)
    return f"{message} (and {more:,} more like it)" if more > 0 else message


class _Throttle(logging.Filter):
    """Keeps a room from filling the log: where it causes the same kind of line again and again, most are counted only.

    One for all handlers, which must agree. What is no room's is always written, and so are DEBUG lines.
    """

    MORE = "roommate_more"
    """Of a record: how many like it were left out before it; -1 where it is left out itself."""

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[str | int, str, int], tuple[float, float, int]] = {}
        """Lines that it has to spare, when that was, and how many were left out since."""

    def filter(self, record: logging.LogRecord) -> bool:
        more = getattr(record, self.MORE, None)
        if more is None:
            more = self._more(record)
            setattr(record, self.MORE, more)
        return more >= 0

    def _more(self, record: logging.LogRecord) -> int:
        room = ids().get("room")
        if room is None or record.levelno <= logging.DEBUG:
            return 0
        kind, now = (room, record.pathname, record.lineno), time.monotonic()
        spare, at, left_out = self._kinds.pop(kind, (AT_ONCE, now, 0))
        spare = min(AT_ONCE, spare + (now - at) / SECONDS)
        if spare < 1:
            self._kinds[kind] = spare, now, left_out + 1
            return -1
        self._kinds[kind] = spare - 1, now, 0
        if len(self._kinds) > _KINDS:
            del self._kinds[next(iter(self._kinds))]
        return left_out


class Logs:
    """The process's logging, as the settings want it: on stderr from the start, in a file from `keep` on."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        fields = (getattr(settings, name) for name in Settings.model_fields)
        self.redact = Redaction(value.get_secret_value() for value in fields if isinstance(value, SecretStr))
        self._format = (_Json if settings.log_format == "json" else _Human)(self.redact)
        logging.raiseExceptions = False  # a log that cannot be written is no reason to write more
        logging.basicConfig(level=settings.log_level, handlers=[], force=True)
        self._throttle = _Throttle()
        self._stderr = logging.StreamHandler()
        self._add(self._stderr)
        self.newest = Newest(self.redact)
        logging.getLogger().addHandler(self.newest)
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.ERROR)

    def _add(self, handler: logging.Handler) -> None:
        handler.addFilter(self._throttle)
        handler.setFormatter(self._format)
        logging.getLogger().addHandler(handler)

    def keep(self) -> None:
        """Write to the file in the state folder as well, which must be ours by now."""
        if self._settings.log_file_mb:
            file = self._settings.state_dir / FILE
            if file.exists() and os.path.samestat(file.stat(), os.fstat(2)):
                logging.getLogger().removeHandler(self._stderr)  # it is stderr, as `roommate start` has it
            self._add(_File(file, self._settings.log_file_mb << 20, self._settings.log_files))


class Newest(logging.Handler):
    """Remembers the newest error, and how many there were."""

    def __init__(self, redact: Redaction) -> None:
        super().__init__(logging.ERROR)
        self._redact = redact
        self.error: tuple[float, str] | None = None
        """When it was, as seconds since 1970, and what it says."""
        self.count = 0
        """Of errors so far."""

    def emit(self, record: logging.LogRecord) -> None:
        self.error = record.created, self._redact(record.getMessage())
        self.count += 1


class _File(RotatingFileHandler):
    """Rotates: ``roommate.log`` is the newest, ``roommate.log.1`` the one before. A full disk costs the lines."""

    def __init__(self, file: Path, most_bytes: int, files: int) -> None:
        super().__init__(file, maxBytes=most_bytes, backupCount=files - 1, encoding="utf-8", delay=True)

    def _open(self) -> TextIOWrapper:
        file = Path(self.baseFilename)
        folder_modes.private(file.parent)
        descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


class _Human(logging.Formatter):
    def __init__(self, redact: Redaction) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 — logging's name
        record.message = said(record, self._redact)
        return super().formatMessage(record)


class _Json(logging.Formatter):
    def __init__(self, redact: Redaction) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, str | int] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **ids(),
            "message": self._redact(_message(record, self._redact)),
        }
        if record.exc_info:
            line["trace"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)
