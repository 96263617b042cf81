"""How the homeserver is asked by what encrypts: the client-server API, raw."""

from __future__ import annotations

from typing import Protocol

from roommate.domain import JsonObject


class Ask(Protocol):
    async def call(
        self, what: str, method: str, path: str, body: JsonObject | None = None, seconds: float = ..., also: int = ...
    ) -> JsonObject:
        """The answer to a request below ``/_matrix/client/v3``; where it asks with the status `also` for further proof
        of who we are, that as well. Raises MatrixError."""
        ...
