"""`roommate auth`: whom the bot is logged in as, a new login, and none."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime

import typer
from rich.console import Console
from rich.prompt import Prompt

from roommate.cli.matrix_login_flow import end, in_browser, keep, kept, login_token, saved, sso_address
from roommate.domain import Account
from roommate.errors import ConfigError, MatrixError, Refused, TokenRevoked, Transient
from roommate.maintenance import remote_checks
from roommate.matrix_login import Session, oauth, password_and_token
from roommate.settings import config
from roommate.settings.config import Settings
from roommate.text.amounts import age


async def status(*, as_json: bool) -> int:
    """Print it, never the token; 1 where there is no login that the homeserver takes. Raises ConfigError."""
    settings = config.load()
    settings.require_matrix()
    account = remote_checks.account(settings, saved(settings))
    found: dict[str, object] = {"user": settings.matrix_user, "homeserver": settings.matrix_homeserver, "login": None}
    if account is None:
        password = bool(settings.matrix_password.get_secret_value())
        found["state"] = "none yet; the first start uses MATRIX_PASSWORD" if password else "none: `roommate auth login`"
    else:
        found |= {"user": account.user_id, "homeserver": account.homeserver, "login": account.way}
        found |= {"device": account.device_id or None, "expires_at": account.expires_at}
        found |= {"renewed": bool(account.refresh_token), **await _asked(account, settings)}
    if as_json:
        typer.echo(json.dumps(found, indent=1))
    else:
        for name, text in _rows(found, account):
            typer.echo(f"{name:11}{text}")
    return 0 if found["state"] in (GOOD, RENEWED) else 1


GOOD = "good"
RENEWED = "has run out; a start renews it"


async def _asked(account: Account, settings: Settings) -> dict[str, object]:
    """What the homeserver says of a login."""
    try:
        whose = await password_and_token.given(account.homeserver, account.access_token, ca=settings.matrix_ca)
    except TokenRevoked:
        return {"state": RENEWED if account.refresh_token else "dead: the homeserver does not take it"}
    except MatrixError as error:
        return {"state": f"not known: {error}"}
    return {"user": whose.user_id, "device": whose.device_id or None, "state": GOOD}


def _rows(found: dict[str, object], account: Account | None) -> list[tuple[str, str]]:
    rows = [("user", str(found["user"])), ("homeserver", str(found["homeserver"]))]
    if account is not None:
        rows += [("device", str(found["device"] or "none")), ("login", f"by {account.way}")]
        rows.append(("token", _lasts(account)))
    return [*rows, ("state", str(found["state"]))]


def _lasts(account: Account) -> str:
    how = ", renewed before that" if account.refresh_token else ""
    if account.expires_at is None:
        return "without an end"
    when = datetime.fromtimestamp(account.expires_at).astimezone()
    left = account.expires_at - time.time()
    return f"ends {when:%Y-%m-%d %H:%M:%S}, {f'in {age(left)}{how}' if left > 0 else f'{age(-left)} ago'}"


async def login(*, token: str, password: bool) -> None:
    """Log in anew, and keep that in the place of the login before, which is ended. Raises RoommateError."""
    settings = config.load()
    settings.require_matrix()
    _refuse_given(settings)
    console = Console(stderr=True, highlight=False)
    async with kept(settings) as inbox:
        account = await _log_in(settings, console, token, password)
        if account.user_id != settings.bot:
            await end(account, settings.matrix_ca)
            raise ConfigError(f"this was a login of {account.user_id}, and MATRIX_USER is {settings.bot}")
        await keep(inbox, account, settings.matrix_ca)
    typer.echo(f"Logged in as {account.user_id}, device {account.device_id}, by {account.way}.", err=True)


async def logout() -> None:
    """End the login at the homeserver, then forget it. Raises RoommateError; then it is kept."""
    settings = config.load()
    _refuse_given(settings)
    async with kept(settings) as inbox:
        if (account := await inbox.account()) is None:
            typer.echo("There is no login.", err=True)
            return
        session = Session(account, inbox.keep_account, ca=settings.matrix_ca)
        try:
            await session.do(lambda _: end(session.account, settings.matrix_ca))
        except TokenRevoked:
            pass  # it has ended
        except Transient as error:
            raise Transient(f"the login was not ended, and is kept: {error}", error.retry_after) from error
        except Refused as error:
            typer.echo(f"The homeserver may still take it: {error}.", err=True)
        await inbox.keep_account(None)
    typer.echo(f"Logged out {account.user_id}, device {account.device_id}.", err=True)
    if settings.matrix_password.get_secret_value():
        typer.echo("MATRIX_PASSWORD is set: the next start logs in with it.", err=True)


async def _log_in(settings: Settings, console: Console, token: str, password: bool) -> Account:
    """By the token, else MATRIX_PASSWORD, else in a browser where accounts are not the homeserver's own, else ask."""
    url, ca, asks = settings.matrix_homeserver.rstrip("/"), settings.matrix_ca, sys.stdin.isatty()
    if token:
        return await password_and_token.by_login_token(url, login_token(token), ca=ca)
    known = settings.matrix_password.get_secret_value()
    offer = await password_and_token.offered(url, ca=ca)
    with_password = offer.password and (password or known)
    if not with_password and (server := await oauth.server_of(url, ca=ca)) is not None:
        return await in_browser(server, console, ca)
    if offer.sso and not offer.password:
        where = f"log in as the bot at {sso_address(url)} and take the address that you land at"
        if not asks:
            raise ConfigError(f"{url} takes login tokens only: {where}, for --token")
        console.print(f"Please {where}.", soft_wrap=True, markup=False)
        pasted = Prompt.ask("That address, or the token in it", console=console, password=True)
        return await password_and_token.by_login_token(url, login_token(pasted), ca=ca)
    if not known and not asks:
        raise ConfigError("set MATRIX_PASSWORD, pass --token, or run this at a terminal")
    known = known or Prompt.ask(f"Password of {settings.bot}", console=console, password=True)
    try:
        return await password_and_token.by_password(url, settings.bot, known, ca=ca)
    except Refused as error:
        if error.errcode != "M_FORBIDDEN":
            raise
        raise ConfigError(f"this is not the password of {settings.bot} on {url}") from error


def _refuse_given(settings: Settings) -> None:
    if settings.matrix_access_token.get_secret_value():
        raise ConfigError("the login is MATRIX_ACCESS_TOKEN: take it out of the settings first")
