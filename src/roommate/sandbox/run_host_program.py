"""Programs of the host, such as those that make images: started with a clean environment, read, ended with us."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import contextlib
import os
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from roommate.errors import EngineError, ImageError
from roommate.host import deadlines

_KEPT_ENV = re.compile(
    r"PATH|HOME|TMPDIR|USER|LOGNAME|(https?|no|all)_proxy|XDG_(RUNTIME|DATA|CONFIG)_(DIR|HOME)"
    r"|CONTAINERS_\w+|STORAGE_\w+",  # an image is made in the very storage that the rooms' Podman looks into
    re.IGNORECASE,
)
_LAST_LINES = 20
GRACE_SECONDS = 2.0
"""How long a program that is to end may take for it, before it is killed."""


async def output(*command: str) -> str:
    """What a command prints; empty when it fails. Raises EngineError when it is not installed."""
    process = await start(command)
    printed, _ = await communicate(process)
    return printed.decode(errors="replace") if process.returncode == 0 else ""


async def run(command: Sequence[str], doing: str) -> None:
    """Raises ImageError with the last line of stderr when it fails, EngineError when it is not installed."""
    process = await start(command)
    _, problem = await communicate(process)
    if process.returncode != 0:
        raise ImageError(f"{doing} failed: {last_line(problem)}")


async def follow(
    command: Sequence[str], stdin: str, on_line: Callable[[str], None], holds: Sequence[int] = ()
) -> tuple[int, list[str]]:
    """Give a program its stdin, and each line that it prints on stdout or stderr to `on_line` as it comes; its exit
    code and its last lines. It `holds` these open files, too. Raises EngineError when it is not installed."""
    process = await start(command, stdin=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, holds=holds)
    assert process.stdin is not None
    assert process.stdout is not None
    last: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        process.stdin.write(stdin.encode())
        process.stdin.close()
        async for line in _lines(process.stdout):
            on_line(line)
            last.append(line)
        return await process.wait(), list(last)
    finally:
        await _end(process)


async def start(
    command: Sequence[str],
    *,
    stdin: int = asyncio.subprocess.DEVNULL,
    stdout: int = asyncio.subprocess.PIPE,
    stderr: int = asyncio.subprocess.PIPE,
    holds: Sequence[int] = (),
) -> asyncio.subprocess.Process:
    """Raises EngineError when it is not installed."""
    environment = {name: value for name, value in os.environ.items() if _KEPT_ENV.fullmatch(name)} | {"LANG": "C.UTF-8"}
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment, pass_fds=holds
        )
    except FileNotFoundError as exc:
        raise EngineError(f"{command[0]} is not installed: apt install {Path(command[0]).name}") from exc


async def communicate(process: asyncio.subprocess.Process, stdin: str | None = None) -> tuple[bytes, bytes]:
    """What the process wrote to stdout and stderr; when we are cancelled it ends as well."""
    try:
        return await process.communicate(None if stdin is None else stdin.encode())
    finally:
        await _end(process)


def last_line(stderr: bytes) -> str:
    """For an error in one line."""
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        with contextlib.suppress(TimeoutError):
            async with deadlines.within(GRACE_SECONDS):
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    await process.wait()


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    """Of any length: progress bars print megabytes without an end of line."""
    rest = b""
    while piece := await stream.read(1 << 16):
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace").rstrip()
        rest = rest[-(1 << 16) :]
    if rest:
        yield rest.decode(errors="replace").rstrip()
