"""`roommate update`, `rollback` and `version`: from one release to another without chat, and the very first one."""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import typer

from roommate import __version__
from roommate.composition import release_startup
from roommate.domain import Update, UpdateStep
from roommate.errors import UpdateError
from roommate.host import daemon_location
from roommate.settings import config
from roommate.settings.config import Settings
from roommate.updates import build, plan
from roommate.updates.journal import Journal
from roommate.updates.releases import Install, own
from roommate.updates.updater import Updater

FAILED = 1
HELD_SECONDS = 3600.0
"""How long we wait for an updater that has ended its own update: it still tidies up, and may carry ours out, too."""
INTERRUPTED = 130  # as a shell says of a program that Ctrl-C ended


def update(ref: str, *, check: bool, root: Path | None, remote: str) -> int:
    """To `ref`, in the foreground. The exit code. Raises ConfigError, UpdateError, StateError."""
    install = _install(root)
    settings = config.load(install.root / ".env")
    repository = plan.repository_of(install, settings)
    if remote:
        here = daemon_location.stands() / remote  # git would look for a folder where we are
        repository.set_remote(str(here) if here.exists() else remote)
    if not repository.exists:
        raise UpdateError(
            f"there is no release in {install.root} yet, and no remote to get one from: pass --remote URL"
        )
    _say("fetching")
    repository.fetch()
    way = plan.way(install, repository, ref or settings.update_ref)
    current = install.current
    if current is None and not check:
        _say(f"making the first release: {way.to.id[:12]} {way.to.subject}")
        release = build.build(install, repository, way.to, Path(sys.prefix) / "bin" / "uv", settings.patience)
        build.check(release, install.root, settings.patience)
        install.switch(release)
        _say(f"{release.name} is there: start it with {install.root}/current/.venv/bin/roommate run")
        return 0
    for line in plan.incoming(way):
        typer.echo(line)
    told = plan.noted(install, repository, way)
    for mark, lines in (("*", told.changes), ("+", told.new_settings), ("-", told.gone_settings)):
        for line in lines:
            typer.echo(f"{mark} {line}")
    if check or current is None or way.to.id.startswith(current.name):
        if not check:
            _say(f"{way.ref} is what is installed")
        return 0
    return _carry_out(install, settings, plan.update_to(install, way.to.id, by=_who()))


def rollback(*, root: Path | None, if_failing: bool) -> int:
    """To the release before, on the database as it is. The exit code. Raises as `update`."""
    install = _install(root)
    settings = config.load(install.root / ".env")
    if if_failing and plan.was_rollback(Journal(settings.state_dir)):
        _say("the newest update was a rollback: there is nothing better to go back to")
        return FAILED
    return _carry_out(install, settings, plan.rollback(install, by=_who()))


def cancel(*, root: Path | None) -> int:
    """End an update that has not switched over yet. The exit code. Raises ConfigError, UpdateError, StateError."""
    install = _install(root)
    update = Journal(config.load(install.root / ".env").state_dir).cancel(_who())
    _say(f"cancelled, {update.old} stays")
    return 0


def resume(root: Path | None) -> int:
    """Carry out the update that the journal tells of, as far as nobody else does. The exit code."""
    install = _install(root)
    return _run(install, config.load(install.root / ".env"))


def version(as_json: bool) -> None:
    """What runs here."""
    found = own()
    about = found[1].about if found else None
    if as_json:
        typer.echo(json.dumps({"version": __version__, "release": asdict(about) if about else None}))
        return
    typer.echo(f"roommate {__version__}, Python {platform.python_version()}")
    if about is None:
        typer.echo(f"no release: it runs from {Path(__file__).parents[3]}")
        return
    made = f"{datetime.fromtimestamp(about.made).astimezone():%Y-%m-%d %H:%M}"
    typer.echo(f"release {about.commit[:12]} ({about.committed}: {about.subject}), made {made}")


def _carry_out(install: Install, settings: Settings, update: Update) -> int:
    journal = Journal(settings.state_dir)
    try:
        journal.begin(update)
        return _run(install, settings)
    except KeyboardInterrupt:
        now = journal.read()
        begun = now is not None and now.id == update.id and now.open
        if begun and update.runs:  # the daemon that runs sees to it that somebody goes on
            _say("it goes on without this command: `roommate logs -f` shows how, `roommate update --cancel` ends it")
            return INTERRUPTED
        if begun:
            journal.cancel(_who())
        _say(f"cancelled, {update.old} stays")
        return INTERRUPTED


def _run(install: Install, settings: Settings) -> int:
    journal = Journal(settings.state_dir)

    def tell(update: Update) -> None:
        last = update.taken[-1]
        _say(f"{last.step}: {last.seconds:.1f} s")

    with journal.held(seconds=HELD_SECONDS):
        repository = plan.repository_of(install, settings)
        health, patience = settings.update_health_seconds, settings.patience
        shapes = release_startup.Shapes(settings)
        ended = Updater(install, repository, journal, shapes, health_seconds=health, patience=patience, tell=tell).run()
    if ended is None or ended.step is UpdateStep.DONE:
        _say(f"{ended.old} → {ended.new}" if ended else "there is nothing to carry out")
        return 0
    _say(f"failed, {ended.old} stays: {ended.why}")
    return FAILED


def _install(root: Path | None) -> Install:
    if root is not None:
        return Install(root)
    found = own()
    if found is None:
        raise UpdateError("this is no release: pass --root, the folder that releases are in")
    return found[0]


def _who() -> str:
    return f"uid {os.getuid()}"


def _say(line: str) -> None:
    typer.echo(f"update: {line}", err=True)
