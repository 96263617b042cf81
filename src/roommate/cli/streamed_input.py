"""What a method of the daemon sends, while it is given what comes at our stdin, or out of a file."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roommate.control.frames import Frames, framed
from roommate.errors import ControlError

PIECE = 192 << 10
"""Bytes of input at once: as base64 they fit into a frame."""

Read = Callable[[int], bytes]
"""Gives so many bytes of the input at most, b"" at its end. It may block."""
Take = Callable[[Any], None]
"""Takes an item of the stream."""


async def streamed(path: Path, method: str, params: dict[str, Any], read: Read | None, take: Take) -> Any:
    """The method's result, from the daemon that listens on `path`. Raises ControlError."""
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except OSError as error:
        raise ControlError(f"the daemon does not answer: {error.strerror or error}") from error
    try:
        return await _Streamed(reader, writer, read, take).run(method, params)
    except OSError as error:
        raise ControlError(f"the daemon hung up: {error.strerror or error}") from error
    finally:
        writer.close()


class _Streamed:
    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, read: Read | None, take: Take
    ) -> None:
        self._reader, self._writer, self._read, self._take = reader, writer, read, take
        self._requests = 0
        self._answered: dict[int, asyncio.Future[bool]] = {}
        """Whether the daemon took it."""
        self._giving: asyncio.Task[None] | None = None

    async def run(self, method: str, params: dict[str, Any]) -> Any:
        asked = self._ask(method, params)
        frames = Frames()
        try:
            while piece := await self._reader.read(1 << 16):
                for content in frames.feed(piece):
                    said = json.loads(content)
                    if said.get("method"):
                        self._item(said["params"]["item"])
                    elif said["id"] is None:  # it takes no connection, or no request, more
                        raise ControlError(said["error"]["message"])
                    elif said["id"] != asked:
                        self._answered.pop(said["id"]).set_result("error" not in said)
                    elif error := said.get("error"):
                        raise ControlError(error["message"], error.get("data", {}).get("exit_code", 1))
                    else:
                        return said["result"]
            raise ControlError("the daemon hung up")
        finally:
            if self._giving is not None:
                self._giving.cancel()
                await asyncio.wait([self._giving])

    def _item(self, item: Any) -> None:
        if isinstance(item, dict) and "shell" in item and self._read is not None:
            self._giving = asyncio.create_task(self._give(item["shell"], self._read))
        self._take(item)

    async def _give(self, name: str, read: Read) -> None:
        """One piece after the other: the answer says that there may be more."""
        while data := await _apart(read):
            if not await self._do("mesh.type", shell=name, keys=base64.b64encode(data).decode()):
                return  # it takes no more
        await self._do("mesh.end", shell=name)

    async def _do(self, method: str, **params: Any) -> bool:
        number = self._ask(method, params)
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answered[number] = answered
        await self._writer.drain()
        return await answered

    def _ask(self, method: str, params: dict[str, Any]) -> int:
        self._requests += 1
        request = {"jsonrpc": "2.0", "id": self._requests, "method": method, "params": params}
        self._writer.write(framed(json.dumps(request).encode()))
        return self._requests


async def _apart(read: Read) -> bytes:
    """Read in a thread that nobody waits for: input that never comes keeps no program from ending."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[bytes] = loop.create_future()

    def done(data: bytes) -> None:
        if not found.done():
            found.set_result(data)

    def work() -> None:
        try:
            data = read(PIECE)
        except OSError:
            data = b""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(done, data)

    threading.Thread(target=work, name="input", daemon=True).start()
    return await found
