"""The install folder: releases side by side, each with its own environment, and the links that say which one runs."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from roommate.host import durable_files

RELEASES = "releases"
CURRENT, PREVIOUS = "current", "previous"
SHORT = 12
"""Digits of a commit that name a release."""

_MADE = "release.json"
"""Written last: a release without it was not finished."""


@dataclass(frozen=True, slots=True)
class Release:
    """A source tree of one commit with a ``.venv`` of its own."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def python(self) -> Path:
        return self.path / ".venv" / "bin" / "python"

    @property
    def uv(self) -> Path:
        return self.path / ".venv" / "bin" / "uv"

    @property
    def program(self) -> Path:
        """`roommate` of this release."""
        return self.path / ".venv" / "bin" / "roommate"

    @property
    def about(self) -> About | None:
        """None for one that was not finished."""
        try:
            return About(**json.loads((self.path / _MADE).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def finish(self, about: About) -> None:
        """From now on it is whole."""
        durable_files.replace(self.path / _MADE, json.dumps(asdict(about)).encode(), lasting=True)


@dataclass(frozen=True, slots=True)
class About:
    """What a release is made from."""

    commit: str
    subject: str
    """First line of the commit's message: a stranger's text."""
    committed: str
    """Its day, such as 2026-11-20."""
    made: float
    """When the release was made, in seconds since 1970."""


class Install:
    """An install folder; empty before the first release."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def current(self) -> Release | None:
        """The release that the next start takes."""
        return self._linked(CURRENT)

    @property
    def previous(self) -> Release | None:
        """The one before it, to go back to."""
        return self._linked(PREVIOUS)

    def release(self, name: str) -> Release:
        """Where the release of this commit is, or would be."""
        return Release(self.root / RELEASES / name[:SHORT])

    def releases(self) -> list[Release]:
        """All that are there, finished or not."""
        folder = self.root / RELEASES
        return [Release(path) for path in sorted(folder.iterdir()) if path.is_dir()] if folder.is_dir() else []

    def switch(self, release: Release) -> None:
        """Make it the one that the next start takes; the one that was is `previous` then. Once more changes nothing."""
        current = self.current
        if current == release:
            return
        if current is not None:
            durable_files.link(self.root / PREVIOUS, Path(RELEASES) / current.name)
        durable_files.link(self.root / CURRENT, Path(RELEASES) / release.name)

    def prune(self, keep: int) -> None:
        """Delete all but current, previous and the `keep` newest others."""
        used = {self.current, self.previous}
        others = [release for release in self.releases() if release not in used]
        others.sort(key=lambda release: release.about.made if release.about else 0.0, reverse=True)
        for release in others[keep:]:
            shutil.rmtree(release.path, ignore_errors=True)

    def _linked(self, name: str) -> Release | None:
        try:
            target = (self.root / name).readlink()
        except OSError:
            return None
        return self.release(target.name)


def own() -> tuple[Install, Release] | None:
    """The release that this process is of, and its install folder; None for any other way to run Roommate."""
    path = Path(sys.prefix).parent
    if path.parent.name != RELEASES:
        return None
    return Install(path.parent.parent), Release(path)
