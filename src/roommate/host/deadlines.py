"""Time limits: asyncio's, which hold in a cleanup as well.

Before Python 3.11.4, as Debian 12 has it, a limit that runs out in a task which is cancelled already raises
CancelledError, and what the cleanup was to do about it is not done: https://github.com/python/cpython/issues/102780
"""

from __future__ import annotations

import asyncio
import sys
from types import TracebackType


class _HoldsInCleanups(asyncio.Timeout):  # type: ignore[misc]
    async def __aenter__(self) -> _HoldsInCleanups:
        self._cancelled_before = _current_task().cancelling()
        await super().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await super().__aexit__(kind, error, trace)
        ours = isinstance(error, asyncio.CancelledError) and self.expired()
        if ours and _current_task().cancelling() <= self._cancelled_before:
            raise TimeoutError from error


def within(seconds: float | None) -> asyncio.Timeout:
    """As `asyncio.timeout`: raises TimeoutError where what it is entered for takes longer."""
    return at(None if seconds is None else asyncio.get_running_loop().time() + seconds)


def at(when: float | None) -> asyncio.Timeout:
    """As `asyncio.timeout_at`: `when` is of the event loop's clock."""
    return asyncio.Timeout(when) if sys.version_info >= (3, 11, 4) else _HoldsInCleanups(when)


def _current_task() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task
