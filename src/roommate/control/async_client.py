"""A stream of the daemon for those who have an event loop: the terminal chat, which does other things meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from roommate.control.frames import Frames, framed
from roommate.errors import ControlError


async def stream(path: Path, method: str, **params: Any) -> AsyncGenerator[Any]:
    """The pieces that a method sends, as they come. Raises ControlError."""
    writer = None
    try:
        reader, writer = await asyncio.open_unix_connection(path)
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        writer.write(framed(json.dumps(request).encode()))
        frames = Frames()
        while piece := await reader.read(1 << 16):
            for content in frames.feed(piece):
                said = json.loads(content)
                if "method" not in said:
                    raise ControlError(said.get("error", {}).get("message", "the stream has ended"))
                yield said["params"]["item"]
        raise ControlError("the daemon hung up")
    except OSError as error:
        raise ControlError(f"the daemon does not answer: {error.strerror or error}") from error
    finally:
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()
