"""Log lines on stderr: for people, or as JSON, one object a line. What people write is never in them."""

from __future__ import annotations

import json
import logging
import time

from roommate.config import Settings

NOISY = ("nio", "aiohttp", "urllib3", "podman", "LiteLLM", "httpx", "asyncio", "watchfiles")


def configure(settings: Settings) -> None:
    """Set the process's logging up as LOG_LEVEL and LOG_FORMAT say."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if settings.log_format == "json" else _Human())
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.ERROR)


class _Human(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{record.msecs:03.0f}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
