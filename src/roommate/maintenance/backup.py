"""Backups: the whole state in one file, made while the daemon runs; and whether such a file is whole.

The database comes first, as it is at one moment; then all else. So whatever the database says was done is in the files,
too. What was done after that moment the rooms know (`store/catch_up_after_restore.py`).
"""

from __future__ import annotations

import calendar
import contextlib
import gzip
import json
import os
import re
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter

from roommate import __version__
from roommate.domain import JsonObject
from roommate.errors import StateError
from roommate.host import durable_files, file_lock, folder_modes
from roommate.maintenance.tree_archive import PIECE, UNREADABLE, Packer, fresh_hash, members

DATABASE, MANIFEST, SETTINGS, ROOMS = "roommate.db", "manifest.json", "settings.env", "rooms"
REST = "state"
FILES = "files"
"""In a room's folder: all that is packed of it."""
FORMAT = 1

_MADE_ANEW = frozenset(
    {"lock", "ipc", "logs", "backups", "host.json", "seccomp.json", ROOMS}
    | {f"{DATABASE}{end}" for end in ("", "-wal", "-shm", ".coming")}
    # A ratchet that is put back uses keys twice: what is restored is another device (docs/encryption.md).
    | {"crypto.key", "crypto.db", "crypto.db-wal", "crypto.db-shm"}
)

_NAME = re.compile(r"roommate-(\d{8}T\d{6}Z)\.tar\.gz")
_TIME = "%Y%m%dT%H%M%SZ"
_PARTIAL = ".partial"


@dataclass(frozen=True, slots=True)
class Room:
    """A room's folder below ``rooms``, to be packed."""

    name: str
    opened: Callable[[], AbstractContextManager[Path]]
    """The room's files, wherever they are."""
    disk_mb: int
    """Size of the room's own disk; 0 where it has none."""
    most: int | None = None
    """Bytes of its files that are packed; None is all of them."""


@dataclass(frozen=True, slots=True)
class State:
    """What there is to back up."""

    folder: Path
    copy_database: Callable[[Path], JsonObject]
    """Copies the database into this new file; gives what is to be known of it."""
    rooms: tuple[Room, ...]
    settings: Path | None = None
    """The `.env`."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself."""

    at: int
    """Ms since 1970 at which the database was copied."""
    version: str
    database: JsonObject
    disks: dict[str, int]
    """MiB of the disks of rooms that have one, by the room's folder."""
    hashes: dict[str, str]
    left_out: dict[str, str] = field(default_factory=dict)
    """Why a file is not in it."""


def make(state: State, to: Path, *, keep: int, packed: Callable[[str, int], None]) -> tuple[Path, Manifest]:
    """Make a backup in the folder `to`, and delete all but the newest `keep` there. Blocks.

    `packed` is told of each part that is in it, and how many bytes there are so far. Until the file is whole it has
    another name. Raises StateError: the disk is full, another backup is being made there, or there is no database.
    """
    try:
        folder_modes.private(to)
        with file_lock.alone(to, StateError(f"another backup is being made in {to}")):
            for partial in to.glob(f"*{_PARTIAL}"):
                partial.unlink()  # of one that was killed
            at = time.time()
            file = to / f"roommate-{time.strftime(_TIME, time.gmtime(at))}.tar.gz"
            partial = file.with_name(file.name + _PARTIAL)
            try:
                manifest = _write(state, partial, int(at * 1000), packed)
                partial.rename(file)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
            for old in found(to)[:-keep]:
                old.unlink()
            return file, manifest
    except OSError as error:
        raise StateError(f"no backup could be made in {to}: {error.strerror or error}") from error


def found(folder: Path) -> list[Path]:
    """The backups in a folder, oldest first."""
    return sorted(path for path in folder.glob("roommate-*.tar.gz") if _NAME.fullmatch(path.name))


def is_made_anew(name: str) -> bool:
    """Of the state folder: what the next start makes by itself, what is taken in another way, a host's own updates."""
    return name in _MADE_ANEW or name.startswith("update.")


def made_at(file: Path) -> float:
    """Seconds since 1970, as the name of a backup says."""
    match = _NAME.fullmatch(file.name)
    assert match is not None
    return calendar.timegm(time.strptime(match[1], _TIME))


def verify(file: Path) -> Manifest:
    """Read a backup whole, and compare it with its manifest. Raises StateError where they differ. Blocks."""
    hashes: dict[str, str] = {}
    digest, text = None, bytearray()
    with opened(file) as tar:
        for member, piece in members(tar):
            if piece is None:
                continue
            if member.name == MANIFEST:
                text += piece
            digest = digest or fresh_hash(member)
            digest.update(piece)
            if not piece:
                hashes[member.name], digest = digest.hexdigest(), None
    hashes.pop(MANIFEST, None)
    return compared(bytes(text), hashes)


def settings_in(file: Path) -> bytes:
    """The `.env` that is in a backup; empty where it has none. Raises StateError where it cannot be read. Blocks."""
    text = bytearray()
    with opened(file) as tar:
        for member, piece in members(tar):
            if member.name == SETTINGS:
                text += piece or b""
            elif text or member.name not in (DATABASE, SETTINGS):
                break  # they come first
    return bytes(text)


def compared(text: bytes, hashes: dict[str, str]) -> Manifest:
    """The manifest, when these are the files that it names. Raises StateError for the first that is not."""
    if not text:
        raise StateError("the backup is damaged: it is cut off before its end")
    try:
        fields = json.loads(text)
        if fields.pop("format") != FORMAT:
            raise StateError("the backup was made by a newer Roommate: install that one")
        manifest = TypeAdapter(Manifest).validate_python(fields)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise StateError("the backup is damaged: its manifest cannot be read") from error
    for name in sorted(manifest.hashes.keys() | hashes.keys()):
        if manifest.hashes.get(name) != hashes.get(name):
            raise StateError(f"the backup is damaged: {name!r} is not as it was packed")
    return manifest


@contextlib.contextmanager
def opened(file: Path) -> Iterator[tarfile.TarFile]:
    """Raises StateError where that is no backup or, at the end, where gzip's checksum of all of it is wrong."""
    with contextlib.ExitStack() as stack:
        try:
            zipped = stack.enter_context(gzip.open(file))
            tar = stack.enter_context(tarfile.open(fileobj=zipped, mode="r|"))
        except UNREADABLE as error:
            why = (error.strerror if isinstance(error, OSError) else None) or error
            raise StateError(f"{file} is no backup that can be read: {why}") from error
        yield tar
        try:
            while zipped.read(PIECE):
                pass
        except UNREADABLE as error:
            raise StateError(f"the backup is damaged: {error}") from error


def _write(state: State, partial: Path, at: int, packed: Callable[[str, int], None]) -> Manifest:
    left_out: dict[str, str] = {}
    with (
        os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file,
        _compressed(file) as tar,
    ):
        packer = Packer(tar, left_out.__setitem__)
        with tempfile.TemporaryDirectory(prefix=".copy-", dir=partial.parent) as aside:
            copy = Path(aside) / DATABASE
            database = state.copy_database(copy)
            packer.file(copy, DATABASE)
        packed("database", packer.bytes)
        if state.settings:
            packer.file(state.settings, SETTINGS)
        packer.tree(
            state.folder, REST, frozenset(path.name for path in state.folder.iterdir() if is_made_anew(path.name))
        )
        for room in state.rooms:
            with room.opened() as files:
                packer.tree(files, f"{ROOMS}/{room.name}/{FILES}", frozenset({"lost+found"}), room.most)
            packed(room.name, packer.bytes)
        disks = {room.name: room.disk_mb for room in state.rooms if room.disk_mb}
        manifest = Manifest(at, __version__, database, disks, dict(packer.hashes), left_out)
        fields = {name: getattr(manifest, name) for name in Manifest.__slots__}
        packer.text(json.dumps({"format": FORMAT, **fields}), MANIFEST)
    durable_files.to_disk(partial)
    return manifest


@contextlib.contextmanager
def _compressed(file: IO[bytes]) -> Iterator[tarfile.TarFile]:
    # The quickest: a backup should not take the rooms' CPU for long.
    with (
        gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as zipped,
        tarfile.open(fileobj=zipped, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        yield tar
