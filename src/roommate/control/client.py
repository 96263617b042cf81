"""The command line's end of the control socket. It blocks: a command that asks one thing needs no event loop."""

from __future__ import annotations

import json
import socket
from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType

from roommate.control.frames import Frames, framed
from roommate.errors import ControlError, NotRunning

TYPE_CHECKING = False  # see roommate/errors.py
if TYPE_CHECKING:
    from typing import Any, Self

ANSWER_SECONDS = 150.0
"""Longer than any method but streams may take."""


class Client:
    """One connection to the daemon that listens on `path`. A context manager; made, it is connected.

    Raises NotRunning where nobody listens.
    """

    def __init__(self, path: Path, patience: float = ANSWER_SECONDS) -> None:
        """`patience` is how many seconds an answer may take."""
        self._patience = patience
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._frames = Frames()
        self._waiting: list[bytes] = []
        self._number = 0
        try:
            self._socket.connect(str(path))  # before there is a timeout: with one, it would not wait its turn
            self._socket.settimeout(patience)
        except PermissionError:
            self._socket.close()
            raise ControlError(f"this user may not control the daemon of {path}") from None
        except OSError as error:
            self._socket.close()
            why = (error.strerror or str(error)).lower()
            raise NotRunning(
                f"no daemon is running here ({path}: {why}): `roommate start` starts one; if one runs, call this in "
                f"the folder of its .env"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **params: Any) -> Any:
        """The method's result. Raises ControlError."""
        for said in self._exchange(method, params):
            if "method" not in said:
                return said.get("result")
        raise AssertionError("an exchange ends with a response")

    def stream(self, method: str, **params: Any) -> Generator[Any, None, Any]:
        """The pieces that the method sends, as they come, for as long as it likes; gives its result at last.

        Raises ControlError.
        """
        self._socket.settimeout(None)
        for said in self._exchange(method, params):
            if "method" not in said:
                return said.get("result")
            yield said["params"]["item"]

    def _exchange(self, method: str, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """What comes for one request: notifications, and its response at last."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        try:
            self._socket.sendall(framed(json.dumps(request).encode()))
            while True:
                said = self._receive()
                if error := said.get("error"):
                    raise ControlError(error["message"], error.get("data", {}).get("exit_code", 1))
                yield said
                if "method" not in said:
                    return
        except TimeoutError:
            raise ControlError(
                f"the daemon has not answered within {self._patience:g} s: `roommate logs` may say why"
            ) from None
        except OSError as error:
            raise ControlError(f"the daemon hung up: {error.strerror or error}") from error

    def _receive(self) -> dict[str, Any]:
        while not self._waiting:
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise ConnectionResetError("it ended, or closed the connection")
            self._waiting += self._frames.feed(piece)
        said: dict[str, Any] = json.loads(self._waiting.pop(0))
        return said
