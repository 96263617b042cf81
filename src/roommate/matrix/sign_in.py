"""Into the bot's account: with the settings' token, else the saved login, else the password."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from roommate.domain import Account
from roommate.errors import ConfigError, Refused, TokenRevoked, Transient
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.homeserver import Homeserver
from roommate.matrix_login import password_and_token
from roommate.net.retrying import patiently
from roommate.settings.config import Settings

log = logging.getLogger(__name__)


async def sign_in(
    homeserver: Homeserver,
    kept: Callable[[], Awaitable[Account | None]],
    settings: Settings,
    encryption: Encryption | None = None,
) -> None:
    """As soon as the homeserver answers. `kept` gives the saved login. Raises TokenRevoked, ConfigError.

    A device whose keys are not here any more encrypts nothing again: others would write to it what nobody can read.
    With a password there is a new one; without, the bot is there for rooms without encryption alone.
    """
    dead = ""
    password, token = settings.matrix_password.get_secret_value(), settings.matrix_access_token.get_secret_value()

    async def attempt() -> None:
        nonlocal dead
        saved = await kept()  # anew each time: a try that failed may have changed it
        if saved is not None and saved.access_token == dead:
            saved = None
        try:
            login = await homeserver.sign_in(password, saved, token)
        except TokenRevoked:
            if token or saved is None or not password:
                raise
            log.warning("the saved login is dead: logging in anew with MATRIX_PASSWORD")
            dead = saved.access_token
            await attempt()
        else:
            if encryption is not None:
                await begin(encryption, login)

    async def begin(encryption: Encryption, login: Account) -> None:
        try:
            if await encryption.begin(login, password):
                return
            if not password or token:
                how = "set MATRIX_ACCESS_TOKEN to that of a new login" if token else "run `roommate auth login`"
                raise Refused(
                    f"the encryption keys of the bot's device {login.device_id} are not in STATE_DIR any more, so that "
                    f"it cannot be used for encrypted rooms: {how}, which makes a new device"
                )
            log.error(
                "the encryption keys of the bot's device %s are not in STATE_DIR any more: logging in as a new device; "
                "what was said in encrypted rooms before cannot be read again",
                login.device_id,
            )
            fresh = await homeserver.sign_in(password, None)
            await password_and_token.log_out(login, ca=settings.matrix_ca)
            await encryption.begin(fresh, password)
        except Refused as error:
            if settings.e2ee == "required":
                raise ConfigError(str(error)) from error
            encryption.stand_still(str(error))
            log.error("encrypted rooms are neither read nor answered: %s", error)

    def gives_up(error: Transient, delay: float) -> bool:
        log.warning("%s; trying again in %.0f s", error, delay)
        return False

    await patiently(attempt, gives_up=gives_up)
