"""All that doctor looks at, in one order: for the command line, and for `!doctor` in a room."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from roommate.administration import preconditions
from roommate.domain import Account, Check
from roommate.maintenance import installation_checks, remote_checks
from roommate.matrix.crypto.cross_signing import master_in
from roommate.settings.config import Settings
from roommate.store import DATABASE, MEND, damage, device_in, is_begun
from roommate.text.amounts import size

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
        whole = f"whole, {size(file.stat().st_size)}"
        return Check("database", not found, f"{file}: {found}" if found else whole, MEND)
    if is_begun(settings.state_dir):
        return Check("database", False, f"{file} is not there, or empty, although there are rooms", MEND)
    return Check("database", True, "the first start makes it")


async def examine(settings: Settings, known: Known, sandboxes: Look, probes: Sequence[Look] = ()) -> list[Check]:
    """Look at everything. `sandboxes` looks at Podman and the rooms' ground; `probes` are what costs something."""
    checks = [
        remote_checks.python(),
        *await asyncio.to_thread(preconditions.checks, settings),
        kept := remote_checks.state(settings),
    ]
    if settings.matrix_homeserver:
        checks.append(reached := await remote_checks.homeserver(settings))
        if reached.ok and kept.ok:
            account = remote_checks.account(settings, known.account)
            checks += [
                await remote_checks.clock(settings),
                await remote_checks.login(settings, account),
            ]
            if account:
                checks += [
                    await remote_checks.upload_limit(settings, account),
                    remote_checks.rate_limit(known.pace),
                ]
                keys = device_in(settings.state_dir), master_in(settings.state_dir)
                checks.append(await remote_checks.encryption(settings, account, *keys))
    if known.runs:
        checks.append(remote_checks.sync(known.synced_ago))
    checks += [
        await asyncio.to_thread(_database, settings),
        remote_checks.disk(settings),
        await remote_checks.model(settings),
    ]
    checks += await asyncio.to_thread(installation_checks.checks, settings)
    checks += await sandboxes()
    for probe in probes:
        checks += await probe()
    return checks
