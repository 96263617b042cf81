"""How somebody at a terminal lets the bot into its account, and where that login is kept."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from rich.console import Console
from rich.markup import escape

from roommate.cli.path_and_secret_arguments import typed_secret
from roommate.domain import Account
from roommate.errors import ConfigError, RoommateError, StateError, TokenRevoked
from roommate.maintenance import remote_checks
from roommate.matrix_login import oauth, password_and_token
from roommate.matrix_login.password_and_token import CLIENT_API
from roommate.settings.config import Settings
from roommate.store import Database, Inbox, reading
from roommate.text.qr_code import qr_code

LANDING = "http://localhost/"
"""Where a browser goes with a login token: nobody answers there, and the address has the token in it."""


@contextlib.asynccontextmanager
async def kept(settings: Settings) -> AsyncIterator[Inbox]:
    """Where logins are kept, with no daemon on it meanwhile. Raises StateError when one runs."""
    if remote_checks.is_running(settings):
        raise StateError(
            "the daemon runs with this login: first `roommate stop`, or `systemctl stop roommate` (for a user's unit "
            "with --user)"
        )
    database = Database.open(settings.state_dir)
    try:
        yield Inbox(database)
    finally:
        await database.close()


def saved(settings: Settings) -> Account | None:
    """The login that is kept; a daemon may run with it."""
    with contextlib.suppress(StateError), reading(settings.state_dir) as c:
        return Inbox.login(c)
    return None


async def works(account: Account, ca: Path | None) -> bool:
    """It can be used, or renewed. Raises MatrixError."""
    try:
        await password_and_token.given(account.homeserver, account.access_token, ca=ca)
    except TokenRevoked:
        return bool(account.refresh_token)
    return True


async def keep(inbox: Inbox, account: Account, ca: Path | None) -> None:
    """In the place of the login before, which is ended."""
    before = await inbox.account()
    await inbox.keep_account(account)
    if before is not None and before.homeserver == account.homeserver and before.device_id != account.device_id:
        with contextlib.suppress(RoommateError):  # what is left of it ends by itself
            await end(before, ca)


async def end(account: Account, ca: Path | None) -> None:
    """At the homeserver. Raises MatrixError, TokenRevoked where only the next token could."""
    await (oauth.revoke if account.client_id else password_and_token.log_out)(account, ca=ca)


async def in_browser(server: oauth.Server, console: Console, ca: Path | None) -> Account:
    """Show where to let the bot in, and wait until somebody has. Raises Refused when nobody does, MatrixError."""

    def show(grant: oauth.Grant) -> None:
        console.print("Let the bot in, logged in to [bold]its[/] account and not to yours, in any browser:")
        console.print(f"    [bold]{escape(grant.whole_address or grant.address)}[/]", soft_wrap=True)
        if console.is_terminal:
            picture = qr_code(grant.whole_address or grant.address)
            # White blocks on black, whatever the colours of the terminal are: readers want it so.
            console.file.writelines(f"\x1b[40;97m{row}\x1b[0m\n" for row in picture.splitlines())
        console.print(f"The code is [bold]{escape(grant.user_code)}[/]. Waiting …")

    return await oauth.log_in(server, show, ca=ca)


def sso_address(homeserver: str) -> str:
    """Where a browser gets a login token: https://spec.matrix.org/v1.15/client-server-api/#sso-client-loginauthentication"""
    return f"{homeserver}{CLIENT_API}/login/sso/redirect?redirectUrl={quote(LANDING, safe='')}"


def login_token(given: str) -> str:
    """The login token that somebody pasted, or that is in the address that they landed at; ``@FILE`` holds it."""
    given = typed_secret(given)
    if given.startswith(("http://", "https://")):
        given = next(iter(parse_qs(urlsplit(given).query).get("loginToken", ())), "")
        if not given:
            raise ConfigError("there is no loginToken in this address")
    return given
