"""One request to a homeserver or to the authorization server of its accounts, and what its refusals mean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import aiohttp

from roommate.domain import JsonObject
from roommate.errors import MatrixError, Refused, TokenRevoked, Transient
from roommate.net import outbound_http
from roommate.net.outbound_http import NETWORK_ERRORS

ANSWER_SECONDS = 30


class NotMatrix(MatrixError):
    """What answers is no homeserver: a wrong address, or something before it."""


async def call(
    url: str,
    method: str,
    path: str = "",
    body: JsonObject | None = None,
    token: str = "",
    *,
    form: Mapping[str, str] | None = None,
    ca: Path | None = None,
) -> JsonObject:
    """Ask `path` at `url`, with a JSON `body` or a `form`; gives the JSON object of the answer, an empty one for none.

    Raises Refused when the answer is no (`errcode` is Matrix's, or OAuth's ``error``), TokenRevoked when the token is
    not taken, Transient when the server is busy or does not answer, NotMatrix for an answer that makes no sense.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            outbound_http.session(more=ca, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as http,
            http.request(
                # What is secret goes where it was meant to go, and nowhere that an answer names.
                method, url + path, json=body, data=form, headers=headers, allow_redirects=not (token or body or form)
            ) as response,
        ):  # fmt: skip
            status = response.status
            leads_to = response.headers.get("Location", "")
            text = await response.read()
    except aiohttp.InvalidURL as error:
        raise NotMatrix(f"{url} is no address of a homeserver") from error
    except NETWORK_ERRORS as error:
        raise Transient(outbound_http.unanswered(url, error)) from error
    if 300 <= status < 400:
        raise NotMatrix(f"{url} leads to {leads_to or 'another address'}: if that is right, set that one")
    answer = _object(text)
    if answer is None and status < 500:
        raise NotMatrix(f"what answers at {url} is no homeserver: it gives no JSON object")
    said = answer or {}
    if status < 300:
        return said
    code = said.get("errcode") or said.get("error") or ""
    words = said.get("error_description") or said.get("error") or f"HTTP {status}"
    told = f"{url} refused {path or 'this'}: {words}"
    if status == 429 or code == "M_LIMIT_EXCEEDED":
        raise Transient(f"{url} asks us to wait: {words}", _milliseconds(said) / 1000)
    if status >= 500 or code == "temporarily_unavailable":
        raise Transient(told)
    if code == "M_UNKNOWN_TOKEN":
        raise TokenRevoked(told, soft=said.get("soft_logout") is True)
    raise Refused(told, str(code))


def _object(text: bytes) -> JsonObject | None:
    if not text:
        return {}
    try:
        answer = json.loads(text)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _milliseconds(answer: JsonObject) -> float:
    given = answer.get("retry_after_ms")
    return float(given) if isinstance(given, int | float) else 1000.0
