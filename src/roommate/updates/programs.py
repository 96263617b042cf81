"""Programs that updates are made with: started, waited for within a time, their last line kept when they fail."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from roommate.errors import UpdateError
from roommate.host.die_with_parent import tied

LONGEST_LINE = 300


def run(
    command: Sequence[str | Path],
    doing: str,
    *,
    seconds: float,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
) -> bytes:
    """What it printed on stdout. Raises UpdateError with what it said on stderr when it fails or takes too long."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, timeout=seconds, check=False, env=env)
    except subprocess.TimeoutExpired:
        raise UpdateError(f"{doing} was not done after {seconds:.0f} s") from None
    except OSError as error:
        raise UpdateError(f"{doing} failed: {command[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise UpdateError(f"{doing} failed: {last_words(done.stderr)}")
    return done.stdout


def work(command: Sequence[str | Path], doing: str, *, seconds: float) -> None:
    """As `run`, in the main thread, for what makes a release: it ends with us, also when we are killed. Whoever comes
    next begins anew, and nobody else is at work there then."""
    run(tied([os.fspath(word) for word in command], "KILL"), doing, seconds=seconds)


def last_words(output: bytes) -> str:
    """For an error in one line: the last one, or all from where a program such as git says that it begins."""
    lines = [line.strip() for line in output.decode(errors="replace").splitlines() if line.strip()]
    if not lines:
        return "it said nothing"
    begins = next((at for at, line in enumerate(lines) if line.startswith(("fatal: ", "error: "))), len(lines) - 1)
    return " ".join(lines[begins:])[:LONGEST_LINE]
