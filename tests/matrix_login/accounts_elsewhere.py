"""A homeserver whose accounts live in an authorization server: a strict one, with OAuth as Matrix wants it.

It stands before a real Synapse and gives out tokens of its own, each for a device that Synapse knows. Its rules are
those of the Matrix Authentication Service: access tokens end, a renewal revokes the access token before, and a refresh
token that was used is taken again only while nothing that it gave was used.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.front import Front, bearer

DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
LIFETIME = 300
NAMES = {True: "urn:matrix:client", False: "urn:matrix:org.matrix.msc2967.client"}


@dataclass
class Access:
    session: Session
    ends: float
    used: bool = False
    revoked: bool = False

    @property
    def good(self) -> bool:
        return not self.revoked and self.session.alive and time.time() < self.ends


@dataclass
class Refresh:
    session: Session
    access: str
    next: str | None = None
    revoked: bool = False


@dataclass
class Session:
    client_id: str
    device_id: str
    homeservers_token: str
    alive: bool = True


@dataclass
class Grant:
    client_id: str
    scope: str
    user_code: str
    verdict: str = "authorization_pending"
    session: Session | None = None
    asked_at: float = 0.0


@dataclass
class Wrong(Exception):
    error: str
    why: str = "you did it wrong"
    status: int = 400


class AccountsElsewhere(Front):
    def __init__(self, homeserver: str, *, stable: bool = True, interval: float = 0.2) -> None:
        super().__init__(homeserver)
        self.stable = stable
        self.knows_stable_scopes = True
        self.interval = interval
        self.clients: dict[str, Any] = {}
        self.grants: dict[str, Grant] = {}
        self.access: dict[str, Access] = {}
        self.refresh: dict[str, Refresh] = {}
        self.renewals = 0

    def routes(self, app: web.Application) -> None:
        version = "v1" if self.stable else "unstable/org.matrix.msc2965"
        app.router.add_get(f"/_matrix/client/{version}/auth_metadata", self._metadata)
        app.router.add_get("/_matrix/client/{other:.*}/auth_metadata", self._unknown)
        app.router.add_get("/_matrix/client/v3/login", self._no_flows)
        app.router.add_post("/_matrix/client/v3/login", self._unknown)
        for name in ("registration", "device_authorization", "token", "revocation"):
            app.router.add_post(f"/oauth/{name}", self._strictly(getattr(self, f"_{name}")))

    # ── What a test does ─────────────────────────────────────────────────────────────────────────

    async def let_in(self, user_code: str, user_id: str, password: str) -> None:
        """As a person does it in a browser, who is logged in to that account."""
        grant = self._grant(user_code)
        device_id = grant.scope.rpartition(":")[2]
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
            "device_id": device_id,
        }
        assert self._http is not None
        async with self._http.post(f"{self.homeserver}/_matrix/client/v3/login", json=login) as response:
            answer = await response.json()
        grant.session = Session(grant.client_id, device_id, answer["access_token"])
        grant.verdict = "yes"

    def turn_away(self, user_code: str) -> None:
        self._grant(user_code).verdict = "access_denied"

    def run_out(self) -> None:
        """All access tokens end now."""
        for one in self.access.values():
            one.ends = 0

    def newest(self) -> str:
        return next(reversed(self.access))

    def _grant(self, user_code: str) -> Grant:
        return next(grant for grant in self.grants.values() if grant.user_code == user_code)

    # ── What the bot asks ────────────────────────────────────────────────────────────────────────

    def token(self, request: web.Request) -> str | None:
        if not (given := bearer(request)):
            return ""
        found = self.access.get(given)
        if found is None or not found.good:
            return None
        found.used = True
        return found.session.homeservers_token

    async def _metadata(self, request: web.Request) -> web.Response:
        names = ("token", "registration", "device_authorization", "revocation", "authorization")
        endpoints = {f"{name}_endpoint": f"{self.url}/oauth/{name}" for name in names}
        return web.json_response({"issuer": f"{self.url}/", **endpoints, "grant_types_supported": [DEVICE_CODE]})

    async def _unknown(self, request: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "Unrecognized request"}, status=404)

    async def _no_flows(self, request: web.Request) -> web.Response:
        return web.json_response({"flows": []})

    def _strictly(self, handler: Any) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            self.asked.append((request.path, bearer(request)))
            if self.before and (answer := await self.before(request)) is not None:
                return answer
            try:
                answer = await handler(request)
            except Wrong as wrong:
                said = {"error": wrong.error, "error_description": wrong.why}
                return web.json_response(said, status=wrong.status)
            if self.after:
                await self.after(request, b"")
            assert isinstance(answer, web.StreamResponse)
            return answer

        return handle

    async def _registration(self, request: web.Request) -> web.Response:
        about = await request.json()
        if set(about["grant_types"]) != {DEVICE_CODE, "refresh_token"}:
            raise Wrong("invalid_client_metadata", "grant types")
        if about["token_endpoint_auth_method"] != "none" or about["application_type"] != "native":
            raise Wrong("invalid_client_metadata", "a program of a person has no secret")
        if not about["client_uri"].startswith("https://"):
            raise Wrong("invalid_client_metadata", "client_uri")
        client_id = secrets.token_hex(8)
        self.clients[client_id] = about
        return web.json_response({"client_id": client_id, **about}, status=201)

    async def _device_authorization(self, request: web.Request) -> web.Response:
        form = await self._form(request, "client_id", "scope")
        if form["client_id"] not in self.clients:
            raise Wrong("invalid_client", status=401)
        names = NAMES[self.stable and self.knows_stable_scopes]
        api, _, device = form["scope"].partition(" ")
        prefix = f"{names}:device:"
        if api != f"{names}:api:*" or not device.startswith(prefix) or len(device) < len(prefix) + 10:
            raise Wrong("invalid_scope")
        code = secrets.token_hex(16)
        user_code = secrets.token_hex(3).upper()
        self.grants[code] = Grant(form["client_id"], form["scope"], user_code)
        return web.json_response(
            {
                "device_code": code,
                "user_code": user_code,
                "verification_uri": f"{self.url}/link",
                "verification_uri_complete": f"{self.url}/link?code={user_code}",
                "expires_in": 600,
                "interval": self.interval,
            }
        )

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        match form.get("grant_type"):
            case "refresh_token":
                return self._renew(await self._form(request, "grant_type", "refresh_token", "client_id"))
            case grant if grant == DEVICE_CODE:
                return self._exchange(await self._form(request, "grant_type", "device_code", "client_id"))
        raise Wrong("unsupported_grant_type")

    def _exchange(self, form: dict[str, str]) -> web.Response:
        grant = self.grants.get(form["device_code"])
        if grant is None or grant.client_id != form["client_id"]:
            raise Wrong("invalid_grant")
        early, grant.asked_at = time.monotonic() - grant.asked_at < self.interval * 0.9, time.monotonic()
        if grant.session is None:
            raise Wrong("slow_down" if early else grant.verdict)
        session, grant.session, grant.verdict = grant.session, None, "invalid_grant"
        return self._tokens(session)[0]

    def _renew(self, form: dict[str, str]) -> web.Response:
        old = self.refresh.get(form["refresh_token"])
        if old is None or old.revoked or not old.session.alive:
            raise Wrong("invalid_grant", "the refresh token is dead")
        if old.session.client_id != form["client_id"]:
            raise Wrong("invalid_grant", "the refresh token is another's")
        if old.next is not None:
            follower = self.refresh[old.next]
            if follower.next is not None or self.access[follower.access].used:
                raise Wrong("invalid_grant", "the refresh token was used")
            follower.revoked = self.access[follower.access].revoked = True
        response, old.next = self._tokens(old.session)
        self.access[old.access].revoked = True
        self.renewals += 1
        return response

    def _tokens(self, session: Session) -> tuple[web.Response, str]:
        access, refresh = f"mat_{secrets.token_hex(12)}", f"mar_{secrets.token_hex(12)}"
        self.access[access] = Access(session, time.time() + LIFETIME)
        self.refresh[refresh] = Refresh(session, access)
        answer = {"access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": LIFETIME}
        return web.json_response(answer), refresh

    async def _revocation(self, request: web.Request) -> web.Response:
        form = await self._form(request, "token", "client_id", "token_type_hint")
        found = self.refresh.get(form["token"]) or self.access.get(form["token"])
        if found is not None:
            if found.session.client_id != form["client_id"]:
                raise Wrong("unauthorized_client")
            found.session.alive = False
        return web.Response()

    async def _form(self, request: web.Request, *names: str) -> dict[str, str]:
        if request.content_type != "application/x-www-form-urlencoded":
            raise Wrong("invalid_request", "no form")
        given = await request.post()
        if set(given) != set(names):
            raise Wrong("invalid_request", f"{sorted(given)} is not {sorted(names)}")
        return {name: str(given[name]) for name in names}
