"""One Node process and its people for all tests here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, register
from tests.e2ee import strict
from tests.e2ee.strict import Node, StrictPerson

MakeStrict = Callable[..., Awaitable[StrictPerson]]


@pytest.fixture(scope="session")
async def node() -> AsyncIterator[Node]:
    async with strict.started() as one:
        yield one


@pytest.fixture
async def strict_person(homeserver: Synapse, node: Node) -> AsyncIterator[MakeStrict]:
    """``await strict_person("ann")``: a person whose client gives keys to signed devices alone."""
    people: list[StrictPerson] = []

    async def make(name: str, **more: Any) -> StrictPerson:
        people.append(await strict.person(node, homeserver.url, await register(homeserver, name), PASSWORD, **more))
        return people[-1]

    yield make
    for one in people:
        await one.do("stop")
