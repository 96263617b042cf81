"""Work that may take long, in a thread of its own: those that `asyncio.to_thread` shares are few, and whoever needs one
for a moment, such as an encrypted room, waits for as long. Nor does the end of the process wait for it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run(work: Callable[[], T], name: str) -> T:
    """What `work` gives, or raises; whoever stops waiting does not stop it. Few at once are the caller's to see to."""
    done = concurrent.futures.Future[T]()
    done.set_running_or_notify_cancel()

    def begin() -> None:
        try:
            done.set_result(work())
        except Exception as error:
            done.set_exception(error)

    threading.Thread(target=begin, name=name, daemon=True).start()
    return await asyncio.wrap_future(done)
