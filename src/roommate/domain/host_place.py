"""Where a program may run that runs in no container."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class HostPlace:
    """Outside of containers, on the daemon's own host."""

    kind: Literal["bubblewrap", "host"]
    user: str = ""
    """Who runs there; empty is the daemon's own user, in bubblewrap alone and never root."""
    network: bool = False
    """In bubblewrap: may it use the host's network?"""
