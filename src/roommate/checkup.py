"""All that doctor looks at, in one order: for the command line, and for `!doctor` in a room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roommate import premises
from roommate.config import Settings
from roommate.ops import doctor, host
from roommate.words import Account, Check

Look = Callable[[], Awaitable[Sequence[Check]]]


@dataclass(frozen=True, slots=True)
class Known:
    """What the daemon or its state folder can tell."""

    account: Account | None = None
    pace: float = 0.0
    """Seconds between two events that the homeserver let us send."""
    runs: bool = False
    synced_ago: float | None = None


async def examine(settings: Settings, known: Known, sandboxes: Look, probes: Sequence[Look] = ()) -> list[Check]:
    """Look at everything. `sandboxes` looks at Podman and the rooms' ground; `probes` are what costs something."""
    checks = [doctor.python(), *await asyncio.to_thread(premises.checks, settings), kept := doctor.state(settings)]
    if settings.matrix_homeserver:
        checks.append(reached := await doctor.homeserver(settings))
        if reached.ok and kept.ok:
            account = doctor.account(settings, known.account)
            checks += [await doctor.clock(settings), await doctor.login(settings, account)]
            if account:
                checks += [await doctor.upload_limit(settings, account), doctor.rate_limit(known.pace)]
    if known.runs:
        checks.append(doctor.sync(known.synced_ago))
    checks.append(await doctor.model(settings))
    checks += await asyncio.to_thread(host.checks, settings)
    checks += await sandboxes()
    for probe in probes:
        checks += await probe()
    return checks
