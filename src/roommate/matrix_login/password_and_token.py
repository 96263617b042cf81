"""The ways into an account that Matrix itself has: a password, a login token, a token that is there already."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from roommate.domain import Account, JsonObject, UserId
from roommate.errors import MatrixError, Refused, TokenRevoked
from roommate.matrix_login.http_request import NotMatrix, call

DEVICE_NAME = "Roommate"
CLIENT_API = "/_matrix/client/v3"


@dataclass(frozen=True, slots=True)
class Offer:
    """What a homeserver takes at ``/login``."""

    password: bool
    sso: bool
    """A browser gets a login token there."""


async def offered(url: str, *, ca: Path | None = None) -> Offer:
    """https://spec.matrix.org/v1.15/client-server-api/#get_matrixclientv3login — raises MatrixError."""
    try:
        flows = (await call(url, "GET", f"{CLIENT_API}/login", ca=ca)).get("flows")
    except (Refused, NotMatrix):  # accounts that live elsewhere altogether
        flows = None
    types = {flow.get("type") for flow in flows if isinstance(flow, dict)} if isinstance(flows, list) else set()
    return Offer("m.login.password" in types, "m.login.sso" in types)


async def by_password(
    url: str, user: str, password: str, *, device_id: str = "", name: str = DEVICE_NAME, ca: Path | None = None
) -> Account:
    """A login of `user`, an id or its localpart; on a new device, or on the one that it had. Raises MatrixError.

    A token that never ends is the best that a daemon can have. Where the homeserver lets it end, it is had anew on the
    same device, which ends the first one, with a token to renew it by.
    """
    how: JsonObject = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": user},
        "password": password,
        "initial_device_display_name": name,
    }
    account = await _log_in(url, how | ({"device_id": device_id} if device_id else {}), ca)
    if account.expires_at is None or account.refresh_token:
        return account
    return await _log_in(url, how | {"device_id": account.device_id, "refresh_token": True}, ca)


async def by_login_token(url: str, token: str, *, ca: Path | None = None) -> Account:
    """A new device, by a token that is good once and for minutes: https://spec.matrix.org/v1.15/client-server-api/#token-based

    Nobody can log in so again by themselves: it is asked for a token to renew it by at once. Raises MatrixError.
    """
    how = {"type": "m.login.token", "token": token, "initial_device_display_name": DEVICE_NAME, "refresh_token": True}
    return replace(await _log_in(url, how, ca), way="login token")


async def given(url: str, token: str, *, ca: Path | None = None) -> Account:
    """The login that an access token is of. Raises MatrixError, TokenRevoked when it is none."""
    answer = await call(url, "GET", f"{CLIENT_API}/account/whoami", token=token, ca=ca)
    if not isinstance(user := answer.get("user_id"), str):
        raise NotMatrix(f"{url} does not say whose the token is")
    device = answer.get("device_id")
    return Account(url, UserId(user), device if isinstance(device, str) else "", token, "MATRIX_ACCESS_TOKEN")


async def log_out(account: Account, *, ca: Path | None = None) -> None:
    """End a login, and with it its device. One that has ended is fine. Raises MatrixError."""
    try:
        await call(account.homeserver, "POST", f"{CLIENT_API}/logout", {}, account.access_token, ca=ca)
    except TokenRevoked as error:
        if error.soft:
            raise


async def renewed(account: Account, *, ca: Path | None = None) -> Account:
    """The same login with the next tokens. Raises MatrixError, Refused when the refresh token is dead.

    The old refresh token is good until one of the new tokens was used:
    https://spec.matrix.org/v1.15/client-server-api/#post_matrixclientv3refresh
    """
    body = {"refresh_token": account.refresh_token}
    answer = await call(account.homeserver, "POST", f"{CLIENT_API}/refresh", body, ca=ca)
    return with_tokens(account, answer, _seconds(answer.get("expires_in_ms"), 1000))


def with_tokens(account: Account, answer: JsonObject, seconds: float | None) -> Account:
    """An answer may leave out the refresh token: then the old one stays good."""
    token, refresh = answer.get("access_token"), answer.get("refresh_token")
    if not isinstance(token, str) or not token:
        raise MatrixError("there is no access_token in the answer")
    return replace(
        account,
        access_token=token,
        refresh_token=refresh if isinstance(refresh, str) and refresh else account.refresh_token,
        expires_at=None if seconds is None else time.time() + seconds,
    )


async def _log_in(url: str, how: JsonObject, ca: Path | None) -> Account:
    answer = await call(url, "POST", f"{CLIENT_API}/login", how, ca=ca)
    user, device = answer.get("user_id"), answer.get("device_id")
    if not isinstance(user, str) or not isinstance(device, str):
        raise NotMatrix(f"what answers at {url} is no homeserver: it logs somebody in, and does not say whom")
    return with_tokens(Account(url, UserId(user), device, ""), answer, _seconds(answer.get("expires_in_ms"), 1000))


def _seconds(given: object, to_the_second: float = 1) -> float | None:
    return float(given) / to_the_second if isinstance(given, int | float) else None
