"""A room's files on the host: a folder, or where the host can limit it, a file system of its own in a sparse file."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roommate.errors import EngineError
from roommate.host import durable_files, file_lock, folder_modes, hostile_trees

log = logging.getLogger(__name__)

_MIB = 1 << 20
_PATH = os.pathsep.join(("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"))
_MOUNTS = 20
_PROGRAM_SECONDS = 600  # e2fsck of a large damaged disk takes its time


@dataclass(frozen=True, slots=True)
class Workspace:
    """The folder of one room below STATE_DIR. All methods block: call them in a thread.

    ``files/`` holds ``workspace/``, ``home/`` and ``spool/``, which the container sees. With a limit, ``files/`` is
    where ``disk.img`` is mounted, an ext4 file system in a sparse file. Nothing here is deleted but by `delete`.
    """

    folder: Path

    @property
    def workspace(self) -> Path:
        return self.folder / "files" / "workspace"

    @property
    def home(self) -> Path:
        return self.folder / "files" / "home"

    @property
    def spool(self) -> Path:
        """Where the container's hooks leave their files: they count to its quota."""
        return self.folder / "files" / "spool"

    @property
    def ipc(self) -> Path:
        """Where hooks of others leave theirs, in a folder that the room makes of whatever it likes."""
        return self.workspace / ".ipc"

    @property
    def _files(self) -> Path:
        return self.folder / "files"

    @property
    def _disk(self) -> Path:
        return self.folder / "disk.img"

    def prepare(self, owner: int, megabytes: int) -> None:
        """Make the room's folders ready to be mounted, for the host id `owner`; `megabytes` 0 is no limit.

        A room that has its files in a plain folder keeps them there, a room with a disk keeps its disk. Raises
        EngineError when the host's disk is full, or the room's disk cannot be mounted.
        """
        try:
            folder_modes.private(self.folder)
            folder_modes.readable(self._files)
            if self._disk.exists() or (megabytes and not any(self._files.iterdir())):
                self._mount(megabytes, self._files)
            for folder in (self.workspace, self.home, self.spool):
                if not folder.exists():  # later its mode is the room's own matter
                    folder_modes.readable(folder)
                if folder.stat().st_uid != owner:
                    hostile_trees.give(folder, owner)
        except (OSError, EngineError) as exc:
            why = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
            full = "the disk is full: " if os.strerror(errno.ENOSPC) in why else ""
            raise EngineError(f"{full}the room's files cannot be made ready in {self.folder}: {why}") from exc

    def release(self) -> None:
        """Unmount the disk, if there is one. A disk that is in use still is found again by the next `prepare`."""
        if self._files.is_mount():
            try:
                _run("umount", str(self._files))
            except EngineError as problem:
                log.warning("%s", problem)

    @contextlib.contextmanager
    def opened(self) -> Iterator[Path]:
        """The folder that has ``workspace/`` and ``home/`` in it, to be read while the room goes on with them.

        Another process may have the disk mounted where we see no mount: it is mounted once more then, aside.
        """
        if self._files.is_mount() or not self._disk.exists():
            yield self._files
            return
        place = Path(tempfile.mkdtemp(prefix="roommate-disk-"))
        try:
            self._mount(0, place)
            try:
                yield place
            finally:
                _run("umount", str(place))
        finally:
            place.rmdir()  # not with what is in it: that would be the room's files

    @property
    def disk_megabytes(self) -> int:
        """Size of the room's disk; 0 where it has none."""
        return self._disk.stat().st_size // _MIB if self._disk.exists() else 0

    def delete(self) -> None:
        """Delete every file of the room, on purpose. Its container must be gone."""
        if self._files.is_mount():
            _run("umount", "--lazy", str(self._files))
        try:
            if self.folder.exists():
                hostile_trees.remove(self.folder)
        except OSError as exc:
            raise EngineError(f"the room's files in {self.folder} cannot be deleted: {exc.strerror or exc}") from exc

    def move(self, to: Workspace) -> bool:
        """All of the room's files become those of another room, at once; nothing where that was done before. False when
        the other one has files: then nothing is moved. Its container must be gone."""
        if not self.folder.exists():
            return True
        if to.folder.exists():
            return False
        try:
            self.folder.rename(to.folder)
            durable_files.to_disk(to.folder.parent)
        except OSError as exc:
            raise EngineError(f"the files in {self.folder} cannot be moved: {exc.strerror or exc}") from exc
        return True

    def usage(self) -> tuple[int, int] | None:
        """Bytes used and bytes in all of the room's disk; None when it has none or it is not mounted."""
        if not self._files.is_mount():
            return None
        disk = os.statvfs(self._files)
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize, disk.f_blocks * disk.f_frsize

    def size(self) -> int:
        """Bytes on the host's disk: of the room's disk, or of all its files one by one."""
        if self._disk.exists():
            return self._disk.stat().st_blocks * 512
        if not self._files.exists():
            return 0
        top = os.open(self._files, hostile_trees.FOLDER)
        try:
            seen = hostile_trees.walk(top, lambda *_: None)  # a room may have locked us out of some
            return sum(visit.about.st_blocks * 512 for visit in seen if visit.step is hostile_trees.Step.FOUND)
        finally:
            os.close(top)

    def _mount(self, megabytes: int, place: Path) -> None:
        if place.is_mount():
            return
        if os.geteuid() != 0:
            raise EngineError(
                f"the room's files are in {self._disk}, which only root can mount: run the daemon as root"
            )
        with file_lock.alone(self.folder):  # a daemon and a backup must not make two devices of one disk
            for attempt in range(_MOUNTS):
                # A container that outlived the daemon may hold the disk where we see no mount (a mount namespace of
                # systemd). The same block device mounted twice is one file system; two devices on one file would
                # destroy it.
                devices = _run("losetup", "--noheadings", "--output", "NAME", "--associated", str(self._disk)).split()
                if not devices:
                    self._mend(megabytes)
                # With ``loop`` the kernel takes its device back when nobody has it any more, were it only made by then.
                what, how = (devices[0], "") if devices else (str(self._disk), ",loop")
                try:
                    _run("mount", "-t", "ext4", "-o", f"nosuid,nodev,noatime,discard{how}", what, str(place))
                    break
                except EngineError:  # the device of a moment ago, which was just about to go
                    if attempt == _MOUNTS - 1:
                        raise
                    time.sleep(0.05)
            if devices:
                _run("losetup", "--detach", devices[0])  # takes effect when nobody has it mounted any more

    def _mend(self, megabytes: int) -> None:
        """The disk is made, grown or mended where needed."""
        if not self._disk.exists():
            _make_disk(self._disk, megabytes)
        elif self._disk.stat().st_size < megabytes * _MIB:  # the limit was raised
            _run("e2fsck", "-f", "-p", str(self._disk), fine=(1,))
            os.truncate(self._disk, megabytes * _MIB)
            _run("resize2fs", str(self._disk))
        else:
            _run("e2fsck", "-p", str(self._disk), fine=(1,))


def quota_problem(folder: Path) -> str:
    """Why no disk can be mounted below `folder`, found out by trying; empty when it works."""
    if os.geteuid() != 0:
        return "only root can mount a disk for each room"
    folder_modes.private(folder)
    trial = Workspace(Path(tempfile.mkdtemp(prefix="quota-", dir=folder)))
    try:
        trial.prepare(owner=0, megabytes=8)
        return "" if trial.usage() else "the disk was not mounted"
    except EngineError as problem:
        return str(problem)
    finally:
        trial.delete()


def _make_disk(disk: Path, megabytes: int) -> None:
    """A sparse file with ext4 in it: no room kept for root, tables written when they are needed."""
    fresh = disk.with_suffix(".new")
    with fresh.open("wb") as file:
        file.truncate(megabytes * _MIB)
    lazy = "lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0"
    _run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", lazy, str(fresh))
    fresh.replace(disk)


def _run(*command: str, fine: tuple[int, ...] = ()) -> str:
    """What a program printed. Raises EngineError when it fails."""
    environment = {"PATH": _PATH, "LANG": "C.UTF-8"}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROGRAM_SECONDS
        )
    except FileNotFoundError as exc:
        raise EngineError(f"{command[0]} is not installed: apt install e2fsprogs mount") from exc
    except subprocess.TimeoutExpired as exc:
        raise EngineError(f"{command[0]} did not end: {' '.join(command)}") from exc
    if done.returncode != 0 and done.returncode not in fine:
        lines = [line for line in (done.stderr or done.stdout).strip().splitlines() if "dmesg" not in line]
        raise EngineError(f"{command[0]} failed: {lines[-1] if lines else f'exit code {done.returncode}'}")
    return done.stdout
