"""What doctor looks at, but for the sandbox, which looks at itself. Nothing here changes anything."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import stat
import sys
import tempfile
import urllib.error
import urllib.request

from roommate.config import REHEARSAL, Settings
from roommate.errors import ConfigError
from roommate.words import Account, Check, JsonObject

ANSWER_SECONDS = 5


def python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    return Check("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer and run scripts/setup")


def configuration(settings: Settings) -> Check:
    """The settings were read; are those there without which nothing starts?"""
    try:
        settings.require_matrix()
    except ConfigError as error:
        return Check("settings", False, str(error), "copy .env.example to .env and fill it in")
    return Check("settings", True, f"{settings.matrix_user} at {settings.matrix_homeserver}")


def state(settings: Settings) -> Check:
    """Is STATE_DIR ours alone, and can we write to it? A daemon that runs on it is fine."""
    what, folder = "state folder", settings.state_dir
    there = folder if folder.exists() else next(parent for parent in folder.parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        mend = f"make {there} writable for this user, or set STATE_DIR to another folder"
        return Check(what, False, f"{there} cannot be written: {error.strerror}", mend)
    if there != folder:
        return Check(what, True, f"{folder} will be made by the first start")
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        return Check(what, False, f"{folder} is open to others (mode {mode:o})", f"chmod 700 {folder}")
    return Check(what, True, f"{folder}, {'a daemon runs on it' if is_running(settings) else 'no daemon runs on it'}")


def is_running(settings: Settings) -> bool:
    """A daemon holds the lock of STATE_DIR."""
    try:
        lock = os.open(settings.state_dir / "lock", os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


async def homeserver(settings: Settings) -> Check:
    """Does the client-server API answer?"""
    what, url = "homeserver", settings.matrix_homeserver
    status, answer = await asyncio.to_thread(_get, f"{url}/_matrix/client/versions", "")
    if status == 200 and (versions := answer.get("versions")):
        return Check(what, True, f"{url} speaks Matrix {versions[-1]}")
    found = f"{url} answers with HTTP {status}" if status else f"{url} does not answer: {answer.get('error')}"
    return Check(
        what, False, found, "check MATRIX_HOMESERVER, and that the homeserver runs and can be reached from here"
    )


async def login(settings: Settings, account: Account | None) -> Check:
    """Is the login that STATE_DIR keeps still good? None is no login yet."""
    what = "login"
    if account is None:
        has_password = bool(settings.matrix_password.get_secret_value())
        found = (
            "none yet; the first start logs in with MATRIX_PASSWORD" if has_password else "none yet, and no password"
        )
        return Check(what, has_password, found, "set MATRIX_PASSWORD in .env for the first start")
    url = f"{account.homeserver}/_matrix/client/v3/account/whoami"
    status, answer = await asyncio.to_thread(_get, url, account.access_token)
    if status == 200 and answer.get("user_id") == settings.matrix_user:
        return Check(what, True, f"{account.user_id}, device {account.device_id}")
    if status == 401:
        return Check(
            what, False, "the homeserver does not take the token any more", "set MATRIX_PASSWORD and start again"
        )
    if status == 200:
        found = f"STATE_DIR belongs to {answer.get('user_id')}, MATRIX_USER is {settings.matrix_user}"
        return Check(what, False, found, "use another STATE_DIR for another bot")
    return Check(what, False, f"not checked: {answer.get('error', f'HTTP {status}')}", "mend the homeserver first")


async def model(settings: Settings) -> Check:
    """Is there a model, and does its provider answer where we know the address?"""
    what, name = "model", settings.llm_model
    key, base = settings.llm_api_key.get_secret_value(), settings.llm_api_base.rstrip("/")
    if name == REHEARSAL:
        mend = "set LLM_MODEL and LLM_API_KEY in .env"
        return Check(what, False, "the built-in rehearsal, which cannot think", mend, needed=False)
    if not base:
        mend = "set LLM_API_KEY in .env, unless this provider needs none"
        return Check(what, bool(key), f"{name}, {'with a key' if key else 'without a key'}", mend, needed=False)
    status, answer = await asyncio.to_thread(_get, f"{base}/models", key)
    if status in (401, 403):
        return Check(what, False, f"{base} does not take the key", "check LLM_API_KEY")
    if status:
        return Check(what, True, f"{name} at {base}")
    return Check(what, False, f"{base} does not answer: {answer.get('error')}", "check LLM_API_BASE")


def _get(url: str, token: str) -> tuple[int, JsonObject]:
    """HTTP status and the JSON that came with it; status 0 and an ``error`` where nobody answers. Blocks."""
    if not url.startswith(("http://", "https://")):
        return 0, {"error": "it is no http:// or https:// address"}
    request = urllib.request.Request(url)  # noqa: S310 — checked above
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as response:  # noqa: S310
            status, text = response.status, response.read(1 << 20)
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read(1 << 16)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return 0, {"error": str(getattr(reason, "strerror", None) or reason).lower()}
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    return status, answer if isinstance(answer, dict) else {}
