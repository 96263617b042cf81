"""The accounts that `roommate chat` and `send` know: a file for each, 0600, in the user's own state folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from urllib.parse import quote

import typer

from roommate.domain import Account, UserId
from roommate.errors import ConfigError
from roommate.host import durable_files, folder_modes
from roommate.user_client import login

FOLDER = Path("~/.local/state/roommate-chat")


async def account_for(homeserver: str, user: str) -> Account:
    """The account to use: the one asked for, or the only one there is. Asks for the password when it is not known yet.

    Raises ConfigError when it cannot tell which account is meant, MatrixError when the homeserver does not take it.
    """
    fitting = _known(homeserver.rstrip("/"), user)
    if len(fitting) == 1:
        return fitting[0]
    if not homeserver or not user:
        names = ", ".join(account.user_id for account in fitting)
        raise ConfigError(
            f"who are you? Pass --user, one of {names}" if fitting else "who are you? Pass --homeserver and --user"
        )
    account = await login(homeserver, user, typer.prompt(f"Password of {user}", hide_input=True, err=True))
    _keep(account)
    return account


def forget(account: Account) -> None:
    """Its token is dead."""
    _file(account.user_id).unlink(missing_ok=True)


def _known(homeserver: str, user: str) -> list[Account]:
    accounts = [Account(**json.loads(file.read_text())) for file in sorted(FOLDER.expanduser().glob("*.json"))]
    return [
        account
        for account in accounts
        if homeserver in ("", account.homeserver)
        and user in ("", account.user_id, account.user_id[1:].partition(":")[0])
    ]


def _keep(account: Account) -> None:
    file = _file(account.user_id)
    folder_modes.private(file.parent)
    durable_files.replace(file, json.dumps(asdict(account)).encode())


def _file(user_id: UserId) -> Path:
    return FOLDER.expanduser() / f"{quote(user_id, safe='')}.json"
