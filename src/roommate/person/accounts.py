"""Accounts on a homeserver: where it is, is this the password, make a new account, lift its limit on messages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from urllib.parse import quote, urlsplit

import aiohttp

from roommate.errors import MatrixError, Refused, Transient
from roommate.words import Account, JsonObject, UserId

ANSWER_SECONDS = 30
LONGEST_WAIT = 10.0
"""Seconds: a homeserver that wants us to wait longer is not waited for."""


async def call(url: str, method: str, path: str, body: JsonObject | None = None, token: str = "") -> JsonObject:
    """One request to the homeserver at `url`, whatever API `path` is of.

    Raises Refused when it says no, Transient when it is busy or does not answer, MatrixError when what answers is no
    homeserver.
    """
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as http,
            http.request(method, url + path, json=body, headers=headers) as response,
        ):
            status = response.status
            answer = await response.json(content_type=None)
    except ValueError as error:
        raise MatrixError(f"what answers at {url} is no homeserver: {error or type(error).__name__}") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        raise Transient(f"the homeserver at {url} does not answer: {error or type(error).__name__}") from error
    if not isinstance(answer, dict):
        raise MatrixError(f"what answers at {url} is no homeserver: it gives no JSON object")
    if status == 429:
        raise Transient(f"the homeserver asks us to wait: {answer.get('error')}", _milliseconds(answer) / 1000)
    if status != 200:
        raise Refused(f"the homeserver refused {path}: {answer.get('error', status)}", answer.get("errcode", ""))
    return answer


async def find(given: str) -> str:
    """The base URL of the homeserver that people call `given`: a URL, or the name of a server such as example.org.

    By the well-known file of the server, where there is one: https://spec.matrix.org/v1.13/client-server-api/#well-known-uri
    Raises MatrixError when no homeserver is found.
    """
    given = given.strip().rstrip("/")
    named = given if "://" in given else f"https://{given}"
    known = [told] if (told := await _told_by(named)) else []
    candidates = [*known, named] if "://" not in given else [named, *known]
    if "://" not in given and (urlsplit(named).port or urlsplit(named).hostname == "localhost"):
        candidates.append(f"http://{given}")
    problem = MatrixError(f"{given!r} is no address of a homeserver")
    for url in dict.fromkeys(candidates):
        try:
            if (await call(url, "GET", "/_matrix/client/versions")).get("versions"):
                return url
        except MatrixError as error:
            problem = error
    raise problem


async def check(url: str, user: str, password: str) -> UserId:
    """The full id of the account with this password; leaves no login behind. Raises MatrixError."""
    return await _log_out(await _log_in(url, user, password))


async def register_by_secret(url: str, secret: str, user: str, password: str, *, admin: bool = False) -> Account:
    """Make the account with localpart `user`, or log in to it when it exists. Raises MatrixError.

    By Synapse's shared-secret registration:
    https://element-hq.github.io/synapse/latest/admin_api/register_api.html
    """
    path = "/_synapse/admin/v1/register"
    nonce = (await call(url, "GET", path))["nonce"]
    role = "admin" if admin else "notadmin"
    digest = hmac.new(secret.encode(), "\0".join((nonce, user, password, role)).encode(), hashlib.sha1)
    body = {"nonce": nonce, "username": user, "password": password, "admin": admin, "mac": digest.hexdigest()}
    try:
        return _account(url, await call(url, "POST", path, body))
    except Refused as error:
        if error.errcode != "M_USER_IN_USE":
            raise
        return await _log_in(url, user, password)


async def register(url: str, user: str, password: str, secret: str = "") -> UserId:
    """Make the account with localpart `user`, without a login: by the shared `secret`, or else where anybody may.

    An account that is there already is taken with the secret, if the password is its. Raises MatrixError.
    https://spec.matrix.org/v1.13/client-server-api/#post_matrixclientv3register
    """
    if secret:
        return await _log_out(await register_by_secret(url, secret, user, password))
    body = {"username": user, "password": password, "inhibit_login": True, "auth": {"type": "m.login.dummy"}}
    try:
        return UserId((await call(url, "POST", "/_matrix/client/v3/register", body))["user_id"])
    except Refused as error:
        if error.errcode == "M_USER_IN_USE":
            raise Refused(f"there is an account {user} already: its password is needed", error.errcode) from error
        raise Refused(f"{url} lets nobody register by themselves: {error}", error.errcode) from error


async def lift_limit(url: str, admin_token: str, user_id: str) -> None:
    """Let this account send as fast as it likes. Raises MatrixError.

    https://element-hq.github.io/synapse/latest/admin_api/user_admin_api.html#set-ratelimit
    """
    path = f"/_synapse/admin/v1/users/{quote(user_id)}/override_ratelimit"
    await call(url, "POST", path, {"messages_per_second": 0, "burst_count": 0}, admin_token)


async def _log_in(url: str, user: str, password: str) -> Account:
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": password}
    try:
        answer = await call(url, "POST", "/_matrix/client/v3/login", body)
    except Transient as error:
        if error.retry_after is None or error.retry_after > LONGEST_WAIT:
            raise
        await asyncio.sleep(error.retry_after)
        answer = await call(url, "POST", "/_matrix/client/v3/login", body)
    return _account(url, answer)


async def _log_out(account: Account) -> UserId:
    await call(account.homeserver, "POST", "/_matrix/client/v3/logout", {}, account.access_token)
    return account.user_id


async def _told_by(named: str) -> str:
    """What the well-known file says; empty where there is none that helps."""
    try:
        base = (await call(named, "GET", "/.well-known/matrix/client"))["m.homeserver"]["base_url"]
    except (MatrixError, KeyError, TypeError):
        return ""
    return base.rstrip("/") if isinstance(base, str) and base.startswith(("http://", "https://")) else ""


def _account(url: str, answer: JsonObject) -> Account:
    return Account(url, UserId(answer["user_id"]), answer["device_id"], answer["access_token"])


def _milliseconds(answer: JsonObject) -> float:
    given = answer.get("retry_after_ms")
    return float(given) if isinstance(given, int | float) else 1000.0
