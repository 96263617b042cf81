"""What the settings ask of this host and of the model library, looked at before a daemon starts or takes new ones."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from roommate.agent import model_name_checks
from roommate.domain import Check
from roommate.errors import ConfigError
from roommate.maintenance import env_file
from roommate.settings.config import AS_IT_IS, Settings, named
from roommate.settings.values import is_loopback

LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path: unix(7)."""
_SOCKET = "/0123456789abcdef/hand.sock"
_PASSING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})
_OF_ALL = frozenset(
    map(Path, ("/", "/etc", "/home", "/mnt", "/opt", "/root", "/run", "/srv", "/usr", "/var", "/var/lib"))
)


def demand(settings: Settings) -> None:
    """Raises ConfigError with one line that names each setting with which no daemon can work here. Blocks."""
    settings.require_matrix()
    if wrong := list(problems(settings)):
        raise ConfigError("; ".join(wrong))


def checks(settings: Settings) -> list[Check]:
    """The same for doctor, and what is doubtful. Blocks."""
    try:
        demand(settings)
    except ConfigError as error:
        found = [Check("settings", False, str(error), "change it in .env; .env.example explains each")]
    else:
        found = [Check("settings", True, f"{settings.matrix_user} at {settings.matrix_homeserver}")]
    mend = "change it in .env; .env.example explains each"
    return found + [Check("settings", False, doubt, mend, needed=False) for doubt in doubts(settings)]


def problems(settings: Settings) -> Iterator[str]:
    """What is wrong, each in a line. Blocks."""
    yield from _folder("state_dir", settings.state_dir)
    if settings.ipc_base_dir != Path():
        yield from _folder("ipc_base_dir", settings.ipc_base_dir)
    if (longest := len(os.fsencode(settings.run_dir)) + len(_SOCKET)) > LONGEST_SOCKET:
        why = f"sockets below it would have paths of {longest} bytes, {LONGEST_SOCKET} is the most: take a shorter one"
        yield named("ipc_base_dir", why, settings.run_dir)
    if settings.backup_dir != Path():
        yield from _folder("backup_dir", settings.backup_dir)
    if "podman_path" in settings.model_fields_set and not shutil.which(settings.podman_path):
        yield named("podman_path", "there is no such program", settings.podman_path)
    for name in ("alert_command", "backup_command"):
        words = shlex.split(getattr(settings, name))
        if words and not shutil.which(words[0]):
            yield named(name, f"there is no program {words[0]!r}", getattr(settings, name))
    for name in ("update_allowed_signers", "policy_file"):
        if (file := getattr(settings, name)) != Path():
            yield from _readable(name, file)
    for what, model in (("LLM_MODEL", settings.llm_model), *(("LLM_FALLBACKS", one) for one in settings.llm_fallbacks)):
        if why := model_name_checks.problem(model, *settings.way_to(model), what):
            yield why
    hears = settings.transcription_model
    if hears and (why := model_name_checks.problem(hears, *settings.way_to_transcription, "TRANSCRIPTION_MODEL")):
        yield why


def doubts(settings: Settings, written: Path = Path(".env")) -> Iterator[str]:
    """What can be meant, and most likely is not, each in a line. Blocks."""
    if not settings.operator_ids:
        yield "OPERATORS: there is none, so nobody may approve, redeploy or change limits: set it to your Matrix id"
    if settings.update_allowed_signers != Path() and not settings.update_signed_tags_only:
        yield "UPDATE_ALLOWED_SIGNERS: it counts with UPDATE_SIGNED_TAGS_ONLY=true only"
    if settings.bot_avatar not in ("", AS_IT_IS):
        yield from _readable("bot_avatar", Path(os.path.expanduser(settings.bot_avatar)))  # noqa: PTH111 — no traceback
    if (address := settings.http_address) and not is_loopback(address[0]):
        yield "HTTP_LISTEN: it can be reached from elsewhere, and asks nobody who they are"
    yield from env_file.doubts(written)


def _folder(name: str, folder: Path) -> Iterator[str]:
    """It must be one of Roommate's own, which is there or can be made."""
    try:
        there = next(place for place in (folder, *folder.parents) if place.exists())
        if not there.is_dir():
            yield named(name, f"it must be a folder, and {str(there)!r} is a file", folder)
        elif there == folder and _of_all(folder):
            yield named(name, "it must be a folder of Roommate's own, which others have no files in", folder)
        else:
            with tempfile.TemporaryFile(dir=there):
                pass
    except OSError as error:
        if error.errno in _PASSING:  # no other setting mends that, and another start may
            return
        yield named(name, f"it must be a folder that can be written: {(error.strerror or str(error)).lower()}", folder)


def _of_all(folder: Path) -> bool:
    """Its mode is not ours to change."""
    home = Path(os.path.expanduser("~"))  # noqa: PTH111 — without a home it stays as it is
    return folder in _OF_ALL or home.is_relative_to(folder) or bool(folder.stat().st_mode & stat.S_ISVTX)


def _readable(name: str, file: Path) -> Iterator[str]:
    try:
        with file.open("rb") as there:
            there.read(1)
    except OSError as error:
        yield named(name, f"it must be a file that can be read: {(error.strerror or str(error)).lower()}", file)
