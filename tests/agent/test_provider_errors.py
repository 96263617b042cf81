"""Each way in which a provider can fail becomes one plain line of ours, and no key is in it."""

from __future__ import annotations

import email.utils
import inspect
import json
import time
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.agent import litellm_client
from roommate.agent.provider_errors import LONGEST, fault, provider_message, retry_after
from roommate.errors import ModelAuth, ModelBusy, ModelContext, ModelError, ModelRefused


class Foreign(Exception):
    """An exception as the HTTP libraries and LiteLLM make them."""

    def __init__(self, message: str, status_code: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        if status_code is not None:
            self.status_code = status_code


@pytest.mark.parametrize(
    ("status", "message", "kind", "again"),
    [
        (401, "Incorrect API key provided", ModelAuth, False),
        (403, "Country not supported", ModelAuth, False),
        (400, "API key not valid. Please pass a valid API key.", ModelAuth, False),
        (400, "This model's maximum context length is 8192 tokens.", ModelContext, False),
        (400, "prompt is too long: 210000 tokens > 200000 maximum", ModelContext, False),
        (400, "The input token count (1200000) exceeds the maximum number of tokens allowed", ModelContext, False),
        (413, "Request too large", ModelContext, False),
        (400, "Invalid value for 'temperature'", ModelRefused, False),
        (402, "Payment required", ModelRefused, False),
        (404, "The model `gpt-9` does not exist", ModelRefused, False),
        (422, "Unprocessable", ModelRefused, False),
        (429, "You exceeded your current quota, please check your plan and billing details.", ModelRefused, False),
        (429, "Rate limit reached", ModelBusy, True),
        (408, "Timeout", ModelBusy, True),
        (500, "Internal error", ModelBusy, True),
        (502, "Bad gateway", ModelBusy, True),
        (503, "Overloaded", ModelBusy, True),
        (529, "Overloaded", ModelBusy, True),
        (None, "Server disconnected", ModelBusy, True),
        (None, "Cannot connect to host localhost:1 ssl:default [Connect call failed]", ModelBusy, True),
    ],
)
def test_a_status_and_a_text_say_what_happened(
    status: int | None, message: str, kind: type[ModelError], again: bool
) -> None:
    found = fault(Foreign(message, status))
    assert type(found.error) is kind
    assert found.again is again
    assert "\n" not in str(found.error)


@pytest.mark.slow
async def test_every_exception_of_litellm_has_a_meaning() -> None:
    litellm = litellm_client.import_litellm()
    request = httpx.Request("POST", "http://localhost/")
    known: dict[str, Any] = {"request": request, "response": httpx.Response(422, request=request), "status_code": 500}
    for kind in litellm.exceptions.LITELLM_EXCEPTION_TYPES:
        wanted = [name for name, one in inspect.signature(kind).parameters.items() if one.default is one.empty]
        given = {name: known.get(name, "x") for name in wanted if name not in ("args", "kwargs")}
        found = fault(kind(**given))
        assert isinstance(found.error, ModelError), kind
        assert found.again == isinstance(found.error, ModelBusy), kind
    wrapped = litellm.exceptions.MidStreamFallbackError(
        message="x", model="m", llm_provider="p", original_exception=Foreign("Overloaded", 503)
    )
    assert fault(wrapped).why == "503: Overloaded"


@pytest.mark.parametrize(
    "wrapped",
    [
        "litellm.RateLimitError: RateLimitError: OpenAIException - Try later",
        'litellm.BadRequestError: GeminiException - {"error": {"code": 400, "message": "Try later", "status": "X"}}',
        '[{"error": {"message": "Try later"}}]',
        '{"error": "Try later"}',
        '{"detail": "Try later"}',
        "<html><body><h1>Try later</h1></body></html>",
        "Try later\n\n  https://docs.example.org/errors",
    ],
)
def test_the_providers_own_sentence_is_found(wrapped: str) -> None:
    assert provider_message(wrapped) == "Try later"


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-abcdefghijklmnopqrstuvwxyz",
        "sk-ant-api03-Ab1_Cd2-Ef3",
        "AIzaSyD-1234567890abcdefghijklmnopq",
        "gsk_1234567890abcdefghijklmnop",
        "Bearer abcdefghijklmnop123",
        "0123456789abcdef0123456789abcdef",
        "my odd key",
    ],
)
def test_no_key_is_shown(key: str) -> None:
    for text in (f"Incorrect API key provided: {key}.", f"https://host/v1?key={key}", json.dumps({"error": key})):
        shown = provider_message(text, api_key="my odd key")
        assert key not in shown
        assert key.removeprefix("Bearer ") not in shown


@given(st.text(max_size=2000))
def test_a_message_is_one_short_line(text: str) -> None:
    shown = provider_message(text)
    assert len(shown) <= LONGEST
    assert len(shown.splitlines()) <= 1


def test_a_long_message_is_looked_at_once() -> None:
    began = time.thread_time()
    assert len(provider_message("no-digit-" * 3_000)) <= LONGEST
    assert time.thread_time() - began < 0.5


def test_retry_after_is_seconds_milliseconds_a_date_or_googles_delay() -> None:
    assert retry_after({"Retry-After": "2.5"}) == 2.5
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    date = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (retry_after({"Retry-After": date}) or 0) <= 100
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}, '{"retryDelay": "37s"}') == 37
    assert retry_after({}) is None


@pytest.mark.parametrize(
    "said",
    [
        '{"error": ' + "[" * 600 + "]" * 600 + "}",
        '{"error": ' * 900 + "1" + "}" * 900,
        '{"error": {"message": "slow down", "details": [{"retryDelay": "1.2.3s"}]}}',
    ],
)
def test_a_refusal_of_any_form_is_a_fault(said: str) -> None:
    assert fault(Foreign(said, 429)).again


@pytest.mark.parametrize(
    "when", ["Mon, 01 Jan 2024 00:00:00 +99999999999999", "1.2.3", "Mon, 01 Jan 0001 00:00:00 -0000"]
)
def test_a_time_that_cannot_be_is_none(when: str) -> None:
    assert not retry_after({"Retry-After": when})


@pytest.mark.parametrize("said", ['{"error": {"message": "not this: \\ud83d"}}', "Not F\udcf6und"])
def test_a_refusal_of_any_text_can_be_stored(said: str) -> None:
    """Half an emoji, and a reason that is no UTF-8, as aiohttp gives it: the turn's last answer has it."""
    found = fault(Foreign(said, 400))
    assert f"{found.error}{found.why}".encode()
