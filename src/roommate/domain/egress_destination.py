"""Where rooms connect to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Destination:
    """Where rooms connect to: ``host`` a name, an address, ``*.example.org`` for all below it, ``*`` for any.

    ``port`` 0 stands for the web's, 80 and 443.
    """

    host: str
    port: int = 0

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host
