"""What a command changes: a part of the transaction that answers it, so that a crash leaves both or neither."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from roommate.chat.commands import Changed
from roommate.store import Transaction, Work


@dataclass(frozen=True, slots=True)
class Change:
    """`work` does it, and gives what to answer: text alone where nothing had to be changed. It must not wait for
    anything; `after` is called when all of it is on the disk, as a start would see it there."""

    work: Work[str | Changed]
    after: Callable[[], Awaitable[None]] | None = None


def change(
    *works: Work[object], text: str, what: str, subject: str = "", after: Callable[[], Awaitable[None]] | None = None
) -> Change:
    """One that cannot fail: `what` was done to `subject`, says the audit log."""

    def work(c: Transaction) -> str | Changed:
        for one in works:
            one(c)
        return Changed(text, what, subject)

    return Change(work, after)
