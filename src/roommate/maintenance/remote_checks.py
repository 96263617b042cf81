"""What doctor asks of others: the settings, the homeserver, the model's provider. Nothing here changes anything."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import platform
import shutil
import ssl
import stat
import sys
import tempfile
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime
from pathlib import Path

from roommate.domain import Account, Check, JsonObject, Model, Prompt, UserId
from roommate.errors import ModelError
from roommate.host import deadlines
from roommate.net import outbound_http
from roommate.settings.config import REHEARSAL, Settings
from roommate.text.amounts import size

ANSWER_SECONDS = 5
THINK_SECONDS = 60
SKEW_SECONDS = 5
SILENT_SECONDS = 60
"""A sync that is older is no good sign: the homeserver is asked twice a minute."""
SLOW_PACE = 0.5
LOW_DISK, FULL_DISK = 0.1, 0.005
"""The parts of the disk that are free when it is time for a warning, and when it is as good as full."""
SMALLEST_UPLOAD = 1 << 20


def python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    return Check("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer and run scripts/setup")


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


def room_on_disk(folder: Path) -> tuple[int, int]:
    """Bytes that are free for this user on the disk that a folder is on, and bytes in all: without those that are kept
    for root, as df(1) counts. Raises OSError. Blocks."""
    disk = shutil.disk_usage(folder)
    return disk.free, disk.used + disk.free


def free_part(folder: Path) -> float:
    """Of that disk, what is free: 0 to 1. Raises OSError. Blocks."""
    free, size = room_on_disk(folder)
    return free / (size or 1)


def disk(settings: Settings) -> Check:
    """Has the disk of STATE_DIR room? When it is full the daemon waits until it has some."""
    what, folder = "disk", settings.state_dir
    there = folder if folder.exists() else next(parent for parent in folder.parents if parent.exists())
    free = free_part(there)
    found = f"{free * 100:.1f} % of the disk of {there} is free"
    mend = (
        "make room: old backups, images that are not used (`roommate image ls`), workspaces of rooms that you have left"
    )
    return Check(what, free >= LOW_DISK, found, mend, needed=free < FULL_DISK)


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
    status, answer = await asyncio.to_thread(_get, f"{url}/_matrix/client/versions", "", settings.matrix_ca)
    if status == 200 and (versions := answer.get("versions")):
        return Check(what, True, f"{url} speaks Matrix {versions[-1]}")
    found = f"{url} answers with HTTP {status}" if status else f"{url}{answer.get('silent')}"
    return Check(
        what, False, found, "check MATRIX_HOMESERVER, and that the homeserver runs and can be reached from here"
    )


async def clock(settings: Settings) -> Check:
    """Do the homeserver and this host agree on the time? To the second, as HTTP tells it."""
    what, mend = "clock", "let this host's clock be set by NTP: timedatectl set-ntp true"
    before = time.time()
    date = await asyncio.to_thread(_date, f"{settings.matrix_homeserver}/_matrix/client/versions", settings.matrix_ca)
    if date is None:
        return Check(what, False, "the homeserver does not say what time it is", mend, needed=False)
    apart = abs(date - (before + time.time()) / 2)
    if apart <= SKEW_SECONDS:
        return Check(what, True, "as the homeserver's")
    return Check(what, False, f"{apart:.0f} s apart from the homeserver's", mend, needed=False)


async def upload_limit(settings: Settings, account: Account) -> Check:
    """The largest file that can be shown to people."""
    what = "upload limit"
    for path in ("client/v1/media/config", "media/v3/config"):
        url = f"{account.homeserver}/_matrix/{path}"
        status, answer = await asyncio.to_thread(_get, url, account.access_token, settings.matrix_ca)
        if status == 200 and isinstance(most := answer.get("m.upload.size"), int):
            mend = "raise max_upload_size of the homeserver"
            return Check(what, most >= SMALLEST_UPLOAD, f"{size(most)} a file", mend, needed=False)
    return Check(what, True, "the homeserver does not say one")


async def encryption(settings: Settings, account: Account, keys_of: str, identity: str) -> Check:
    """Does the homeserver tell others that the bot's device is signed, and has it keys for them to begin with?
    `keys_of` is the device whose keys STATE_DIR has, `identity` the master key there."""
    what = "encryption"
    if settings.e2ee == "off":
        return Check(what, True, "off (E2EE)")

    def ask(path: str, body: JsonObject | None = None) -> JsonObject:
        url = f"{account.homeserver}/_matrix/client/v3/{path}"
        return _get(url, account.access_token, settings.matrix_ca, body=body)[1]

    user, device = account.user_id, (await asyncio.to_thread(ask, "account/whoami")).get("device_id", "")
    served = await asyncio.to_thread(ask, "keys/query", {"device_keys": {user: []}})
    stock = await asyncio.to_thread(ask, "keys/upload", {})
    keys = served.get("device_keys", {}).get(user, {}).get(device)
    if keys is None:
        return Check(what, False, "the homeserver has no keys of the bot's device", "start the daemon", needed=False)
    if keys_of != device:
        mend = "set MATRIX_PASSWORD and start again, or run `roommate auth login`: the bot becomes a new device"
        return Check(what, False, f"the keys of the bot's device {device} are not in STATE_DIR", mend, needed=False)
    master = served.get("master_keys", {}).get(user, {}).get("keys", {})
    if identity and master and identity not in master.values():
        mend = "verify the bot's device from the client that has made the identity, or reset it there"
        found = f"the identity of {user} is not the one in STATE_DIR: another client has made it, or replaced ours"
        return Check(what, False, found, mend, needed=False)
    signer = served.get("self_signing_keys", {}).get(user, {}).get("keys", {})
    count = stock.get("one_time_key_counts", {}).get("signed_curve25519", 0)
    if not signer.keys() & keys.get("signatures", {}).get(user, {}).keys():
        mend = "see `roommate logs` for why, and docs/encryption.md"
        return Check(what, False, f"device {device} is not signed: strict clients give it no keys", mend, needed=False)
    found = f"device {device} is signed, {count} one-time keys in stock"
    return Check(what, count > 0, found, "start the daemon: it makes new ones", needed=False)


def rate_limit(pace: float) -> Check:
    """What the homeserver's refusals have taught the sender: seconds per event, 0 for none."""
    if pace < SLOW_PACE:
        return Check("rate limit", True, "none was met" if not pace else f"one event every {pace:.1f} s")
    mend = "lift it for the bot's account: an admin's override_ratelimit, as scripts/setup-synapse.sh does it"
    return Check("rate limit", False, f"the bot may send one event every {pace:.1f} s", mend, needed=False)


def sync(seconds: float | None) -> Check:
    """How long ago the daemon that runs has synced; None for not yet."""
    if seconds is None:
        return Check("sync", False, "the daemon has not synced yet", "see `roommate logs`", needed=False)
    mend = "see `roommate logs`, and whether the homeserver answers"
    return Check("sync", seconds < SILENT_SECONDS, f"{seconds:.0f} s ago", mend)


def account(settings: Settings, kept: Account | None) -> Account | None:
    """The login that a start would use: the settings' token, or else the one that STATE_DIR keeps."""
    if token := settings.matrix_access_token.get_secret_value():
        return Account(settings.matrix_homeserver.rstrip("/"), settings.bot, "", token, "MATRIX_ACCESS_TOKEN")
    return kept


async def login(settings: Settings, account: Account | None) -> Check:
    """Is the login still good? None is no login yet."""
    what = "login"
    if account is None:
        has_password = bool(settings.matrix_password.get_secret_value())
        found = (
            "none yet; the first start logs in with MATRIX_PASSWORD" if has_password else "none yet, and no password"
        )
        mend = "run `roommate auth login`, or set MATRIX_PASSWORD in .env for the first start"
        return Check(what, has_password, found, mend)
    given = account.way == "MATRIX_ACCESS_TOKEN"
    url = f"{account.homeserver}/_matrix/client/v3/account/whoami"
    status, answer = await asyncio.to_thread(_get, url, account.access_token, settings.matrix_ca)
    if status == 200 and answer.get("user_id") == settings.matrix_user:
        device = answer.get("device_id") or "without a device"
        return Check(what, True, f"{account.user_id}, device {device}, by {account.way}")
    if status == 401 and account.refresh_token:
        return Check(what, True, f"{account.user_id}, device {account.device_id}: renewed at the next start")
    if status == 401:
        token = "MATRIX_ACCESS_TOKEN" if given else "the token"
        mend = "set another one" if given else "set MATRIX_PASSWORD and start again, or run `roommate auth login`"
        return Check(what, False, f"the homeserver does not take {token} any more", mend)
    if status == 200 and given:
        found = f"MATRIX_ACCESS_TOKEN is a token of {answer.get('user_id')}, MATRIX_USER is {settings.matrix_user}"
        return Check(what, False, found, "set the token of MATRIX_USER")
    if status == 200:
        found = f"STATE_DIR belongs to {answer.get('user_id')}, MATRIX_USER is {settings.matrix_user}"
        return Check(what, False, found, "use another STATE_DIR for another bot")
    why = answer.get("error", f"HTTP {status}") if status else f"{account.homeserver}{answer['silent']}"
    return Check(what, False, f"not checked: {why}", "mend the homeserver first")


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
    status, answer = await asyncio.to_thread(_get, f"{base}/models", key, None, outbound_http.FOR_OTHERS)
    if status in (401, 403):
        return Check(what, False, f"{base} does not take the key", "check LLM_API_KEY")
    if status:
        return Check(what, True, f"{name} at {base}")
    return Check(what, False, f"{base}{answer.get('silent')}", "check LLM_API_BASE")


async def think(model: Model) -> Check:
    """One tiny call: does the model answer?"""
    what, began = "model's answer", time.monotonic()
    try:
        async with deadlines.within(THINK_SECONDS):
            reply = await model.reply("", [Prompt("Say OK.", UserId("@doctor:localhost"))], (), lambda _: None)
    except ModelError as error:
        return Check(what, False, str(error), "check LLM_MODEL, LLM_API_KEY and LLM_API_BASE")
    except TimeoutError:
        return Check(what, False, f"none within {THINK_SECONDS} s", "check LLM_API_BASE, and that the provider is up")
    tokens = reply.usage.input_tokens + reply.usage.output_tokens
    return Check(what, True, f"after {time.monotonic() - began:.1f} s, {tokens} tokens")


def _date(url: str, ca: Path | None) -> float | None:
    """The time that a server's answer carries, as seconds since 1970. Blocks."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS, context=outbound_http.trust(ca)) as response:  # noqa: S310
            date = response.headers.get("Date", "")
    except (OSError, ValueError):
        return None
    try:
        return parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _get(
    url: str,
    token: str,
    ca: Path | None = None,
    mend: str = outbound_http.FOR_HOMESERVERS,
    *,
    body: JsonObject | None = None,
) -> tuple[int, JsonObject]:
    """HTTP status and the JSON that came with it; status 0, and in ``silent`` the end of a line that says why, where
    nobody answers. Blocks."""
    if not url.startswith(("http://", "https://")):
        return 0, {"silent": " does not answer: it is no http:// or https:// address"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data)  # noqa: S310 — checked above
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=outbound_http.trust(ca)) as response:  # noqa: S310
            status, text = response.status, response.read(1 << 20)
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read(1 << 16)
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLError):
            return 0, {"silent": outbound_http.unanswered("", reason, mend)}
        return 0, {"silent": f" does not answer: {str(getattr(reason, 'strerror', None) or reason).lower()}"}
    try:
        answer = json.loads(text)
    except ValueError:
        answer = {}
    return status, answer if isinstance(answer, dict) else {}
