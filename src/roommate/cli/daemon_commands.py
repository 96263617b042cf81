"""The commands about the daemon as a whole: its life, its log, what it spends, what is set."""

from __future__ import annotations

from typing import Annotated

import typer

from roommate.cli.path_and_secret_arguments import AsJson

app = typer.Typer()


@app.command("start")
def _start_command() -> None:
    """Run the daemon in the background, and wait until it is ready. Its log is in STATE_DIR."""
    from roommate.cli import background_daemon

    raise typer.Exit(background_daemon.start())


@app.command("stop")
def _stop_command() -> None:
    """Stop the daemon. Turns go on at the next start."""
    from roommate.cli import background_daemon

    background_daemon.stop()


@app.command("restart")
def _restart_command() -> None:
    """Have the daemon begin again, as the same process, with the program and the settings that are there now."""
    from roommate.cli import background_daemon

    background_daemon.restart()


@app.command("reload")
def _reload_command(as_json: AsJson = False) -> None:
    """Have the daemon read .env again. Tells which settings changed, and which need a restart."""
    from roommate.cli import background_daemon

    background_daemon.reload(as_json=as_json)


@app.command("logs")
def _logs_command(
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on with what comes, until Ctrl-C.")] = False,
    room: Annotated[str, typer.Option(help="Only lines about this room: its id, or the beginning of it.")] = "",
    most: Annotated[int, typer.Option("-n", help="How many lines.")] = 100,
) -> None:
    """Show the newest lines of the daemon's log file, also when it does not run."""
    from roommate.cli import log_viewer

    log_viewer.show(room, most, follow=follow)


@app.command("status")
def _status_command(
    as_json: AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Draw it anew every second, until Ctrl-C; with --json a line each.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="One line for a monitor; exits with 0 ok, 1 warning, 2 critical, 3 not there."),
    ] = False,
) -> None:
    """Show how the daemon is. The exit code is 3 when none runs."""
    from roommate.cli import status

    if check:
        raise typer.Exit(status.check(as_json))
    if watch and as_json:
        status.stream()
    elif watch:
        status.watch()
    else:
        status.show(as_json)


@app.command("settings")
def _settings_command(
    as_json: AsJson = False,
    diff: Annotated[bool, typer.Option("--diff", help="Only where .env says something else by now.")] = False,
) -> None:
    """Show the settings that the daemon runs with; secrets are masked. Lines of .env that nobody reads are told."""
    from roommate.cli import settings

    settings.settings(diff=diff, as_json=as_json)
