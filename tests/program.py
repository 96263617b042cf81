"""`roommate …` as a program that ends: what it prints, and its exit code."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.harness import ROOMMATE
from tests.nursery import Nursery
from tests.patience import PATIENCE

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


async def run(
    *arguments: str | Path, cwd: Path, environment: Mapping[str, str], stdin: bytes = b""
) -> tuple[int, bytes, bytes]:
    """Exit code, stdout, stderr."""
    nursery = await Nursery.shared()
    with tempfile.TemporaryDirectory(prefix="rp-") as folder:
        given, out, errors = (Path(folder) / name for name in ("in", "out", "err"))
        given.write_bytes(stdin)
        command = [str(ROOMMATE), *map(str, arguments)]
        process = await nursery.bear(command, folder=cwd, environment=environment, stdin=given, out=out, errors=errors)
        try:
            async with asyncio.timeout(PATIENCE):
                code = await process.wait()
        finally:
            process.kill()
        return code, out.read_bytes(), errors.read_bytes()
