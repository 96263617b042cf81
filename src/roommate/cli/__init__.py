"""`roommate` on the command line: the console script, and how an error ends the process."""

from __future__ import annotations

import gc
import os
import sys

from roommate import __version__, errors
from roommate.text.printable import printable


def main() -> None:
    """The console script. Whatever Roommate raises on purpose is one line on stderr and its exit code."""
    if sys.argv[1:] == ["--version"]:  # a tenth of the time: Typer needs pydantic to read options
        sys.stdout.write(f"{__version__}\n")
        return
    # Looking for cycles every 700 objects, as Python does, costs a third of what imports take and a fifth of a turn's
    # step: a model library makes thousands of objects a call, none of them in cycles.
    gc.set_threshold(50_000, 20, 20)
    code = 0
    try:
        if sys.argv[1:2] == ["status"] and set(sys.argv[2:]) <= {"--json", "--check"}:  # for the same reason
            from roommate.cli import status

            if "--check" in sys.argv:
                code = status.check(as_json="--json" in sys.argv)
            else:
                status.show(as_json="--json" in sys.argv)
            sys.stdout.flush()
            sys.exit(code)
        if sys.argv[1:] == ["run"]:
            from roommate.cli import run

            sys.exit(run.run())
        from roommate.cli import forward_to_daemon

        if forward_to_daemon.knows(sys.argv[1:]):
            try:
                forward_to_daemon.run(sys.argv[1:])
                sys.stdout.flush()
                return
            except errors.ControlError as wrong:
                # Is there no such word, or no daemon? Then what Typer says of the line comes first.
                if not isinstance(wrong, errors.NotRunning) and (len(sys.argv) > 2 or wrong.exit_code != 2):
                    raise
        from roommate.cli.app import app, complete

        (app if forward_to_daemon.is_local(sys.argv[1:]) else complete())()
    except* errors.RoommateError as group:
        error = errors.first(group)
        sys.stderr.write(f"roommate: {printable('; '.join(str(error).splitlines()))}\n")
        code = error.exit_code
    except* BrokenPipeError:
        if sys.argv[1:2] == ["run"]:
            raise
        # Who reads it has read enough, and nothing more is to be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except* OSError as group:
        unread = errors.first(group)
        if sys.argv[1:2] == ["run"] or unread.filename is None:  # else it is a file that somebody named
            raise
        sys.stderr.write(f"roommate: {printable(str(unread.filename))}: {unread.strerror}\n")
        code = 1
    finally:
        gc.freeze()  # nor at the end: with all of Roommate loaded that takes as long as a fourth of its imports
    sys.exit(code)
