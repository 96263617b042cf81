"""The login that the bot has now, and the next one when its token runs out: stored before anything uses it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from roommate.domain import Account
from roommate.errors import MatrixError, Refused, StateError, TokenRevoked, Transient
from roommate.matrix_login import oauth, password_and_token

EARLY_SECONDS = 60.0
EARLY_PART = 0.2
"""Of a token's life: it is renewed so long before its end, and EARLY_SECONDS at most."""
AGAIN_SECONDS = 5.0
"""Between two tries to renew a token that is still good."""
TRIES = 3
"""Of one request, each with another token."""

log = logging.getLogger(__name__)

T = TypeVar("T")
Keep = Callable[[Account], Awaitable[None]]
"""Returns when the login is on the disk. Raises StateError."""


class Session:
    """A login whose tokens are renewed in time, by one task for all that wait.

    A refresh token is good for one renewal, but a server takes it again until one of the tokens that it gave was used.
    So a new login is stored first and used then: at each moment of a crash the stored one is good.
    """

    def __init__(
        self,
        account: Account,
        keep: Keep,
        *,
        password: str = "",
        ca: Path | None = None,
        renewed: Callable[[Account], None] = lambda _: None,
    ) -> None:
        """With the `password` one that cannot be renewed is had again, on the same device, when it has run out.
        `renewed` is told of each new login, before it is used."""
        self.account = account
        self._keep = keep
        self._password = password
        self._ca = ca
        self._renewed = renewed
        self._renewal: asyncio.Task[None] | None = None
        self._renew_at = _when(account)

    async def do(self, request: Callable[[str], Awaitable[T]]) -> T:
        """Ask with the token of now, and with the next one where that is not taken any more.

        Raises what `request` raises, TokenRevoked when there is no next token, Transient when it cannot be had now.
        """
        for left in reversed(range(TRIES)):
            await self._in_time()
            used = self.account.access_token
            try:
                return await request(used)
            except TokenRevoked as error:
                if not await self._next(used, has_run_out=error.soft):
                    raise
                if not left:  # a login that is renewed is not dead
                    raise Transient(f"tokens end as fast as they are renewed: {error}") from error
        raise AssertionError("unreachable")

    async def _in_time(self) -> None:
        """Renew a token that is about to end. While that cannot be done the old one is used to its end."""
        if time.time() < self._renew_at:
            return
        try:
            await self._next(self.account.access_token, has_run_out=False)
        except Transient as error:
            now = time.time()
            if now >= (self.account.expires_at or 0):
                raise
            log.warning("the login was not renewed: %s", error)
            self._renew_at = now + max(AGAIN_SECONDS, error.retry_after or 0.0)

    async def close(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def _next(self, used: str, *, has_run_out: bool) -> bool:
        """Have another token than the one that was `used`; False when there is no way to one."""
        if self.account.access_token != used:
            return True
        if not self.account.refresh_token and not (has_run_out and self._password):
            return False
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._renew())
            self._renewal.add_done_callback(lambda task: task.cancelled() or task.exception())
        # Who waits may give up; half a renewal would leave a login on the disk that the next renewal ends.
        await asyncio.shield(self._renewal)
        return True

    async def _renew(self) -> None:
        again = self._again if not self.account.refresh_token else None
        fresh = await self._asked_for(
            again or (oauth.renewed if self.account.client_id else password_and_token.renewed)
        )
        self._renewed(fresh)
        try:
            await self._keep(fresh)
        except StateError as error:
            raise Transient(f"the login was renewed, and cannot be stored: {error}") from error
        self.account, self._renew_at = fresh, _when(fresh)
        log.info("the login was renewed")

    async def _asked_for(self, ask: Ask) -> Account:
        try:
            return await ask(self.account, ca=self._ca)
        except (Refused, TokenRevoked) as error:
            raise TokenRevoked(f"the bot's login cannot be renewed: {error}") from error
        except Transient:
            raise
        except MatrixError as error:  # something before the server has answered in its place
            raise Transient(str(error)) from error

    async def _again(self, account: Account, *, ca: Path | None) -> Account:
        device = account.device_id
        return await password_and_token.by_password(
            account.homeserver, account.user_id, self._password, device_id=device, ca=ca
        )


class Ask(Protocol):
    async def __call__(self, account: Account, *, ca: Path | None) -> Account: ...


def _when(account: Account) -> float:
    """When to renew it, in seconds since 1970."""
    if account.expires_at is None or not account.refresh_token:
        return math.inf
    return account.expires_at - min(EARLY_SECONDS, EARLY_PART * max(0.0, account.expires_at - time.time()))
