"""A stranger at the control socket, who says bytes and hears bytes: nothing of Roommate is used here."""

from __future__ import annotations

import json
import socket
import struct
from pathlib import Path
from typing import Any, Self

JsonObject = dict[str, Any]


class Wire:
    """A context manager; made, it is connected. Everything blocks, five seconds at most."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.socket.settimeout(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, *messages: Any) -> None:
        for message in messages:
            content = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.socket.sendall(struct.pack(">I", len(content)) + content)

    def hear(self) -> Any:
        """The next message; None when the other side has hung up."""
        head = self._read(4)
        return json.loads(self._read(struct.unpack(">I", head)[0])) if head else None

    def ask(self, message: Any) -> Any:
        self.say(message)
        return self.hear()

    def _read(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            try:
                piece = self.socket.recv(count - len(content))
            except ConnectionResetError:
                return b""
            if not piece:
                return b""
            content += piece
        return content


def call(method: str, number: int | None = 1, **params: Any) -> JsonObject:
    request: JsonObject = {"jsonrpc": "2.0", "method": method, "params": params}
    return request if number is None else request | {"id": number}
