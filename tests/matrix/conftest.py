"""Lines to Matrix for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, register
from tests.matrix.line import Line


class MakeLine(Protocol):
    async def __call__(self, *, limited: bool = False, connect: bool = True) -> Line: ...


@pytest.fixture
async def line(homeserver: Synapse, tmp_path: Path) -> AsyncIterator[MakeLine]:
    """``await line()``: a line of an account of its own, connected. `limited` leaves the homeserver's limit on it."""
    lines: list[Line] = []

    async def make(*, limited: bool = False, connect: bool = True) -> Line:
        user_id = await register(homeserver, "bot", limited=limited)
        lines.append(Line(homeserver.url, user_id, PASSWORD, tmp_path / f"line{len(lines)}"))
        return await lines[-1].connect() if connect else lines[-1]

    yield make
    for one in lines:
        await one.crash()
