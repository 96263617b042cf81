"""What went wrong at a model's provider, in our own words: whether to try again, and the line that a person reads."""

from __future__ import annotations

import email.utils
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass

from roommate.agent.openai_messages import clean
from roommate.domain import JsonObject
from roommate.errors import ModelAuth, ModelBusy, ModelContext, ModelError, ModelRefused

LONGEST = 300
"""Characters of a provider's own message that people see."""

_AGAIN = frozenset({408, 409, 425, 429})
_CONTEXT = re.compile(
    r"context[ _](length|window)|maximum context|prompt is too long|(input|prompt|request) (is )?too (long|large)"
    r"|too many (input )?tokens|input token count.*exceeds|exceeds the (maximum|max|limit).{0,30}tokens"
    r"|reduce the length",
    re.IGNORECASE,
)
_KEY = re.compile(r"(api[ _-]?key|x-api-key|authentication|credentials?)\b", re.IGNORECASE)
_MONEY = re.compile(
    r"insufficient[ _](quota|credit|balance|funds)|billing|credit balance|out of credits", re.IGNORECASE
)
_NO_TOOLS = re.compile(
    r"not support (tools|tool use|tool calling|function)|no endpoints found that support tool"
    r"|tools? (is|are) not supported",
    re.IGNORECASE,
)
_NO_WAY = re.compile(r"cannot connect|connect call failed|name or service|name resolution|certificate", re.IGNORECASE)
_BROKE = re.compile(r"payload|disconnected|reset by peer|closed|broken pipe|lost|read ?error", re.IGNORECASE)
_SECRET = re.compile(
    r"\b(?:sk|pk|rk|gsk|xai|key|AIza|hf|Bearer)[-_ ]?[\w\-.*]{12,}"  # the usual forms of keys
    r"|(?<=key=)[^&\s\"']+"  # in a URL
    r"|(?<![\w-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{28,}",  # anything else that is as long and as mixed as a key
)
_LAYERS = re.compile(
    r"^(?:litellm\.)?(?:[A-Z]\w*(?:Error|Exception|Timeout)|Timeout)\s*[:-]\s*(?:\w*Exception\s*-\s*)?"
)
_NOISE = re.compile(r"https?://\S+|ssl:(?:<[^<>]*>|\S*)|<[^<>]{1,200}>")
_DELAY = re.compile(r"\"?retryDelay\"?\s*:\s*\"?(\d+(?:\.\d+)?)s", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fault:
    """One failed try. ``error`` is for the room when no other try follows, ``why`` the same in few words."""

    error: ModelError
    why: str
    again: bool = False
    """Whether the same request may go better a little later."""
    after: float | None = None
    """Seconds that the provider asked us to wait."""


def fault(error: BaseException, api_key: str = "") -> Fault:
    """What an exception of LiteLLM, of the HTTP client below it or of asyncio means.

    Told by its HTTP status and its text, as each provider puts the same thing into other classes. `api_key` is taken
    out of whatever is shown.
    """
    error = getattr(error, "original_exception", None) or error  # LiteLLM wraps what breaks in mid-stream
    status = _status(error)
    said = provider_message(str(getattr(error, "message", "") or error), api_key)
    after = retry_after(_headers(error), str(error))
    if status is None or (status >= 500 and _NO_WAY.search(said)):
        why = _without_status(said)
        return Fault(ModelBusy(f"The model's provider did not answer ({why})."), why, again=True)
    told = f"{status}: {said}" if said else str(status)
    if (
        type(error).__name__ == "ContextWindowExceededError"
        or status == 413
        or (status in (400, 422) and _CONTEXT.search(said))
    ):
        return Fault(ModelContext(f"The conversation is longer than the model can read ({told})."), told)
    if status in (400, 404, 422, 501) and _NO_TOOLS.search(said):
        line = f"This model cannot call tools, and without them I can do nothing here: choose another one ({told})."
        return Fault(ModelRefused(line), told)
    if status == 402 or _MONEY.search(said):
        return Fault(ModelRefused(f"The provider refuses, it is about money ({told})."), told)
    if status == 401 or (status == 400 and _KEY.search(said)):
        return Fault(ModelAuth("The provider does not take the key: check LLM_API_KEY."), told)
    if status == 403:
        return Fault(ModelAuth(f"The provider does not allow this with our key ({told}): check LLM_API_KEY."), told)
    if status == 404:
        return Fault(ModelRefused(f"The provider does not know this model ({told}): check LLM_MODEL."), told)
    if status in _AGAIN or status >= 500:
        return Fault(ModelBusy(f"The model's provider is busy ({told})."), told, again=True, after=after)
    return Fault(ModelRefused(f"The provider refused the request ({told})."), told)


def _without_status(said: str) -> str:
    """What happened where no HTTP status came."""
    if _NO_WAY.search(said):
        return f"it cannot be reached: {said}"
    return "the connection broke" if _BROKE.search(said) else f"its answer cannot be read: {said}"


def provider_message(text: str, api_key: str = "") -> str:
    """The provider's own sentence out of all that is wrapped around it: one line, no keys, LONGEST characters."""
    if found := _inner_message(text):
        text = found
    while (shorter := _LAYERS.sub("", text)) != text:
        text = shorter
    if len(api_key) > 4:
        text = text.replace(api_key, "…")
    text = clean(" ".join(_NOISE.sub(" ", _SECRET.sub("…", text)).split()))
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def retry_after(headers: Mapping[str, str], text: str = "") -> float | None:
    """Seconds to wait, from Retry-After (RFC 9110: seconds or a date), its millisecond form, or Google's retryDelay."""
    lower = {name.lower(): value for name, value in headers.items()}
    try:
        if milliseconds := lower.get("retry-after-ms"):
            return max(0.0, float(milliseconds) / 1000)
        if seconds := lower.get("retry-after"):
            if re.fullmatch(r"[\d.]+", seconds):
                return float(seconds)
            return max(0.0, email.utils.parsedate_to_datetime(seconds).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None
    match = _DELAY.search(text)
    return float(match[1]) if match else None


def _inner_message(text: str) -> str:
    """The message in the provider's JSON error, where there is one in the text."""
    for start in (place for place, sign in enumerate(text[:1000]) if sign in "{["):
        try:
            found, _ = json.JSONDecoder().raw_decode(text, start)
            message = _message_in(found)
        except (ValueError, RecursionError):
            continue
        if message:
            return message
    return ""


def _message_in(found: object) -> str:
    if isinstance(found, list):
        return next((message for item in found if (message := _message_in(item))), "")
    if not isinstance(found, dict):
        return ""
    parts: JsonObject = found
    inner = parts.get("error", parts.get("message", parts.get("detail")))
    return inner if isinstance(inner, str) else _message_in(inner)


def _status(error: BaseException) -> int | None:
    """The HTTP status; None for what never got one (no connection, a broken stream, silence)."""
    if type(error).__name__ in ("APIConnectionError", "Timeout", "APITimeoutError"):
        return None  # LiteLLM puts 500 and 408 there itself
    status = getattr(error, "status_code", None)
    return int(status) if isinstance(status, int | str) and str(status).isdigit() else None


def _headers(error: BaseException) -> Mapping[str, str]:
    response = getattr(error, "response", None)
    headers = getattr(error, "litellm_response_headers", None) or getattr(response, "headers", None)
    headers = headers or getattr(error, "headers", None) or {}
    return {str(name): str(value) for name, value in headers.items()}
