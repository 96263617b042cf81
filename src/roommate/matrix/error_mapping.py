"""Where the homeserver's world ends: every way in which a request fails, as one of our errors, in one place."""

from __future__ import annotations

import email.utils
import json
import math
import random
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from roommate.domain import JsonObject
from roommate.errors import MatrixError, Refused, TokenRevoked, Transient
from roommate.matrix.parse import text
from roommate.net import outbound_http

UNSAID_RETRY_SECONDS = 5.0
"""How long to wait after a 429 that does not say: the pace of Synapse's own limit."""

_DEAD_LOGIN = frozenset({"M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED"})
_PASSING = frozenset({"M_RESOURCE_LIMIT_EXCEEDED", "M_USER_LOCKED"})


class NotMatrix(Transient):
    """Without an error code of Matrix it was no homeserver that answered: a proxy, or a wrong address."""


def lost(what: str, error: BaseException) -> MatrixError:
    """The homeserver could not be asked; `error` is one of outgoing.NETWORK_ERRORS, `what` completes "did not …"."""
    if isinstance(error, aiohttp.InvalidURL):
        return Refused(f"the homeserver cannot {what}: its URL is wrong ({error})")
    return Transient(f"the homeserver did not {what}: {outbound_http.why(error)}")


def refusal(what: str, status: int, headers: Mapping[str, str], answer: JsonObject) -> MatrixError:
    """The homeserver, or something before it, answered with an error.

    Codes: https://spec.matrix.org/v1.13/client-server-api/#standard-error-response
    """
    code, message = text(answer.get("errcode")) or "", text(answer.get("error")) or "unknown error"
    said = f"the homeserver did not {what}: {code or status} {message}"
    if code in _DEAD_LOGIN:
        said = f"the homeserver does not take the bot's login any more: {code} {message}"
        return TokenRevoked(said, soft=answer.get("soft_logout") is True)
    if status == 429 or code == "M_LIMIT_EXCEEDED":
        return Transient(said, _retry_after(headers, answer))
    if status == 413:  # proxies limit the size of requests, too, without a word of Matrix
        return Refused(said, code or "M_TOO_LARGE")
    if status >= 500 or code in _PASSING:
        return Transient(said)
    return Refused(said, code) if code else NotMatrix(said)


def _retry_after(headers: Mapping[str, str], answer: JsonObject) -> float:
    """Seconds. The header came with spec v1.10 and may be a date (RFC 9110, 10.2.3); the field is older and finer."""
    given = answer.get("retry_after_ms")
    if isinstance(given, int | float) and math.isfinite(given):
        return given / 1000
    header = headers.get("Retry-After", "")
    if header.isdecimal():
        return float(header)
    try:
        seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
    except (ValueError, OverflowError):
        return UNSAID_RETRY_SECONDS
    return seconds if seconds > 0 else UNSAID_RETRY_SECONDS  # its clock is not ours


def back_off(failures: int, longest: float) -> float:
    """Seconds to wait after that many failures in a row: from half a second, doubled, with jitter."""
    return min(longest, 0.5 * 2.0 ** min(failures - 1, 16)) * random.uniform(0.8, 1.2)  # noqa: S311 — no secret


def sendable(value: Any) -> Any:
    """JSON as a homeserver takes it: half a surrogate pair, which Synapse answers with HTTP 500, is replaced."""
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return value
