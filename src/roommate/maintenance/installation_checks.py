"""What doctor looks at on this host: folders, socket, spool, systemd, backups; and what of it can be mended safely."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from roommate.domain import Check
from roommate.host import folder_modes
from roommate.maintenance import backup
from roommate.settings.config import Settings
from roommate.text.amounts import size

OLD_BACKUP_DAYS = 2
MANY_FILES = 1000
LONGEST_PATH = 107
"""Bytes of a Unix socket's path: unix(7)."""
SOCKET = "daemon.sock"
UNIT = "roommate.service"
_SYSTEMD_SECONDS = 5


def checks(settings: Settings) -> list[Check]:
    """All of them. Blocks."""
    return [_private(settings), _socket(settings), _spool(settings), _systemd(), _backups(settings)]


def fix(settings: Settings) -> list[str]:
    """Mend what cannot hurt; gives what was done. Blocks."""
    done = []

    def do(what: str, mend: Callable[[], object]) -> None:
        try:
            mend()
            done.append(what)
        except OSError as error:
            done.append(f"failed: {what}: {(error.strerror or str(error)).lower()}")

    for folder in (settings.state_dir, settings.run_dir, settings.backups):
        if not folder.exists():
            do(f"made {folder}", partial(folder_modes.private, folder))
    for path, mode in _too_open(settings):
        do(f"chmod {mode:o} {path}", partial(path.chmod, mode))
    if _stale(settings.run_dir / SOCKET):
        gone = settings.run_dir / SOCKET
        do(f"removed the socket {gone}, which nobody listens on", gone.unlink)
    return done


def _too_open(settings: Settings) -> Iterator[tuple[Path, int]]:
    """What others may read or write although it is secret, and the mode that it should have."""
    state = settings.state_dir
    secret = (state, state / "logs", settings.backups, settings.run_dir)
    files = (Path(".env"), state / "roommate.db", *(state / "logs").glob("*"), *backup.found(settings.backups))
    for mode, paths in ((0o700, secret), (0o600, files)):
        for path in paths:
            with contextlib.suppress(OSError):
                found = path.lstat()
                if not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o077 and found.st_uid == os.geteuid():
                    yield path, mode


def _private(settings: Settings) -> Check:
    if open_to_others := [str(path.absolute()) for path, _ in _too_open(settings)]:
        found = f"open to others: {', '.join(open_to_others)}"
        return Check("secrets", False, found, "run `roommate doctor --fix`", needed=False)
    return Check("secrets", True, "settings, database, logs and backups are this user's alone")


def _socket(settings: Settings) -> Check:
    what, path = "socket", settings.run_dir / SOCKET
    if (longest := len(bytes(settings.run_dir)) + len("/0123456789abcdef/hand.sock")) > LONGEST_PATH:
        found = f"{settings.run_dir} makes paths of {longest} bytes, a socket's may have {LONGEST_PATH}"
        return Check(what, False, found, "set IPC_BASE_DIR to a short path")
    if not path.exists():
        return Check(what, True, f"none, as no daemon runs; it will be {path}")
    if not path.is_socket():
        return Check(what, False, f"{path} is no socket", "whatever put it there, look at it and remove it")
    if _stale(path):
        return Check(what, False, f"{path} is there, and nobody listens", "run `roommate doctor --fix`", needed=False)
    return Check(what, True, f"the daemon listens on {path}")


def _stale(path: Path) -> bool:
    """Is it a socket that nobody listens on? Files and links of another kind refuse connections as well."""
    if path.is_symlink() or not path.is_socket():
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            probe.connect(str(path))
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False


def _spool(settings: Settings) -> Check:
    """Files of hooks that nobody has read: with a daemon there is none for longer than a moment."""
    waiting = 0
    for folder in (settings.state_dir / "rooms").glob("*/files/spool"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            waiting += sum(1 for _ in entries)
    mend = "`scripts/check-ipc-logs.sh` says what a room's hooks left; the daemon reads it when it runs"
    return Check("spool", waiting < MANY_FILES, f"{waiting} files wait", mend, needed=False)


def _systemd() -> Check:
    """As a unit of the system, or of this user."""
    what = "systemd"
    for scope in ((), ("--user",)):
        command = ("systemctl", *scope, "show", UNIT, "--property=LoadState,UnitFileState,ActiveState", "--value")
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_SYSTEMD_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return Check(what, True, "not here: nothing starts the daemon again when it ends")
        # In the order in which systemd has them, whatever was asked first.
        words = done.stdout.split()
        if done.returncode != 0 or "loaded" not in words:
            continue
        good = "enabled" in words and "active" in words
        mend = f"systemctl {' '.join((*scope, 'enable', '--now'))} {UNIT}"
        return Check(what, good, f"{UNIT} is {', '.join(word for word in words)}", mend, needed=False)
    return Check(what, True, f"there is no {UNIT}; scripts/install-service.sh makes one")


def _backups(settings: Settings) -> Check:
    what, mend = "backup", "run `roommate backup`; where scripts/install-service.sh put it, roommate-backup.timer does"
    if not (settings.state_dir / backup.DATABASE).exists():
        return Check(what, True, "there is nothing to back up yet")
    try:
        found = backup.found(settings.backups)
    except OSError as error:
        return Check(what, False, f"{settings.backups} cannot be read: {error.strerror}", mend, needed=False)
    if not found:
        return Check(what, False, f"there is none in {settings.backups}", mend, needed=False)
    days = (time.time() - backup.made_at(found[-1])) / 86_400
    age = f"{days:.0f} days" if days >= 2 else f"{days * 24:.0f} hours"
    text = f"{len(found)} in {settings.backups}, the newest {age} old, {size(found[-1].stat().st_size)}"
    return Check(what, days <= OLD_BACKUP_DAYS, text, mend, needed=False)
