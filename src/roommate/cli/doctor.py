"""`roommate doctor`: every check, as a table for people or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import typer
from rich.console import Console
from rich.markup import escape

from roommate import config
from roommate.config import Settings
from roommate.ops import doctor
from roommate.parts import sandboxes_of
from roommate.store import Database, Inbox
from roommate.words import Account, Check


async def run(as_json: bool) -> int:
    """Look at everything and print it; 1 when something needed is not right. Raises ConfigError."""
    checks = await _checks(config.load())
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in checks], ensure_ascii=False, indent=1))
    else:
        _show(checks)
    return 0 if all(check.ok or not check.needed for check in checks) else 1


async def _checks(settings: Settings) -> Sequence[Check]:
    checks = [doctor.python(), settled := doctor.configuration(settings), kept := doctor.state(settings)]
    if settled.ok:
        checks.append(reached := await doctor.homeserver(settings))
        if doctor.is_running(settings):
            checks.append(Check("login", True, "used by the daemon that runs"))
        elif reached.ok and kept.ok:
            checks.append(await doctor.login(settings, await _kept_login(settings)))
    checks.append(await doctor.model(settings))
    sandboxes = sandboxes_of(settings)
    try:
        checks += await sandboxes.check()
    finally:
        await sandboxes.close()
    return checks


async def _kept_login(settings: Settings) -> Account | None:
    if not (settings.state_dir / "roommate.db").exists():
        return None
    database = Database.open(settings.state_dir)
    try:
        return await Inbox(database).account()
    finally:
        await database.close()


def _show(checks: Sequence[Check]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        mark = "[green]✔[/]" if check.ok else "[red]✘[/]" if check.needed else "[yellow]![/]"
        console.print(f"{mark} [bold]{escape(check.what)}[/]: {escape(check.found)}")
        if not check.ok and check.mend:
            console.print(f"    [dim]→ {escape(check.mend)}[/]")
