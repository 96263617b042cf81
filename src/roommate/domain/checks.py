"""What doctor finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: ``what``, what was ``found``, and how to ``mend`` it when it is not ok.

    What is not ``needed`` is a warning: Roommate works without it, less well or less safely.
    """

    what: str
    ok: bool
    found: str
    mend: str = ""
    needed: bool = True

    @property
    def level(self) -> str:
        """``ok``, ``warn`` or ``fail``."""
        return "ok" if self.ok else "fail" if self.needed else "warn"
