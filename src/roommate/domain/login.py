"""The bot's login."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from roommate.domain.ids import UserId

Way = Literal["password", "login token", "OAuth", "MATRIX_ACCESS_TOKEN"]
"""How an account was logged in to."""


@dataclass(frozen=True, slots=True)
class Account:
    """A login. One that ends has the time of it in `expires_at`, in seconds since 1970."""

    homeserver: str
    user_id: UserId
    device_id: str
    """Empty for a token that belongs to no device."""
    access_token: str = field(repr=False)
    way: Way = "password"
    refresh_token: str = field(default="", repr=False)
    """Gets the next access token, and with it the next of these; empty where there is none."""
    expires_at: float | None = None
    client_id: str = ""
    """What the authorization server calls us, for OAuth."""
