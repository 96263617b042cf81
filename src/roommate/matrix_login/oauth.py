"""OAuth 2.0, for homeservers whose accounts live in an authorization server: a person lets the bot in, in a browser.

Matrix's API: https://spec.matrix.org/v1.15/client-server-api/#oauth-20-api — the grant for devices without a browser is
RFC 8628, registration RFC 7591, revocation RFC 7009.
"""

from __future__ import annotations

import asyncio
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from roommate.domain import Account, JsonObject, UserId
from roommate.errors import MatrixError, Refused, Transient
from roommate.matrix_login import password_and_token
from roommate.matrix_login.http_request import NotMatrix, call

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
STABLE, UNSTABLE = "urn:matrix:client", "urn:matrix:org.matrix.msc2967.client"
"""Of a scope's names: as the specification has them since 1.15, and before."""
PLACES = {
    "/_matrix/client/v1/auth_metadata": STABLE,
    "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata": UNSTABLE,
}
INTERVAL_SECONDS = 5.0
SLOWER_SECONDS = 5.0
LONGEST_INTERVAL = 60.0
GRANT_SECONDS = 1800.0


@dataclass(frozen=True, slots=True)
class Server:
    """The authorization server of a homeserver; an address that it does not name is empty."""

    homeserver: str
    issuer: str
    scopes: str
    token: str
    registration: str
    device_authorization: str
    revocation: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person is shown, and what is asked for meanwhile."""

    device_code: str
    user_code: str
    address: str
    """Where people type the code."""
    whole_address: str
    """The same with the code in it; may be empty."""
    interval: float
    until: float
    """As time.monotonic() has it."""


async def server_of(homeserver: str, *, ca: Path | None = None) -> Server | None:
    """None where the accounts are the homeserver's own. Raises MatrixError."""
    for place, scopes in PLACES.items():
        try:
            said = await call(homeserver, "GET", place, ca=ca)
        except (Refused, NotMatrix):
            continue
        server = Server(
            homeserver,
            _text(said, "issuer"),
            scopes,
            token=_address(homeserver, said, "token"),
            registration=_address(homeserver, said, "registration"),
            device_authorization=_address(homeserver, said, "device_authorization"),
            revocation=_address(homeserver, said, "revocation"),
        )
        if server.token:
            return server
    return None


async def log_in(server: Server, show: Callable[[Grant], None], *, ca: Path | None = None) -> Account:
    """A new device, when somebody has let it in. `show` is called with what they need for it.

    Raises Refused when they do not, or not in time; MatrixError.
    """
    if not server.registration or not server.device_authorization:
        raise Refused(f"{server.issuer} has no way to log in for programs without a browser (RFC 8628)")
    client_id = await _register(server, ca)
    grant = await _begin(server, client_id, ca)
    show(grant)
    answer = await _until_let_in(server, client_id, grant, ca)
    nobody = Account(server.homeserver, UserId(""), "", "", "OAuth", client_id=client_id)
    fresh = password_and_token.with_tokens(nobody, answer, _lifetime(answer))
    whose = await password_and_token.given(server.homeserver, fresh.access_token, ca=ca)
    return replace(fresh, user_id=whose.user_id, device_id=whose.device_id)


async def renewed(account: Account, *, ca: Path | None = None) -> Account:
    """The same login with the next tokens. Raises MatrixError, Refused when the refresh token is dead.

    As with Matrix's own, the Matrix Authentication Service takes the old one until one of the new tokens was used.
    """
    server = await _asked(account, ca)
    form = {"grant_type": "refresh_token", "refresh_token": account.refresh_token, "client_id": account.client_id}
    answer = await call(server.token, "POST", form=form, ca=ca)
    return password_and_token.with_tokens(account, answer, _lifetime(answer))


async def revoke(account: Account, *, ca: Path | None = None) -> None:
    """End a login, and with it its device. One that has ended is fine. Raises MatrixError."""
    server = await _asked(account, ca)
    token, kind = account.refresh_token or account.access_token, "refresh" if account.refresh_token else "access"
    form = {"token": token, "token_type_hint": f"{kind}_token", "client_id": account.client_id}
    if not server.revocation:
        raise Refused(f"{server.issuer} has no way to end a login: do it in its own pages")
    await call(server.revocation, "POST", form=form, ca=ca)


async def _asked(account: Account, ca: Path | None) -> Server:
    if (server := await server_of(account.homeserver, ca=ca)) is None:
        raise Transient(f"{account.homeserver} does not say where its accounts live")
    return server


async def _register(server: Server, ca: Path | None) -> str:
    """Our name there. Servers give the same one again for the same answers."""
    about = {
        "client_name": password_and_token.DEVICE_NAME,
        # Whose program this is: every Roommate is its operator's own, beside their homeserver.
        "client_uri": f"https://{urlsplit(server.homeserver).hostname}/",
        "application_type": "native",
        "token_endpoint_auth_method": "none",
        "grant_types": [DEVICE_CODE, "refresh_token"],
        "response_types": [],
    }
    answer = await call(server.registration, "POST", body=about, ca=ca)
    if not (client_id := _text(answer, "client_id")):
        raise MatrixError(f"{server.issuer} registers us without a client_id")
    return client_id


async def _begin(server: Server, client_id: str, ca: Path | None) -> Grant:
    device = "".join(secrets.choice(string.ascii_uppercase) for _ in range(10))

    async def asked(names: str) -> JsonObject:
        form = {"client_id": client_id, "scope": f"{names}:api:* {names}:device:{device}"}
        return await call(server.device_authorization, "POST", form=form, ca=ca)

    try:
        answer = await asked(server.scopes)
    except Refused as error:
        if error.errcode != "invalid_scope" or server.scopes != STABLE:
            raise
        answer = await asked(UNSTABLE)
    code, shown, address = (_text(answer, name) for name in ("device_code", "user_code", "verification_uri"))
    if not code or not shown or not _is_web(address):
        raise MatrixError(f"{server.issuer} begins a login without saying where to go on")
    whole = _text(answer, "verification_uri_complete")
    interval, seconds = answer.get("interval"), answer.get("expires_in")
    return Grant(
        code,
        shown,
        address,
        whole if _is_web(whole) else "",
        float(interval) if isinstance(interval, int | float) and interval > 0 else INTERVAL_SECONDS,
        time.monotonic() + (float(seconds) if isinstance(seconds, int | float) else GRANT_SECONDS),
    )


async def _until_let_in(server: Server, client_id: str, grant: Grant, ca: Path | None) -> JsonObject:
    """https://www.rfc-editor.org/rfc/rfc8628#section-3.5"""
    form = {"grant_type": DEVICE_CODE, "device_code": grant.device_code, "client_id": client_id}
    interval = grant.interval
    while time.monotonic() < grant.until:
        await asyncio.sleep(interval)
        try:
            return await call(server.token, "POST", form=form, ca=ca)
        except Transient as error:
            interval = min(LONGEST_INTERVAL, max(interval * 2, error.retry_after or 0.0))
        except Refused as error:
            match error.errcode:
                case "authorization_pending":
                    continue
                case "slow_down":
                    interval += SLOWER_SECONDS
                case "access_denied":
                    raise Refused("the login was refused in the browser", error.errcode) from error
                case "expired_token":
                    break
                case _:
                    raise
    raise Refused("nobody let the bot in before the code ran out: begin again", "expired_token")


def _lifetime(answer: JsonObject) -> float | None:
    seconds = answer.get("expires_in")
    return float(seconds) if isinstance(seconds, int | float) else None


def _text(said: JsonObject, name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _address(homeserver: str, said: JsonObject, name: str) -> str:
    """Of an endpoint; none where it would show a token to the network although the homeserver does not."""
    url = _text(said, f"{name}_endpoint")
    safe = url.startswith("https://") or (homeserver.startswith("http://") and url.startswith("http://"))
    return url if safe else ""


def _is_web(url: str) -> bool:
    return url.startswith(("https://", "http://")) and url.isprintable()
