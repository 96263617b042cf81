"""How a daemon begins and begins again where there are releases: what an open update wants of it comes first."""

from __future__ import annotations

from pathlib import Path

from roommate.domain import Update
from roommate.settings.config import Settings
from roommate.store import copy, locked, put_back
from roommate.updates import at_start
from roommate.updates.journal import Journal
from roommate.updates.releases import own


def settle(settings: Settings) -> Update | None:
    """Call it before the database is opened. Gives the update when this release is on trial; may not return, when
    another release takes the process over. Raises StateError."""
    found = own()
    if found is None:
        return None
    state = settings.state_dir

    def save(to: Path) -> None:
        with locked(state):
            to.unlink(missing_ok=True)
            copy(state, to)

    def take_back(saved: Path) -> None:
        if saved.exists():
            put_back(saved, state)

    return at_start.settle(*found, Journal(state), save=save, put_back=take_back)


def program() -> str | None:
    """What a start would start now; None where there are no releases."""
    found = own()
    current = found[0].current if found else None
    return str(current.program) if current else None
