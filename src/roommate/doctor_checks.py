"""All that doctor looks at, in one order: for the command line, and for `!doctor` in a room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roommate import preconditions
from roommate.config import Settings
from roommate.ops import diagnosis, host_checks
from roommate.store import DATABASE, MEND, damage, is_begun
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


def _database(settings: Settings) -> Check:
    """Is it there, and whole? Reads all of it. Blocks."""
    file = settings.state_dir / DATABASE
    if file.exists() and file.stat().st_size:
        found = damage(settings.state_dir)
        size = f"{file.stat().st_size / (1 << 20):.1f} MiB"
        return Check("database", not found, f"{file}: {found}" if found else f"whole, {size}", MEND)
    if is_begun(settings.state_dir):
        return Check("database", False, f"{file} is not there, or empty, although there are rooms", MEND)
    return Check("database", True, "the first start makes it")


async def examine(settings: Settings, known: Known, sandboxes: Look, probes: Sequence[Look] = ()) -> list[Check]:
    """Look at everything. `sandboxes` looks at Podman and the rooms' ground; `probes` are what costs something."""
    checks = [
        diagnosis.python(),
        *await asyncio.to_thread(preconditions.checks, settings),
        kept := diagnosis.state(settings),
    ]
    if settings.matrix_homeserver:
        checks.append(reached := await diagnosis.homeserver(settings))
        if reached.ok and kept.ok:
            account = diagnosis.account(settings, known.account)
            checks += [await diagnosis.clock(settings), await diagnosis.login(settings, account)]
            if account:
                checks += [await diagnosis.upload_limit(settings, account), diagnosis.rate_limit(known.pace)]
    if known.runs:
        checks.append(diagnosis.sync(known.synced_ago))
    checks += [await asyncio.to_thread(_database, settings), diagnosis.disk(settings), await diagnosis.model(settings)]
    checks += await asyncio.to_thread(host_checks.checks, settings)
    checks += await sandboxes()
    for probe in probes:
        checks += await probe()
    return checks
