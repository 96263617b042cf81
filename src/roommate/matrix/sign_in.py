"""Into the bot's account: with the settings' token, else the saved login, else the password."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from roommate.domain import Account
from roommate.errors import TokenRevoked, Transient
from roommate.matrix.homeserver import Homeserver
from roommate.net.retrying import patiently
from roommate.settings.config import Settings

log = logging.getLogger(__name__)


async def sign_in(homeserver: Homeserver, kept: Callable[[], Awaitable[Account | None]], settings: Settings) -> None:
    """As soon as the homeserver answers. `kept` gives the saved login. Raises TokenRevoked."""
    dead = ""
    password, token = settings.matrix_password.get_secret_value(), settings.matrix_access_token.get_secret_value()

    async def attempt() -> None:
        nonlocal dead
        saved = await kept()  # anew each time: a try that failed may have changed it
        if saved is not None and saved.access_token == dead:
            saved = None
        try:
            await homeserver.sign_in(password, saved, token)
        except TokenRevoked:
            if token or saved is None or not password:
                raise
            log.warning("the saved login is dead: logging in anew with MATRIX_PASSWORD")
            dead = saved.access_token
            await attempt()

    def gives_up(error: Transient, delay: float) -> bool:
        log.warning("%s; trying again in %.0f s", error, delay)
        return False

    await patiently(attempt, gives_up=gives_up)
