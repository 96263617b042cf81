"""The borders that a contract is demanded of: the real ones and those of tests/fakes."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
import pytest

from roommate.demo.embedded_synapse import Synapse
from roommate.domain import Account, JsonObject, UserId
from roommate.matrix.homeserver import Homeserver
from roommate.net import outbound_http
from tests.conftest import PASSWORD, register
from tests.fakes.homeserver import MemoryHomeserver
from tests.person import Person

_numbers = itertools.count(1)


class Accounts(Protocol):
    """A homeserver at which tests make accounts."""

    url: str

    async def register(self, name: str, *, limited: bool = False) -> str: ...

    def session(self, **options: Any) -> aiohttp.ClientSession: ...


class RealAccounts:
    session = staticmethod(outbound_http.session)

    def __init__(self, synapse: Synapse) -> None:
        self._synapse = synapse
        self.url = synapse.url

    async def register(self, name: str, *, limited: bool = False) -> str:
        return await register(self._synapse, name, limited=limited)


class MemoryAccounts:
    def __init__(self) -> None:
        self._homeserver = MemoryHomeserver()
        self.url = self._homeserver.url
        self.session: Callable[..., Any] = self._homeserver.session

    async def register(self, name: str, *, limited: bool = False) -> str:
        return self._homeserver.register(f"{name}-{next(_numbers)}", PASSWORD, limited=limited)


class Meeting:
    """People and bots at one homeserver."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self._open: list[Person | Homeserver] = []

    async def person(self, name: str) -> Person:
        user = await self.accounts.register(name)
        person = await Person.at(self.accounts.url, user, PASSWORD, self.accounts.session())
        self._open.append(person)
        return person

    async def bot(self, *, limited: bool = False) -> Homeserver:
        """Signed in with a login that it has, as after a restart."""
        user = await self.accounts.register("bot", limited=limited)
        login = await self._login(user)
        bot = Homeserver(self.accounts.url, UserId(user), session=self.accounts.session)
        self._open.append(bot)
        await bot.sign_in("", login)
        return bot

    async def _login(self, user: str) -> Account:
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": user}, "password": PASSWORD}
        session = self.accounts.session()
        async with session.post(f"{self.accounts.url}/_matrix/client/v3/login", json=body) as response:
            answer = await response.json()
        await session.close()
        return Account(self.accounts.url, UserId(user), answer["device_id"], answer["access_token"])

    async def close(self) -> None:
        for one in self._open:
            await one.close()


@pytest.fixture
def memory() -> MemoryAccounts:
    return MemoryAccounts()


@pytest.fixture
def synapse(homeserver: Synapse) -> RealAccounts:
    return RealAccounts(homeserver)


@pytest.fixture(params=["memory", pytest.param("synapse", marks=pytest.mark.slow)])
def accounts(request: pytest.FixtureRequest) -> Accounts:
    """At a homeserver in this process, and at Synapse."""
    found: Accounts = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def meeting(accounts: Accounts) -> AsyncIterator[Meeting]:
    here = Meeting(accounts)
    yield here
    await here.close()


async def synced(bot: Homeserver, since: str | None, limit: int = 100) -> tuple[JsonObject, str]:
    """The rooms' part of a sync that waits for nothing, with a timeline of so many events; and the next `since`."""
    wanted = {"room": {"timeline": {"limit": limit}}}
    query = {"timeout": 0, "filter": json.dumps(wanted)} | ({"since": since} if since else {})
    answer = await bot._call("sync", "GET", f"/_matrix/client/v3/sync?{urlencode(query)}")
    return answer.get("rooms", {}), answer["next_batch"]
