"""Every command of `roommate`, each of which imports what it needs when it runs. stdout is data, stderr for people."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from roommate import __version__
from roommate.cli import daemon_commands, peer_requests, recovery, sandbox, workspace
from roommate.cli.help_panels import Panels
from roommate.cli.path_and_secret_arguments import AsJson, typed_path

T = TypeVar("T")

app = typer.Typer(cls=Panels, no_args_is_help=True, pretty_exceptions_enable=False)
image_app = typer.Typer(no_args_is_help=True, help="The image of the rooms' containers.")
app.add_typer(image_app, name="image")
backup_app = typer.Typer(invoke_without_command=True, help="Back up the whole state; verify backups.")
app.add_typer(backup_app, name="backup")

auth_app = typer.Typer(no_args_is_help=True, help="The bot's login.")
app.add_typer(auth_app, name="auth")

app.add_typer(daemon_commands.app)  # without a name: its commands stand beside those from here
app.add_typer(sandbox.app, name="sandbox")
app.add_typer(workspace.app, name="workspace")
app.add_typer(peer_requests.app)
app.add_typer(peer_requests.share, name="share")
app.add_typer(recovery.app, name="recovery")


def complete() -> typer.Typer:
    """With all that the daemon does."""
    from roommate.cli import declared_commands

    there = {"sandbox": sandbox.app, "workspace": workspace.app, "recovery": recovery.app}
    declared_commands.add_to(app, {**there, "share": peer_requests.share})
    return app


INTERRUPTED = 130  # as a shell says of a program that Ctrl-C ended; the same for SIGTERM and a closed terminal


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """A coding bot for Matrix: every room gets a container of its own."""
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command("run")
def _run_command() -> None:
    """Run the daemon in the foreground until SIGTERM or Ctrl-C."""
    from roommate.cli import run

    raise typer.Exit(run.run())


@app.command("init")
def _init_command(
    env_file: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path,
            help="The file to write (default: .env of the install folder, or here).",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing: take what is said here or set already.")] = False,
    homeserver: Annotated[str, typer.Option(help="Its URL, or the name of the server.")] = "",
    user: Annotated[str, typer.Option(help="The bot's user name, or Matrix id.")] = "",
    password: Annotated[str, typer.Option(help="The bot's; @FILE reads it, like each secret here.")] = "",
    register: Annotated[bool, typer.Option("--register", help="Make the account, where anybody may.")] = False,
    registration_secret: Annotated[
        str, typer.Option(help="Make the account with Synapse's registration_shared_secret.")
    ] = "",
    browser: Annotated[
        bool, typer.Option("--browser", help="Let the bot in with a browser: accounts are an authorization server's.")
    ] = False,
    login_token: Annotated[str, typer.Option(help="A login token that a browser got (SSO).")] = "",
    access_token: Annotated[str, typer.Option(help="A token that is there already, for MATRIX_ACCESS_TOKEN.")] = "",
    operators: Annotated[str, typer.Option(help="Matrix ids of who may do everything, with commas.")] = "",
    allowed_users: Annotated[str, typer.Option(help="Who may invite and prompt, as globs.")] = "",
    model: Annotated[str, typer.Option(help="A LiteLLM model name, or rehearsal.")] = "",
    llm_api_key: Annotated[str, typer.Option(help="The key of its provider.")] = "",
    llm_api_base: Annotated[str, typer.Option(help="Base URL of a provider of your own.")] = "",
    image: Annotated[str, typer.Option(help="Make the rooms' image: base, core, browser, agents, or none.")] = "",
    missing: Annotated[
        bool, typer.Option("--missing", help="Ask for nothing but what the file does not say, and make no image.")
    ] = False,
) -> None:
    """Set Roommate up: ask for homeserver, account, operators and model, try them, and write .env."""
    from roommate.cli import init

    file, asks = env_file or init.DEFAULT, not yes and sys.stdin.isatty()
    if missing:
        init.complete(file, asks=asks)
        return
    given = init.Answers(
        homeserver=homeserver,
        user=user,
        password=password,
        register=register,
        registration_secret=registration_secret,
        browser=browser,
        login_token=login_token,
        access_token=access_token,
        model=model,
        key=llm_api_key,
        base=llm_api_base,
        operators=operators,
        allowed=allowed_users,
        stage=image,
    )
    init.run(given, file, asks=asks)


Homeserver = Annotated[str, typer.Option(help="Such as https://matrix.example.org; needed the first time.")]
User = Annotated[str, typer.Option(help="Your Matrix id, to speak as yourself; needed the first time.")]
Room = Annotated[str, typer.Argument(help="A room id (!…), its beginning or name; as yourself: an id or an alias.")]


@app.command("chat")
def _chat_command(room: Room, homeserver: Homeserver = "", user: User = "") -> None:
    """Chat in a room, through the daemon that runs here, or as yourself.

    Without a terminal: say each line of stdin, and print its answer.
    """
    from roommate.cli import chat_and_send

    _run(chat_and_send.chat(room, homeserver, user))


@app.command("send")
def _send_command(
    room: Room,
    text: Annotated[str, typer.Argument(help="What to say; `-` reads it from stdin.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer and print it.")] = False,
    homeserver: Homeserver = "",
    user: User = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: the event id, and the answer.")] = False,
) -> None:
    """Say something in a room, through the daemon that runs here, or as yourself.

    With --wait the exit code is 1 when the turn failed.
    """
    from roommate.cli import chat_and_send

    said = sys.stdin.read() if text == "-" else text
    raise typer.Exit(_run(chat_and_send.send(room, said, wait=wait, homeserver=homeserver, user=user, as_json=as_json)))


@app.command("demo")
def _demo_command(
    once: Annotated[str, typer.Option(metavar="TEXT", help="Say this, print the answer, and end.")] = "",
    keep: Annotated[bool, typer.Option("--keep", help="Leave homeserver and daemon running when you go.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="End what --keep left running, and nothing else.")] = False,
    reset: Annotated[bool, typer.Option("--reset", help="Begin from nothing: forget accounts, rooms, files.")] = False,
    mesh: Annotated[bool, typer.Option("--mesh", help="With a second daemon, which works for the first.")] = False,
    folder: Annotated[Path, typer.Option(parser=typed_path, help="Where the demo keeps its state.")] = Path(
        ".roommate"
    ),
    timeout: Annotated[float, typer.Option(help="With --once: seconds to wait for the answer.")] = 300,
) -> None:
    """Everything on this machine: a homeserver, the daemon, a room, and a chat in it."""
    from roommate.cli import demo

    raise typer.Exit(_run(demo.run(folder, once=once, keep=keep, stop=stop, reset=reset, mesh=mesh, timeout=timeout)))


@app.command("doctor")
def _doctor_command(
    as_json: AsJson = False,
    probe: Annotated[bool, typer.Option("--probe", help="Call the model, run a container, send a test alert.")] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend first what is safe: modes, folders, a stale socket.")
    ] = False,
) -> None:
    """Look at everything that Roommate needs, and say how to mend it. Exits with 1 for warnings, 2 for failures."""
    from roommate.cli import doctor

    raise typer.Exit(_run(doctor.run(as_json=as_json, probe=probe, fix=fix)))


@app.command("audit")
def _audit_command(
    since: Annotated[str, typer.Option(help="Such as 2h, 7d or 2026-11-20; without it, the newest 50.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Check that no line was changed or taken out.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")] = False,
) -> None:
    """Show who did what, also while the daemon runs. With --verify the exit code is 1 when the log was changed."""
    from roommate.cli import audit

    raise typer.Exit(audit.run(since, verify=verify, as_json=as_json))


Root = Annotated[
    Path | None,
    typer.Option(parser=typed_path, help="The folder with the releases (default: the one that this is of)."),
]


@app.command("update")
def _update_command(
    ref: Annotated[str, typer.Argument(help="A branch, tag or commit (default: UPDATE_REF, or the newest).")] = "",
    check: Annotated[bool, typer.Option("--check", help="Only show what would come in.")] = False,
    root: Root = None,
    remote: Annotated[str, typer.Option(metavar="URL", help="Fetch from here, from now on.")] = "",
    cancel: Annotated[bool, typer.Option("--cancel", help="End one that has not switched over yet.")] = False,
    resume: Annotated[bool, typer.Option("--resume", hidden=True)] = False,
) -> None:
    """Go to another release: it is made beside the running one, tried, and left again when it does not work."""
    from roommate.cli import update

    if cancel:
        raise typer.Exit(update.cancel(root=root))
    raise typer.Exit(update.resume(root) if resume else update.update(ref, check=check, root=root, remote=remote))


@app.command("rollback")
def _rollback_command(
    root: Root = None,
    if_failing: Annotated[
        bool, typer.Option("--if-failing", help="For systemd: not when the newest update was a rollback itself.")
    ] = False,
) -> None:
    """Go back to the release before."""
    from roommate.cli import update

    raise typer.Exit(update.rollback(root=root, if_failing=if_failing))


@app.command("version")
def _version_command(as_json: AsJson = False) -> None:
    """Show the version and the release."""
    from roommate.cli import update

    update.version(as_json)


@app.command("self-check", hidden=True)
def _self_check_command() -> None:
    """Can this release run here?"""
    from roommate.cli import self_check

    _run(self_check.run())


@app.command("verify")
def _verify_command(
    who: Annotated[
        str, typer.Argument(metavar="USER|DEVICE", help="A Matrix id, or a device of the bot's own account.")
    ],
    device: Annotated[str, typer.Argument(help="One device of that user alone.")] = "",
) -> None:
    """Verify somebody by emoji: their client shows seven, and so does this terminal."""
    from roommate.cli import verify

    raise typer.Exit(verify.run(who, device))


@backup_app.callback()
def _backup_command(
    context: typer.Context,
    to: Annotated[
        Path | None,
        typer.Option(parser=typed_path, help="Folder of the backups (default: BACKUP_DIR)."),
    ] = None,
    settings: Annotated[bool, typer.Option(help="Put .env into it, which has keys and passwords.")] = True,
    as_json: AsJson = False,
) -> None:
    """Put the whole state into one file, also while the daemon runs. Prints its path."""
    if context.invoked_subcommand is None:
        from roommate.cli import backup

        backup.make(to, settings_too=settings, as_json=as_json)


@backup_app.command("verify")
def _backup_verify_command(
    path: Annotated[Path, typer.Argument(parser=typed_path, help="A backup, or a folder of backups.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object a backup.")] = False,
) -> None:
    """Read a backup whole: is everything in it as it was packed?"""
    from roommate.cli import backup

    backup.verify(path, as_json=as_json)


@app.command("restore")
def _restore_command(
    file: Annotated[Path, typer.Argument(parser=typed_path, help="A backup.")],
    to: Annotated[
        Path | None,
        typer.Option(
            parser=typed_path,
            help="An empty folder (default: STATE_DIR, as .env here or in the backup has it).",
        ),
    ] = None,
) -> None:
    """Make a backup the state of this host, which must have none; .env is written where there is none."""
    from roommate.cli import backup

    backup.restore(file, to)


@auth_app.command("status")
def _auth_status_command(as_json: AsJson = False) -> None:
    """Show who the bot is logged in as, and how; never a token. Exits with 1 where there is no login that works."""
    from roommate.cli import matrix_auth

    raise typer.Exit(_run(matrix_auth.status(as_json=as_json)))


@auth_app.command("login")
def _auth_login_command(
    token: Annotated[
        str, typer.Option(help="A login token that a browser got (SSO), or the address with it; @FILE reads it.")
    ] = "",
    password: Annotated[
        bool, typer.Option("--password", help="With the password, also where the homeserver wants a browser.")
    ] = False,
) -> None:
    """Log the bot in anew: with MATRIX_PASSWORD, in a browser, or as the homeserver has it. The daemon must not run."""
    from roommate.cli import matrix_auth

    _run(matrix_auth.login(token=token, password=password))


@auth_app.command("logout")
def _auth_logout_command() -> None:
    """End the bot's login at the homeserver, and forget it. The daemon must not run."""
    from roommate.cli import matrix_auth

    _run(matrix_auth.logout())


@image_app.command("build")
def _image_build_command(
    name: Annotated[str, typer.Option(help="Name of the image (default: SANDBOX_IMAGE).")] = "",
    stage: Annotated[
        str, typer.Option(help="base, core, browser or agents (default: what the image has now; a new one: core).")
    ] = "",
    at_least: Annotated[str, typer.Option(help="A stage that it goes up to where it is below.")] = "",
    fresh: Annotated[bool, typer.Option("--fresh", help="Make it anew, with the newest packages.")] = False,
) -> None:
    """Make the rooms' image, unless it is there already, made from the same recipe. Prints its id."""
    from roommate.cli import image

    typer.echo(_run(image.build(name, stage, at_least, fresh=fresh)))


@image_app.command("ls")
def _image_ls_command(as_json: AsJson = False) -> None:
    """Show the images that were made: stage, size, age, coding agents."""
    from roommate.cli import image

    _run(image.show(as_json))


def _run(work: Coroutine[Any, Any, T]) -> T:
    import asyncio  # a third of what `roommate --version` would take
    import logging
    import signal

    # What the daemon logs is not what a command says.
    logging.getLogger("roommate").addHandler(logging.NullHandler())

    async def until_signal() -> T:
        # Whoever closes the terminal, or ends us, means all that we started, like Ctrl-C.
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: task and task.cancel())
        return await work

    try:
        return asyncio.run(until_signal())
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(INTERRUPTED) from None
