"""The forge that the rooms' repositories are at: its REST API, as GitHub has it, asked from the host with the token."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from roommate.domain import Destination, PullRequest, Repository
from roommate.errors import ForgeError
from roommate.net.outbound_http import LazySession

GITHUB, GITHUB_API = "https://github.com", "https://api.github.com"
SECONDS = 30.0
ANSWER_BYTES = 16 << 20
LONGEST_WORD = 300

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}/(?!\.{1,2}(?:\.git)?(?:/|$))[A-Za-z0-9_.-]{1,100}?"
"""Of a repository: owner and name."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the forge is. The operator named it, so that its address may be any; an empty token is none."""

    server: str
    api: str
    token: str = field(default="", repr=False)

    @classmethod
    def of(cls, server: str, api: str = "", token: str = "") -> Site:
        server = server.rstrip("/")
        derived = GITHUB_API if server.lower() == GITHUB else f"{server}/api/v3"
        return cls(server, api.rstrip("/") or derived, token)

    @property
    def destination(self) -> Destination:
        url = URL(self.server)
        return Destination((url.host or "").lower(), url.port or 443)

    @property
    def basic(self) -> str:
        """The token as git shows it."""
        return "Basic " + base64.b64encode(f"x-access-token:{self.token}".encode()).decode()

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What the URL of a repository may begin with."""
        authority = self.server.partition("://")[2]
        host = self.destination.host
        return f"{self.server}/", f"ssh://git@{host}/", f"git@{host}:", f"git://{authority}/"

    def named(self, text: str) -> str | None:
        """The repository that somebody means with a URL or with ``owner/name``; None when it is none of this forge."""
        text = text.strip()
        for prefix in self.prefixes:
            if text.lower().startswith(prefix.lower()):
                text = text[len(prefix) :]
                break
        found = re.fullmatch(rf"({NAME})(?:\.git)?/?", text)
        return found[1] if found else None

    def hidden(self, text: str) -> str:
        """The text without the token."""
        for secret in (self.token, self.basic.partition(" ")[2]) if self.token else ():
            text = text.replace(secret, "[token]")
        return text


class Forge:
    """What is asked of it. Everything raises ForgeError."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._session = LazySession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        self.close = self._session.close

    async def repository(self, name: str) -> Repository:
        said = await self._ask("GET", f"/repos/{name}", about=name)
        return Repository(_text(said, "full_name") or name, _text(said, "default_branch") or "main")

    async def is_empty(self, name: str) -> bool:
        said = await self._ask("GET", f"/repos/{name}/branches", about=name, query={"per_page": "1"})
        return isinstance(said, list) and not said

    async def contains(self, name: str, old: str, new: str) -> bool:
        """Is the one commit in the other's history?"""
        said = await self._ask("GET", f"/repos/{name}/compare/{old}...{new}", about=name, query={"per_page": "1"})
        return _text(said, "status") in ("ahead", "identical")

    async def open_pull_request(self, name: str, branch: str) -> PullRequest | None:
        """The one from this branch that is open."""
        query = {"state": "open", "head": f"{name.partition('/')[0]}:{branch}", "per_page": "1"}
        said = await self._ask("GET", f"/repos/{name}/pulls", about=name, query=query)
        return _pull_request(said[0], is_new=False) if isinstance(said, list) and said else None

    async def create_pull_request(self, name: str, *, branch: str, base: str, title: str, body: str) -> PullRequest:
        given = {"title": title, "body": body, "head": branch, "base": base}
        return _pull_request(await self._ask("POST", f"/repos/{name}/pulls", about=name, body=given), is_new=True)

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        about: str,
        query: dict[str, str] | None = None,
        body: dict[str, str] | None = None,
    ) -> Any:
        headers = {"Accept": "application/vnd.github+json", "User-Agent": "roommate"}
        if self.site.token:
            headers["Authorization"] = f"Bearer {self.site.token}"
        url = URL(self.site.api + quote(path), encoded=True)
        try:
            async with self._session().request(
                method, url, params=query, json=body, headers=headers, allow_redirects=False
            ) as answer:
                text = await _bounded(answer)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ForgeError(f"{self.site.server} cannot be reached ({type(error).__name__})") from error
        try:
            said = json.loads(text)
        except ValueError:
            said = None
        if status >= 300 or said is None:
            raise ForgeError(self._problem(status, said, about))
        return said

    def _problem(self, status: int, said: Any, about: str) -> str:
        words = [_text(said, "message")]
        errors = said.get("errors") if isinstance(said, dict) else None
        words += [one if isinstance(one, str) else _text(one, "message") for one in errors or ()]
        told = " ".join(re.sub(r"\s+", " ", self.site.hidden("; ".join(filter(None, words)))).split())[:LONGEST_WORD]
        why = f": {told}" if told else ""
        match status:
            case 401:
                return f"{self.site.server} does not take the GITHUB_TOKEN: the operator must set another"
            case 403:
                return f"{self.site.server} does not let the GITHUB_TOKEN do this in {about}{why}"
            case 404:
                return f"{self.site.server} has no {about}, or the GITHUB_TOKEN may not see it"
            case 301 | 302 | 307 | 308:
                return f"{about} is at another place of {self.site.server} by now: use its new name"
        return f"{self.site.server} refused this for {about} with status {status}{why}"


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    text = bytearray()
    async for piece in answer.content.iter_any():
        text += piece
        if len(text) > ANSWER_BYTES:
            raise aiohttp.ClientPayloadError("an answer without an end")
    return bytes(text)


def _text(said: Any, name: str) -> str:
    value = said.get(name) if isinstance(said, dict) else None
    return value if isinstance(value, str) else ""


def _pull_request(said: Any, *, is_new: bool) -> PullRequest:
    number, url = said.get("number") if isinstance(said, dict) else None, _text(said, "html_url")
    if not isinstance(number, int) or not url.startswith(("http://", "https://")):
        raise ForgeError("the forge answered with something that is no pull request")
    return PullRequest(number, url, is_new)
