"""Restoring: a backup becomes the state of a host that has none."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path, PurePosixPath

from roommate.errors import StateError
from roommate.host import hostile_trees
from roommate.maintenance import backup
from roommate.maintenance.backup import DATABASE, MANIFEST, REST, ROOMS, SETTINGS, Manifest
from roommate.maintenance.tree_archive import Unpacker, members

KEPT = frozenset({"identity.key"})
"""What stays as it is where it is there: what a host has is newer than its backups."""
HARMLESS = frozenset({"lock", "logs", "backups", "host.json", "seccomp.json", "ipc"}) | KEPT
"""What may be in a state folder that counts as empty."""
COMING = "restoring"


def restore(
    file: Path,
    folder: Path,
    *,
    settings: Path,
    disk: Callable[[Path, int], AbstractContextManager[None]],
    unpacked: Callable[[str], None],
) -> Manifest:
    """Unpack a backup into the state folder, which must be empty and locked by us; the database comes last. Blocks.

    `disk` makes a disk of so many MiB in a room's folder, for as long as files are put into it; `settings` is where the
    `.env` goes, unless there is one. Raises StateError: something is there already, or the backup is damaged; then the
    folder is as empty as before.
    """
    if there := sorted(path.name for path in folder.iterdir() if path.name not in HARMLESS):
        raise StateError(
            f"{folder} is not empty ({', '.join(there[:3])}): a backup is restored where there is no state"
        )
    coming = folder / COMING
    try:
        manifest = _unpack(file, coming, _disks(file), disk, unpacked)
        (coming / MANIFEST).unlink()
        if (kept := coming / SETTINGS).exists():
            if settings.exists():
                kept.unlink()
            else:
                shutil.move(kept, settings)
        for path in (coming / REST).iterdir():
            if path.name not in KEPT or not (folder / path.name).exists():
                path.rename(folder / path.name)
        if (coming / ROOMS).exists():
            (coming / ROOMS).rename(folder / ROOMS)
        (coming / DATABASE).rename(folder / DATABASE)
    except OSError as error:
        raise StateError(f"the backup could not be restored into {folder}: {error.strerror or error}") from error
    except (ValueError, OverflowError) as error:  # a name, an owner or a time that no file system has
        raise StateError(f"the backup is damaged: {error}") from error
    finally:
        with contextlib.suppress(OSError):
            hostile_trees.remove(coming)
    return manifest


def _disks(file: Path) -> dict[str, int]:
    """Which rooms had a disk: the manifest, at the end, says it. So all is read before anything is unpacked."""
    return backup.verify(file).disks


def _unpack(
    file: Path,
    coming: Path,
    disks: dict[str, int],
    disk: Callable[[Path, int], AbstractContextManager[None]],
    unpacked: Callable[[str], None],
) -> Manifest:
    coming.mkdir(mode=0o700)
    unpacker, text, room = Unpacker(coming), bytearray(), ""
    with ExitStack() as stack, backup.opened(file) as tar:
        for member, piece in members(tar):
            if not _belongs(member):
                raise StateError(f"the backup is damaged: {member.name!r} is nothing that a backup has")
            top, _, rest = member.name.partition("/")
            name = rest.partition("/")[0]
            if top == ROOMS and name != room:
                unpacker.end()
                stack.close()
                place = coming / ROOMS / name
                place.mkdir(mode=0o700, parents=True)
                stack.enter_context(disk(place, disks.get(name, 0)))
                room = name
                unpacked(name)
            if member.name == MANIFEST:
                text += piece or b""
            unpacker.put(member, piece)
        unpacker.end()
    unpacker.hashes.pop(MANIFEST)
    return backup.compared(bytes(text), unpacker.hashes)


def _belongs(member: tarfile.TarInfo) -> bool:
    """Is this at a place, and of a kind, that we would have packed? What leads elsewhere where we or Podman follow it,
    such as a link for a room's folder or a disk to be mounted, was forged."""
    path = PurePosixPath(member.name)
    if str(path) != member.name or ".." in path.parts:
        return False
    match path.parts:
        case [backup.DATABASE | backup.MANIFEST | backup.SETTINGS]:
            return member.isreg()
        case [backup.REST] | [backup.ROOMS, _, backup.FILES]:
            return member.isdir()
        case [backup.REST, name, *_]:
            return not backup.is_made_anew(name)
        case [backup.ROOMS, _, backup.FILES, _]:
            return member.isdir() or member.isreg()
        case [backup.ROOMS, _, backup.FILES, *_]:
            return True
    return False
