"""`roommate doctor`: every check, as a table for people or as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from functools import partial

import typer
from rich.console import Console
from rich.markup import escape

from roommate.administration.doctor_checks import Known, Look, examine
from roommate.cli.daemon_requests import ask
from roommate.composition.from_settings import alerts_of, model_of, sandboxes_of
from roommate.domain import Check
from roommate.errors import ControlError, StateError
from roommate.features.mesh import place_checks
from roommate.maintenance import installation_checks, remote_checks
from roommate.net import outbound_http
from roommate.settings import config
from roommate.settings.config import Settings
from roommate.store import Inbox, Outbox, reading

MARKS = {"ok": "[green]✔[/]", "warn": "[yellow]![/]", "fail": "[red]✘[/]"}
CODES = {"ok": 0, "warn": 1, "fail": 2}


async def run(*, as_json: bool, probe: bool, fix: bool) -> int:
    """Look at everything and print it; 1 for warnings, 2 when something needed is not right. Raises ConfigError."""
    settings = config.load()
    for line in await asyncio.to_thread(installation_checks.fix, settings) if fix else ():
        typer.echo(line, err=True)
    sandboxes = sandboxes_of(settings)

    async def think() -> Sequence[Check]:
        async with outbound_http.session() as session:
            return [await remote_checks.think(model_of(settings, settings.llm_model, lambda: session))]

    async def alert() -> Sequence[Check]:
        if not (alerts := alerts_of(settings)):
            return []
        failed = await asyncio.to_thread(alerts.test)
        mend = "see what ALERT_COMMAND and ALERT_URL name"
        return [Check("alerts", not failed, "; ".join(failed) or "a test was taken", mend, needed=False)]

    probes: list[Look] = [partial(place_checks.examine, settings.policy, sandboxes)]
    probes += [think, sandboxes.check_limits, alert] if probe else []
    try:
        checks = await examine(settings, await asyncio.to_thread(_known, settings), sandboxes.check, probes)
    finally:
        await sandboxes.close()
    if as_json:
        fields = ("what", "level", "found", "mend")
        typer.echo(
            json.dumps([{name: getattr(one, name) for name in fields} for one in checks], ensure_ascii=False, indent=1)
        )
    else:
        _show(checks)
    return max(CODES[check.level] for check in checks)


def _known(settings: Settings) -> Known:
    account, pace, synced_ago = None, 0.0, None
    with contextlib.suppress(StateError), reading(settings.state_dir) as c:
        account, pace = Inbox.login(c), Outbox.known_pace(c)
    runs = remote_checks.is_running(settings)
    if runs:
        with contextlib.suppress(ControlError):
            synced_ago = ask("status")["synced_ago"]
    return Known(account, pace, runs, synced_ago)


def _show(checks: Sequence[Check]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for check in checks:
        console.print(f"{MARKS[check.level]} [bold]{escape(check.what)}[/]: {escape(check.found)}")
        if not check.ok and check.mend:
            console.print(f"    [dim]→ {escape(check.mend)}[/]")
