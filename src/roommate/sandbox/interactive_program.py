"""The daemon's end of a program that is talked to while it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from roommate.domain import Exit, Take
from roommate.sandbox.call import Call


class Session:
    """`Session`."""

    def __init__(
        self, call: Call, finish: Callable[[Take, Take], Awaitable[Exit]], steer: Callable[..., Awaitable[None]]
    ) -> None:
        """`finish` is the call's own, `steer` asks the hand to do something with the call of this number."""
        self._call, self._finish, self._steer = call, finish, steer

    async def finish(self, on_output: Take, on_errors: Take = lambda _: None) -> Exit:
        return await self._finish(on_output, on_errors)

    async def write(self, data: bytes) -> None:
        await self._call.write(data)

    def end(self) -> None:
        self._call.end()

    async def resize(self, rows: int, columns: int) -> None:
        await self._steer(op="resize", call=self._call.number, size=[rows, columns])

    async def signal(self, number: int) -> None:
        await self._steer(op="signal", call=self._call.number, signal=number)
