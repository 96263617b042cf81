"""Every way in which a homeserver fails is one of our errors."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from roommate.domain import JsonObject
from roommate.errors import MatrixError, Refused, TokenRevoked, Transient
from roommate.matrix.error_mapping import NotMatrix, back_off, lost, refusal, sendable
from roommate.net.outbound_http import NETWORK_ERRORS


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: JsonObject


def answer(status: int, code: str | None = None, retry_after_ms: int | None = None, **headers: str) -> Answer:
    said = {"errcode": code, "retry_after_ms": retry_after_ms}
    body = {"error": "why", **{name: value for name, value in said.items() if value is not None}}
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


@pytest.mark.parametrize("body", [{}, {"errcode": 5, "error": ["why"], "soft_logout": "no", "retry_after_ms": {}}])
@pytest.mark.parametrize("code", [None, "M_FORBIDDEN", "M_LIMIT_EXCEEDED", "M_UNKNOWN_TOKEN", "M_UNKNOWN", "M_IN_2031"])
def test_every_error_that_a_homeserver_can_answer_is_one_of_ours(code: str | None, body: JsonObject) -> None:
    for status in (200, 302, 400, 401, 403, 404, 413, 429, 500, 502, 504):
        error = refusal("send", status, {}, body if code is None else {**body, "errcode": code})
        assert isinstance(error, (Transient, Refused, TokenRevoked))


@pytest.mark.parametrize(
    ("failed", "kind"),
    [
        (answer(401, "M_UNKNOWN_TOKEN"), TokenRevoked),
        (answer(401, "M_MISSING_TOKEN"), TokenRevoked),
        (answer(403, "M_USER_DEACTIVATED"), TokenRevoked),
        (answer(401, "M_USER_LOCKED"), Transient),
        (answer(403, "M_FORBIDDEN"), Refused),
        (answer(413, "M_TOO_LARGE"), Refused),
        (answer(413), Refused),
        (answer(400, "M_BAD_JSON"), Refused),
        (answer(404, "M_NOT_FOUND"), Refused),
        (answer(500, "M_UNKNOWN"), Transient),
        (answer(502), Transient),
        (answer(403), NotMatrix),
        (answer(404), NotMatrix),
        (answer(200), NotMatrix),
        (answer(403, "M_RESOURCE_LIMIT_EXCEEDED"), Transient),
    ],
)
def test_what_an_answer_means(failed: Answer, kind: type[MatrixError]) -> None:
    error = refusal("send", *failed)
    assert type(error) is kind
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("failed", "seconds"),
    [
        (answer(429, "M_LIMIT_EXCEEDED", 4500), 4.5),
        (answer(429, "M_LIMIT_EXCEEDED", Retry_After="7"), 7.0),
        (answer(429, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), 5.0),
        (answer(429), 5.0),
        (answer(400, "M_LIMIT_EXCEEDED", -3), 0.0),
        (answer(429, "M_LIMIT_EXCEEDED", 365 * 86_400_000), 300.0),
        (answer(429, Retry_After="99999999"), 300.0),
        (answer(429, Retry_After="Wed, 21 Oct 2099 07:28:00 GMT"), 300.0),
        (answer(429, "M_LIMIT_EXCEEDED", cast("int", "soon")), 5.0),
        (answer(429, "M_LIMIT_EXCEEDED", cast("int", math.nan)), 5.0),
    ],
)
def test_how_long_to_wait(failed: Answer, seconds: float) -> None:
    error = refusal("send", *failed)
    assert isinstance(error, Transient)
    assert error.retry_after == seconds


@pytest.mark.parametrize("kind", [*NETWORK_ERRORS, asyncio.TimeoutError, ConnectionResetError, UnicodeDecodeError])
def test_every_trouble_of_the_network_is_transient(kind: type[Exception]) -> None:
    error = kind("utf-8", b"", 0, 1, "x") if kind is UnicodeDecodeError else kind()
    assert isinstance(error, NETWORK_ERRORS)
    assert isinstance(lost("sync", error), Transient)


def test_a_wrong_url_is_never_right() -> None:
    assert isinstance(lost("sync", aiohttp.InvalidURL(URL("http:x"))), Refused)


@given(st.integers(1, 10**9), st.floats(1, 100))
def test_back_off_grows_to_a_limit(failures: int, longest: float) -> None:
    assert 0.4 <= back_off(failures, longest) <= longest * 1.2


@given(
    st.recursive(st.text(st.characters(codec=None)), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_whatever_we_send_is_unicode(value: Any) -> None:
    json.dumps(sendable(value), ensure_ascii=False).encode()


def test_what_is_unicode_is_sent_as_it_is() -> None:
    content = {"body": "😀", "n": [1, None]}
    assert sendable(content) is content
    assert sendable("\ud83d\ude00") == "😀"
