"""Accounts on a homeserver: where it is, is this the password, make a new account, lift its limit on messages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from pathlib import Path
from urllib.parse import quote, urlsplit

from roommate.domain import Account, JsonObject, UserId
from roommate.errors import MatrixError, Refused, Transient
from roommate.matrix_login import call, password_and_token

LONGEST_WAIT = 10.0
"""Seconds: a homeserver that wants us to wait longer is not waited for."""


async def find(given: str, *, ca: Path | None = None) -> str:
    """The base URL of the homeserver that people call `given`: a URL, or the name of a server such as example.org.

    By the well-known file of the server, where there is one: https://spec.matrix.org/v1.13/client-server-api/#well-known-uri
    Raises MatrixError when no homeserver is found.
    """
    given = given.strip().rstrip("/")
    named = given if "://" in given else f"https://{given}"
    known = [told] if (told := await _told_by(named, ca)) else []
    candidates = [*known, named] if "://" not in given else [named, *known]
    if "://" not in given and (urlsplit(named).port or urlsplit(named).hostname == "localhost"):
        candidates.append(f"http://{given}")
    problem = MatrixError(f"{given!r} is no address of a homeserver")
    for url in dict.fromkeys(candidates):
        try:
            if (await call(url, "GET", "/_matrix/client/versions", ca=ca)).get("versions"):
                return url
        except MatrixError as error:
            problem = error
    raise problem


async def check(url: str, user: str, password: str, *, ca: Path | None = None) -> UserId:
    """The full id of the account with this password; leaves no login behind. Raises MatrixError."""
    return await _log_out(await _log_in(url, user, password, ca), ca)


async def register_by_secret(
    url: str, secret: str, user: str, password: str, *, admin: bool = False, ca: Path | None = None
) -> Account:
    """Make the account with localpart `user`, or log in to it when it exists. Raises MatrixError.

    By Synapse's shared-secret registration:
    https://element-hq.github.io/synapse/latest/admin_api/register_api.html
    """
    path = "/_synapse/admin/v1/register"
    nonce = (await call(url, "GET", path, ca=ca))["nonce"]
    role = "admin" if admin else "notadmin"
    digest = hmac.new(secret.encode(), "\0".join((nonce, user, password, role)).encode(), hashlib.sha1)
    body = {"nonce": nonce, "username": user, "password": password, "admin": admin, "mac": digest.hexdigest()}
    try:
        return _account(url, await call(url, "POST", path, body, ca=ca))
    except Refused as error:
        if error.errcode != "M_USER_IN_USE":
            raise
        return await _log_in(url, user, password, ca)


async def register(url: str, user: str, password: str, secret: str = "", *, ca: Path | None = None) -> UserId:
    """Make the account with localpart `user`, without a login: by the shared `secret`, or else where anybody may.

    An account that is there already is taken with the secret, if the password is its. Raises MatrixError.
    https://spec.matrix.org/v1.13/client-server-api/#post_matrixclientv3register
    """
    if secret:
        return await _log_out(await register_by_secret(url, secret, user, password, ca=ca), ca)
    body = {"username": user, "password": password, "inhibit_login": True, "auth": {"type": "m.login.dummy"}}
    try:
        return UserId((await call(url, "POST", "/_matrix/client/v3/register", body, ca=ca))["user_id"])
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


async def _log_in(url: str, user: str, password: str, ca: Path | None) -> Account:
    try:
        return await password_and_token.by_password(url, user, password, ca=ca)
    except Transient as error:
        if error.retry_after is None or error.retry_after > LONGEST_WAIT:
            raise
        await asyncio.sleep(error.retry_after)
        return await password_and_token.by_password(url, user, password, ca=ca)


async def _log_out(account: Account, ca: Path | None) -> UserId:
    await password_and_token.log_out(account, ca=ca)
    return account.user_id


async def _told_by(named: str, ca: Path | None) -> str:
    """What the well-known file says; empty where there is none that helps."""
    try:
        base = (await call(named, "GET", "/.well-known/matrix/client", ca=ca))["m.homeserver"]["base_url"]
    except (MatrixError, KeyError, TypeError):
        return ""
    return base.rstrip("/") if isinstance(base, str) and base.startswith(("http://", "https://")) else ""


def _account(url: str, answer: JsonObject) -> Account:
    return Account(url, UserId(answer["user_id"]), answer["device_id"], answer["access_token"])
