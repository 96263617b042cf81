"""`roommate backup`, `backup verify`, `restore`: the state of a daemon in one file, and back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from roommate.cli.daemon_requests import ask
from roommate.composition.from_settings import alerts_of
from roommate.domain import Deed, JsonObject
from roommate.errors import ControlError, EngineError, NotRunning, ProgramFailed, StateError
from roommate.host import daemon_location
from roommate.host.run_configured_command import run_configured_command
from roommate.maintenance import backup, env_file
from roommate.maintenance.restore import restore as unpack
from roommate.monitoring.alert_delivery import BACKUP_RUN
from roommate.sandbox.workspace import Workspace
from roommate.settings import config
from roommate.settings.config import Settings
from roommate.store import Audit, Database, Restored, copy, locked

SETTINGS = Path(".env")
ELSEWHERE_SECONDS = 6 * 3600
"""That BACKUP_COMMAND may take."""
COMMAND_LINE = "command line"
"""Where a deed came from."""


def make(to: Path | None, *, settings_too: bool, as_json: bool) -> None:
    """Also brings it elsewhere, with BACKUP_COMMAND. A failure is told to the daemon, and as an alert.

    Raises ConfigError, StateError, ProgramFailed."""
    settings = config.load()
    alerts = alerts_of(settings)
    try:
        _make(settings, to, settings_too=settings_too, as_json=as_json)
    except (StateError, ProgramFailed) as error:
        with contextlib.suppress(ControlError):  # no daemon that could tell the control room
            ask("backup.failed", why=str(error))
        alerts.fire(BACKUP_RUN, f"a backup failed: {error}")
        raise
    alerts.resolve(BACKUP_RUN)


def _make(settings: Settings, to: Path | None, *, settings_too: bool, as_json: bool) -> None:
    folder = settings.state_dir
    rooms = sorted((folder / backup.ROOMS).iterdir()) if (folder / backup.ROOMS).exists() else []
    state = backup.State(
        folder,
        _copied(folder),
        tuple(_room(room, settings.workspace_quota_mb) for room in rooms),
        SETTINGS if settings_too and SETTINGS.exists() else None,
    )
    with _bar("backing up", len(rooms) + 1) as step:
        file, manifest = backup.make(
            state, to or settings.backups, keep=settings.backups_kept, packed=lambda part, _: step(part)
        )
    _record(folder, Deed(f"uid {os.getuid()}", COMMAND_LINE, "backup", subject=str(file)))
    for name, why in manifest.left_out.items():
        typer.echo(f"left out: {name!r}: {why}", err=True)
    if as_json:
        typer.echo(json.dumps({"file": str(file), **_facts(manifest), "bytes": file.stat().st_size}))
    else:
        typer.echo(file)
    if settings.backup_command:
        env = config.environment_of_others()
        run_configured_command("BACKUP_COMMAND", settings.backup_command, str(file), env=env, seconds=ELSEWHERE_SECONDS)


def verify(path: Path, *, as_json: bool) -> None:
    """Raises StateError for the first that is damaged."""
    files = backup.found(path) if path.is_dir() else [path]
    if not files:
        raise StateError(f"there is no backup in {path}")
    for file in files:
        manifest = backup.verify(file)
        if as_json:
            typer.echo(json.dumps({"file": str(file), **_facts(manifest)}))
        else:
            typer.echo(f"{file}: whole, {len(manifest.hashes)} files, of Roommate {manifest.version}")


def restore(file: Path, to: Path | None) -> None:
    """Raises ConfigError, StateError."""
    settled = SETTINGS.exists()
    folder = (to or (daemon_location.state_dir(SETTINGS) if settled else _state_dir_in(file))).absolute()
    with _bar("restoring", None) as step, locked(folder):
        manifest = unpack(file, folder, settings=SETTINGS, disk=_disk, unpacked=step)
    deed = Deed(f"uid {os.getuid()}", COMMAND_LINE, "restore", subject=file.name)
    if doubted := asyncio.run(_write_down(folder, deed, restored=manifest.at)):
        typer.echo(
            f"{doubted} other daemons were trusted when it was made, and may have been revoked since: see "
            "`roommate trust ls`, and `roommate trust approve` those that still are",
            err=True,
        )
    if (named := daemon_location.state_dir(SETTINGS)) != folder:
        if settled or not SETTINGS.exists():
            typer.echo(f"a daemon would look for it in {named}: set STATE_DIR={folder}", err=True)
        else:  # it came with the backup
            env_file.write(SETTINGS, {"STATE_DIR": str(folder)})
    typer.echo(f"restored into {folder}: `roommate run` goes on from there", err=True)


def _state_dir_in(file: Path) -> Path:
    """As the `.env` has it that comes with the backup."""
    with tempfile.NamedTemporaryFile() as settings:  # 0600
        settings.write(backup.settings_in(file))
        settings.flush()
        return daemon_location.state_dir(Path(settings.name))


def _record(folder: Path, deed: Deed) -> None:
    """In the audit log: the daemon has it while it runs. The backup is good, whatever becomes of this."""
    try:
        try:
            ask("backup.made", file=deed.subject)
        except NotRunning:
            asyncio.run(_write_down(folder, deed))
    except (ControlError, StateError) as error:
        typer.echo(f"the audit log does not have this: {error}", err=True)


async def _write_down(folder: Path, deed: Deed, restored: int | None = None) -> int:
    """Gives how many daemons are trusted no more since nobody knows of it, where the database was `restored`."""
    database = Database.open(folder)
    try:
        doubted = 0 if restored is None else await Restored(database).mark(restored)
        await Audit(database).record(deed)
    finally:
        await database.close()
    return doubted


def _copied(folder: Path) -> Callable[[Path], JsonObject]:
    def copied(to: Path) -> JsonObject:
        made = copy(folder, to)
        return {"version": made.version, "audit": asdict(made.audit)}

    return copied


def _room(folder: Path, quota_mb: int) -> backup.Room:
    workspace = Workspace(folder)
    disk_mb = workspace.disk_megabytes
    # A room that nothing limits here is not to fill the place where backups are.
    return backup.Room(folder.name, workspace.opened, disk_mb, (quota_mb << 20) or None if not disk_mb else None)


@contextlib.contextmanager
def _disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A disk of its own for a room's files, as it had one; without it they are in a plain folder."""
    workspace = Workspace(folder)
    if megabytes:
        try:
            workspace.prepare(owner=0, megabytes=megabytes)
        except EngineError as error:
            typer.echo(f"a room's files are no longer limited: {error}", err=True)
    try:
        yield
    finally:
        workspace.release()


def _facts(manifest: backup.Manifest) -> JsonObject:
    return {
        "at": manifest.at,
        "version": manifest.version,
        "database": manifest.database,
        "files": len(manifest.hashes),
        "left_out": manifest.left_out,
    }


@contextlib.contextmanager
def _bar(what: str, parts: int | None) -> Iterator[Callable[[str], None]]:
    """Shown on a terminal: each call is one part more."""
    with Progress(
        TextColumn(what), BarColumn(), TextColumn("{task.fields[part]}"), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True, disable=not Console(stderr=True).is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task(what, total=parts, part="")
        yield lambda part: progress.update(task, advance=1, part=part)
