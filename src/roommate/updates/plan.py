"""What an update would be: where to, what comes in, and whether that can be asked for here."""

from __future__ import annotations

import time
from collections.abc import Sequence

from roommate.domain import RoomId, Update, UpdateStep
from roommate.errors import UpdateError
from roommate.settings.config import Settings
from roommate.updates import daemons
from roommate.updates.journal import Journal
from roommate.updates.release_notes import CHANGELOG, EXAMPLE, Notes, notes
from roommate.updates.releases import SHORT, Install
from roommate.updates.repository import Repository, Way

_ROLLBACK = "rollback"


def repository_of(install: Install, settings: Settings) -> Repository:
    """The mirror that this install folder fetches into."""
    return Repository(
        install.root / "repository.git",
        signed_only=settings.update_signed_tags_only,
        signers=settings.update_allowed_signers,
    )


def way(install: Install, repository: Repository, ref: str) -> Way:
    """From what is installed to `ref`; "" is the newest, which must lead on from here.

    Raises UpdateError.
    """
    current = install.current
    about = current.about if current else None
    found = repository.way(about.commit if about else None, ref)
    if not ref and found.behind:
        raise UpdateError(
            f"{found.ref} does not lead on from what is installed, which has {found.behind} commits that it has not: "
            f"name it if you want to go there all the same"
        )
    return found


def incoming(way: Way) -> Sequence[str]:
    """Lines about what comes in; the subjects in them are a stranger's text."""
    lines = [f"{commit.id[:SHORT]} {commit.day} {commit.subject}" for commit in way.commits]
    if (more := way.ahead - len(lines)) > 0:
        lines.append(f"… and {more} more")
    return lines


def noted(install: Install, repository: Repository, way: Way) -> Notes:
    """What is new there, as its changelog and its example of settings tell it."""
    about = install.current.about if install.current else None
    if about is None:
        return Notes()
    old, new = about.commit, way.to.id
    return notes(*(repository.text(commit, path) for path in (CHANGELOG, EXAMPLE) for commit in (old, new)))


def update_to(
    install: Install, commit: str, *, by: str, id: str = "", room_id: RoomId | None = None, message: int | None = None
) -> Update:
    """The update to a commit of the mirror; `id` names what asked for it, so that it is begun once."""
    current, now = install.current, time.time()
    if current is None:
        raise UpdateError("there is no release to update")
    if current.name == commit[:SHORT]:
        raise UpdateError(f"{current.name} is what is installed")
    return Update(
        id=id or f"update-{now:.3f}",
        old=current.name,
        new=commit[:SHORT],
        commit=commit,
        by=by,
        started=now,
        runs=any(daemons.daemons(current)),
        supervised=daemons.supervised(current),
        room_id=room_id,
        message=message,
    )


def rollback(
    install: Install, *, by: str, id: str = "", room_id: RoomId | None = None, message: int | None = None
) -> Update:
    """The update to the release before; it starts on the database as it is, or not at all."""
    previous = install.previous
    about = previous.about if previous else None
    if about is None:
        raise UpdateError("there is no release to go back to")
    id = id or f"{_ROLLBACK}-{time.time():.3f}"
    return update_to(install, about.commit, by=by, id=id, room_id=room_id, message=message)


def was_rollback(journal: Journal) -> bool:
    """Did the newest update go back?"""
    last = journal.read()
    return last is not None and last.step is UpdateStep.DONE and last.id.startswith(_ROLLBACK)
