"""A homeserver that stands by itself, for scripts/setup-synapse.sh: its configuration, and then its first accounts.

The same Synapse as the demo's, on a port that stays, with Synapse's own limits. Run as ``python -m``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from dataclasses import replace
from pathlib import Path

from dotenv import dotenv_values

from roommate.demo.synapse_config import MARK_KEY, Instance, Place
from roommate.errors import MatrixError, RoommateError, Transient
from roommate.host import durable_files, folder_modes
from roommate.maintenance import env_file
from roommate.matrix_login import call
from roommate.user_client import homeserver_accounts

READY_SECONDS = 90.0


def main() -> int:
    """The exit code; what is wrong is one line on stderr."""
    parser = argparse.ArgumentParser(prog="setup-synapse")
    parser.add_argument("step", choices=("configure", "accounts"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--server-name", default="localhost")
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--port", type=int, default=8008)
    parser.add_argument("--url", default="")
    parser.add_argument("--federation", action="store_true")
    parser.add_argument("--bot", default="roommate")
    parser.add_argument("--operator", default="admin")
    parser.add_argument("--env", type=Path)
    parser.add_argument("--settings", type=Path, default=Path(".env"))
    given = parser.parse_args()
    try:
        if given.step == "configure":
            place = Place(
                given.server_name,
                tuple(given.bind) or ("127.0.0.1",),
                given.url.rstrip("/"),
                given.federation,
                limits="strict",
            )
            configure(given.folder, place, given.port)
        else:
            note, settings = asyncio.run(
                make_accounts(
                    given.folder,
                    given.bot,
                    given.operator,
                    bot_password=_said("MATRIX_PASSWORD", given.settings),
                    operator_password=_said("MATRIX_ADMIN_PASSWORD", given.settings),
                )
            )
            if given.env:
                env_file.write(given.env, settings)
                sys.stderr.write(f"{note}\nsetup-synapse: {given.env} is written\n")
            else:
                sys.stdout.write(f"# {note}\n" + "".join(f"{name}={value}\n" for name, value in settings.items()))
    except RoommateError as error:
        sys.stderr.write(f"setup-synapse: {error}\n")
        return error.exit_code
    return 0


def configure(folder: Path, place: Place, port: int) -> None:
    """Write what Synapse reads; secrets of an earlier time stay. Raises MatrixError."""
    folder_modes.private(folder)
    config = folder / "homeserver.yaml"
    if config.exists() and (name := json.loads(config.read_text())["server_name"]) != place.server_name:
        raise MatrixError(f"this homeserver is {name} for ever: another name needs another --folder")
    replace(Instance.kept(folder) or Instance.fresh(), port=port).write(folder, place)


def _said(name: str, file: Path) -> str:
    """In the environment, else in a file such as `.env`; empty where it is in neither."""
    return os.environ.get(name) or (dotenv_values(file).get(name) if file.is_file() else "") or ""


async def make_accounts(
    folder: Path, bot: str, operator: str, *, bot_password: str = "", operator_password: str = ""
) -> tuple[str, dict[str, str]]:
    """The bot, whose limit is lifted, and an operator, who is Synapse's admin as well: a note for them, and settings.

    Their passwords, random ones by default, are kept in the folder, so that another run finds the same. Raises
    MatrixError.
    """
    instance, config = Instance.kept(folder), json.loads((folder / "homeserver.yaml").read_text())
    if instance is None:
        raise MatrixError(f"there is no homeserver in {folder} yet")
    address = config["listeners"][0]["bind_addresses"][0]
    url = f"http://{'127.0.0.1' if address == '0.0.0.0' else address}:{instance.port}"  # noqa: S104 — asks what it is
    await _ready(url, instance.mark)
    kept = _Kept(folder / "accounts.json")
    # The admin's login stays: Synapse lets nobody log in five times in a row.
    admin = await kept.account(url, instance.registration_secret, operator, operator_password, admin=True)
    user = await kept.account(url, instance.registration_secret, bot, bot_password, admin=False)
    await homeserver_accounts.lift_limit(url, admin["token"], user["id"])
    password = (
        "the password of MATRIX_ADMIN_PASSWORD"
        if admin["password"] == operator_password
        else f"the password {admin['password']}"
    )
    note = f"{admin['id']} has {password}, for a client at {config['public_baseurl']}"
    return note, {
        "MATRIX_HOMESERVER": url,
        "MATRIX_USER": user["id"],
        "MATRIX_PASSWORD": user["password"],
        "OPERATORS": admin["id"],
    }


class _Kept:
    """The accounts that were made, in a file (0600) beside the secret that makes accounts."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, dict[str, str]] = json.loads(file.read_text()) if file.exists() else {}

    async def account(self, url: str, secret: str, name: str, password: str, *, admin: bool) -> dict[str, str]:
        """Its id, password and token; made, with this password or a random one, unless it is known."""
        known = self._known.setdefault(name, {"password": password or secrets.token_urlsafe(12)})
        if "token" not in known:
            self._keep()  # the password first: it must be known when this ends in the middle
            made = await homeserver_accounts.register_by_secret(url, secret, name, known["password"], admin=admin)
            known |= {"id": made.user_id, "token": made.access_token}
            self._keep()
        return known

    def _keep(self) -> None:
        durable_files.replace(self._file, json.dumps(self._known, indent=1).encode())


async def _ready(url: str, mark: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            known = await call(url, "GET", "/.well-known/matrix/client")
            break
        except Transient:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)
    if known.get(MARK_KEY) != mark:
        raise MatrixError(f"another homeserver answers at {url}: choose another --port")


if __name__ == "__main__":
    sys.exit(main())
