"""Programs of the operator's that a setting names, such as ALERT_COMMAND: words and no shell, bounded in time."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Mapping

from roommate.errors import ProgramFailed

LONGEST_WORDS = 300
LAST_BYTES = 8 << 10
"""Of what it printed: its last words are in there."""


def run_configured_command(
    name: str, command: str, *more: str, text: str = "", env: Mapping[str, str], seconds: float
) -> None:
    """Run the words of `command`, and `more` behind them, with `text` at stdin. Blocks.

    `name` is that of the setting. Raises ProgramFailed: it cannot be started, says no, or took more than `seconds`;
    then it is killed with all that it started.
    """
    with tempfile.TemporaryFile() as out:  # not a pipe: what it prints in minutes is not for our memory
        try:
            process = subprocess.Popen(
                [*shlex.split(command), *more],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise ProgramFailed(f"{name} could not be started: {why}") from error
        with process:
            try:
                process.communicate(text.encode(errors="replace"), timeout=seconds)
            except subprocess.TimeoutExpired:
                _kill(process)
                raise ProgramFailed(f"{name} was killed: it took more than {seconds:.0f} s") from None
            except BaseException:
                _kill(process)
                raise
        out.seek(max(0, out.seek(0, os.SEEK_END) - LAST_BYTES))
        said = out.read(LAST_BYTES)
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        last = f": {lines[-1][:LONGEST_WORDS]}" if lines else ""
        raise ProgramFailed(f"{name} ended with code {process.returncode}{last}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
