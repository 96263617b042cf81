"""`roommate exec`, `call` and `share`: work for other daemons, through the one that runs here."""

from __future__ import annotations

import base64
import codecs
import contextlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import typer
from typer.core import TyperCommand

from roommate import control
from roommate.cli import daemon_requests
from roommate.cli.daemon_requests import NOT_DONE, USAGE, asking_peers
from roommate.cli.path_and_secret_arguments import STREAM, AsJson, typed_path
from roommate.cli.status import connect
from roommate.errors import ControlError, Misused
from roommate.host import daemon_location
from roommate.text.printable import printable

app = typer.Typer()
share = typer.Typer(no_args_is_help=True, help="Files of other daemons' rooms.")

Peer = Annotated[str, typer.Option("--peer", help="Its name here, Matrix id, or the beginning of its words.")]
Room = Annotated[str, typer.Option("--room", help="A room's id, its beginning or name (default: the one shared).")]
There = Annotated[str, typer.Argument(help="A path in the peer's room; /workspace is where it begins.")]
Local = Annotated[Path, typer.Argument(parser=typed_path, help="A file here; `-` is stdin or stdout.")]


_WRONG: type[Exception] = typer.BadParameter.__mro__[1]
"""What Typer raises for all that is wrong with a line: click's UsageError, of which Typer may have a copy."""


class PeerCommand(TyperCommand):
    """What is wrong with the line has a code of its own: 2 may be what the command there ended with."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except _WRONG as error:
            setattr(error, "exit_code", USAGE)  # noqa: B010 — it is one of the class
            raise


@app.command("exec", cls=PeerCommand, context_settings={"ignore_unknown_options": True})
def _exec(
    command: Annotated[list[str], typer.Argument(help="The program and its arguments.")],
    peer: Peer,
    room: Room = "",
    pty: Annotated[
        bool, typer.Option("--pty", help="In a terminal, as this one; Enter ~ . leaves and ends it.")
    ] = False,
    cwd: Annotated[str, typer.Option(help="The folder there (default: /workspace).")] = "",
    place: Annotated[
        str,
        typer.Option(
            help="fresh (a new container, empty and without a way out), bubblewrap or host (default: its room's)."
        ),
    ] = "room",
    env: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, as its policy allows.")] = None,
    timeout: Annotated[int, typer.Option(min=1, max=86_400, help="Seconds until it is ended there.")] = 3600,
    term: Annotated[str, typer.Option(envvar="TERM", show_default=False, help="What terminal this is.")] = "dumb",
    as_json: AsJson = False,
) -> None:
    """Run a program in the room of another daemon; its exit code is ours, its stdin what we get.

    Otherwise 64: the line is wrong; 77: refused; 124: its time was over; 255: no answer, or one that does not count.
    """
    from roommate.cli import shell_terminal

    named = dict(one.partition("=")[::2] for one in env or ())
    if any("=" not in one for one in env or ()):
        raise _misused("--env is NAME=VALUE")
    asked = {"peer": peer, "room": room, "argv": command, "cwd": cwd, "env": named, "timeout": timeout}
    asked["place"] = place
    if pty:
        if as_json or not sys.stdin.isatty():
            raise _misused("--pty needs a terminal" if not as_json else "--pty prints no JSON")

        def opens(rows: int, columns: int) -> tuple[str, dict[str, Any]]:
            return "mesh.exec", asked | {"pty": {"rows": rows, "columns": columns, "term": term or "dumb"}}

        program = shell_terminal.Program(opens, "mesh.type", "mesh.resize")
        with asking_peers():
            raise typer.Exit(_run(lambda path: shell_terminal.attend(path, program)))
    shown = _Shown(as_json)
    read = None if sys.stdin.isatty() else _stdin()
    with asking_peers():
        ended = _streamed("mesh.exec", asked | {"stdin": read is not None}, read, shown.take)
    shown.end(ended)
    raise typer.Exit(shell_terminal.exit_code(ended))


@app.command("call", cls=PeerCommand)
def _call(
    tool: Annotated[str, typer.Argument(help="As `roommate who` names it.")],
    peer: Peer,
    arguments: Annotated[str, typer.Argument(help="A JSON object.")] = "{}",
    room: Room = "",
    as_json: AsJson = False,
) -> None:
    """Call a tool of another daemon's room; exits with 1 where it failed there."""
    try:
        given = json.loads(arguments)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise _misused(f'the arguments are a JSON object, such as \'{{"path": "README.md"}}\', not {arguments[:80]!r}')
    shown = _Shown(as_json)
    with asking_peers():
        ended = _streamed("mesh.call", {"peer": peer, "room": room, "tool": tool, "arguments": given}, None, shown.take)
    if not as_json and (text := ended.get("text")):
        sys.stdout.write(printable(text) + "\n")
    shown.end(ended)
    raise typer.Exit(0 if ended.get("ok") is True else 1)


@share.command("put", cls=PeerCommand)
def _put(source: Local, path: There, peer: Peer, room: Room = "", as_json: AsJson = False) -> None:
    """Give a file to another daemon's room."""
    with contextlib.ExitStack() as stack:
        file = sys.stdin.buffer if source == STREAM else stack.enter_context(_opened(source, "rb"))
        shown = _Shown(as_json)
        with asking_peers():
            ended = _streamed("mesh.share_put", {"peer": peer, "room": room, "path": path}, file.read, shown.take)
    shown.end(ended)


@share.command("get", cls=PeerCommand)
def _get(path: There, peer: Peer, to: Local = STREAM, room: Room = "", as_json: AsJson = False) -> None:
    """Get a file of another daemon's room. A file here is there when all of it has come, and its hash is right."""
    asked = {"peer": peer, "room": room, "path": path}
    if to == STREAM:
        if as_json:
            raise _misused("--json needs a file for what comes: stdout is for the JSON")
        with asking_peers():
            _streamed("mesh.share_get", asked, None, _Shown().take)
        return
    target = to / Path(path).name if to.is_dir() else to
    draft = target.with_name(f".{target.name}.part-{os.getpid()}")
    try:
        with _opened(draft, "xb") as file, asking_peers():
            ended = _streamed("mesh.share_get", asked, None, _Shown(out=file).take)
        draft.replace(target)
    except OSError as error:
        raise ControlError(f"{target}: {error.strerror}", NOT_DONE) from error
    finally:
        draft.unlink(missing_ok=True)
    if as_json:
        daemon_requests.show_json(ended | {"file": str(target)})


class _Screen:
    """A terminal, which a peer's output must not command: it could write what was never printed, or type."""

    def __init__(self, out: BinaryIO) -> None:
        self._out, self._text = out, codecs.getincrementaldecoder("utf-8")("replace")

    @staticmethod
    def of(out: BinaryIO) -> BinaryIO | _Screen:
        return _Screen(out) if out.isatty() else out

    def write(self, piece: bytes) -> None:
        self._out.write(printable(self._text.decode(piece)).encode())

    def flush(self) -> None:
        self._out.flush()


class _Shown:
    """Takes the items of a stream: prints them, or keeps them for the JSON at its end."""

    def __init__(self, as_json: bool = False, out: BinaryIO | None = None) -> None:
        self._kept = (bytearray(), bytearray()) if as_json else None
        self._out = _Screen.of(out or sys.stdout.buffer)
        self._errors = _Screen.of(sys.stderr.buffer)

    def take(self, item: Any) -> None:
        if isinstance(item, dict) and "told" in item:
            sys.stderr.write(f"roommate: {printable(item['told'])}\n")
            sys.stderr.flush()
        elif not (isinstance(item, dict) and "shell" in item):
            errors = isinstance(item, dict)
            piece = base64.b64decode(item["errors"] if errors else item)
            if self._kept is not None:
                self._kept[errors].extend(piece)
                return
            to = self._errors if errors else self._out
            to.write(piece)
            to.flush()

    def end(self, result: dict[str, Any]) -> None:
        if self._kept is not None:
            out, errors = (bytes(one).decode(errors="replace") for one in self._kept)
            daemon_requests.show_json(result | {"stdout": out, "stderr": errors})


def _streamed(
    method: str, params: dict[str, Any], read: Callable[[int], bytes] | None, take: Callable[[Any], None]
) -> Any:
    from roommate.cli import streamed_input

    return _run(lambda path: streamed_input.streamed(path, method, params, read, take))


def _run(work: Callable[[Path], Any]) -> Any:
    import asyncio  # a fifth of a second

    with connect():  # to say what is wrong where nobody is there
        pass
    try:
        return asyncio.run(work(daemon_location.run_dir() / control.NAME))
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _opened(path: Path, mode: str) -> BinaryIO:
    try:
        return cast("BinaryIO", path.open(mode))
    except OSError as error:
        raise _misused(f"{path}: {error.strerror}") from error


def _misused(why: str) -> Misused:
    error = Misused(why)
    error.exit_code = USAGE
    return error


def _stdin() -> Callable[[int], bytes] | None:
    """What reads our stdin; None where there is nothing in it, as in /dev/null."""
    try:
        return None if Path("/dev/stdin").samefile(os.devnull) else lambda most: os.read(0, most)
    except OSError:
        return None  # it is closed
