"""A room's files on the host: the disk that limits them, and that nothing but `delete` deletes any."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roommate.errors import EngineError
from roommate.sandbox.workspace import Workspace, quota_problem
from tests.patience import PATIENCE

OWNER = 1234567


@pytest.fixture
def room() -> Iterator[Workspace]:
    folder = Path(tempfile.mkdtemp(prefix="ws-"))
    room = Workspace(folder / "room")
    yield room
    room.delete()
    shutil.rmtree(folder)


def devices(room: Workspace) -> list[str]:
    command = ("losetup", "--noheadings", "--output", "NAME", "--associated", room.folder / "disk.img")
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def gone(room: Workspace) -> bool:
    """Its device is given back: in a moment, where somebody else on this host looks at all devices."""
    deadline = time.monotonic() + PATIENCE
    while devices(room) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not devices(room)


def test_this_host_can_limit_workspaces(tmp_path: Path) -> None:
    assert quota_problem(tmp_path / "new") == ""
    assert list((tmp_path / "new").iterdir()) == []


def test_files_survive_on_a_disk_of_their_own(room: Workspace) -> None:
    assert room.usage() is None
    room.prepare(OWNER, 16)
    used, size = room.usage() or (0, 0)
    assert 0 <= used < size <= 16 << 20
    assert room.workspace.stat().st_uid == room.home.stat().st_gid == OWNER
    (room.workspace / "file").write_text("kept")
    with pytest.raises(OSError, match="No space left"):
        (room.workspace / "big").write_bytes(b"x" * (17 << 20))
    room.release()
    assert room.usage() is None
    assert gone(room)
    room.prepare(OWNER, 16)
    assert (room.workspace / "file").read_text() == "kept"


def test_a_sparse_disk_takes_what_it_holds_and_gives_it_back(room: Workspace) -> None:
    room.prepare(OWNER, 1024)
    disk = room.folder / "disk.img"
    before = disk.stat().st_blocks * 512
    assert before < 64 << 20
    (room.workspace / "big").write_bytes(os.urandom(32 << 20))
    os.sync()
    assert disk.stat().st_blocks * 512 > before + (31 << 20)
    (room.workspace / "big").unlink()
    room.release()
    deadline = time.monotonic() + 10  # it is given back when no namespace has it mounted any more
    while disk.stat().st_blocks * 512 >= before + (8 << 20):
        assert time.monotonic() < deadline, "the disk keeps what it does not hold"
        time.sleep(0.05)


def test_a_disk_is_read_while_the_room_comes_and_goes(room: Workspace) -> None:
    room.prepare(OWNER, 16)
    (room.workspace / "file").write_text("one")
    with room.opened() as files:
        assert files == room.workspace.parent
    room.release()
    with room.opened() as first, room.opened() as second:
        assert (first / "workspace" / "file").read_text() == (second / "workspace" / "file").read_text() == "one"
        room.prepare(OWNER, 16)
        assert len(devices(room)) == 1, "two devices of one disk would destroy it"
        (room.workspace / "file").write_text("two")
        assert (second / "workspace" / "file").read_text() == "two"
    assert not first.exists()
    assert (room.workspace / "file").read_text() == "two"
    room.release()
    assert gone(room)


def test_a_disk_that_is_mounted_is_left_as_it_is(room: Workspace) -> None:
    room.prepare(OWNER, 16)
    with (room.workspace / "open").open("w") as file:
        room.prepare(OWNER, 16)
        file.write("still there")
    assert (room.workspace / "open").read_text() == "still there"
    assert len(devices(room)) == 1


def test_a_disk_that_somebody_holds_gets_no_second_device(room: Workspace) -> None:
    """As a container that outlived the daemon's mount namespace does. Two devices on one file would destroy it."""
    room.prepare(OWNER, 16)
    with (room.workspace / "held").open("w") as file:
        subprocess.run(("umount", "--lazy", room.folder / "files"), check=True)
        assert room.usage() is None
        room.prepare(OWNER, 16)
        assert len(devices(room)) == 1
        file.write("seen by both")
        file.flush()
        assert (room.workspace / "held").read_text() == "seen by both"


def test_killed_before_the_disk_is_mounted_it_leaves_no_device(room: Workspace) -> None:
    """With all that it has started, as systemd does it."""
    room.prepare(OWNER, 16)
    room.release()
    assert gone(room)
    prepare = "import sys, pathlib; from roommate.sandbox.workspace import Workspace as W; W(pathlib.Path(sys.argv[1]))"
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", f"{prepare}.prepare({OWNER}, 16)", str(room.folder)])
        try:
            mount = _child_called("mount", process)
        finally:
            process.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(mount, signal.SIGKILL)
        process.wait()
        room.release()  # it may have been too fast
        assert gone(room)


def _child_called(name: str, process: subprocess.Popen[bytes]) -> int:
    """Its process id, as soon as there is one."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{child}/comm").read_text().strip() == name:
                    return int(child)
    raise AssertionError(f"there was no {name}")


def test_raising_the_limit_makes_the_disk_larger(room: Workspace) -> None:
    room.prepare(OWNER, 16)
    (room.workspace / "file").write_text("kept")
    room.release()
    room.prepare(OWNER, 64)
    assert (room.usage() or (0, 0))[1] > 48 << 20
    assert (room.workspace / "file").read_text() == "kept"
    room.release()
    room.prepare(OWNER, 16)
    assert (room.usage() or (0, 0))[1] > 48 << 20, "it never shrinks"


def test_a_disk_that_was_not_unmounted_recovers(room: Workspace) -> None:
    room.prepare(OWNER, 16)
    (room.workspace / "file").write_text("kept")
    os.sync()
    other = Workspace(room.folder.parent / "crashed")
    other.folder.mkdir()
    shutil.copy(room.folder / "disk.img", other.folder)  # what a power cut leaves
    try:
        other.prepare(OWNER, 16)
        assert (other.workspace / "file").read_text() == "kept"
    finally:
        other.delete()


def wait_for_detached(disk: Path) -> None:
    """A container that starts meanwhile may keep the mount for a moment, and the kernel writes when that ends."""
    deadline = time.monotonic() + PATIENCE
    while subprocess.run(["losetup", "--associated", disk], capture_output=True, text=True, check=True).stdout:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_damaged_disk_is_said_and_kept(room: Workspace) -> None:
    room.prepare(OWNER, 16)
    room.release()
    wait_for_detached(room.folder / "disk.img")
    with (room.folder / "disk.img").open("r+b") as disk:
        disk.write(b"\0" * (1 << 20))
    damaged = (room.folder / "disk.img").read_bytes()
    with pytest.raises(EngineError, match="e2fsck failed"):
        room.prepare(OWNER, 16)
    assert (room.folder / "disk.img").read_bytes() == damaged


def test_files_in_a_plain_folder_stay_there(room: Workspace) -> None:
    room.prepare(OWNER, 0)
    (room.workspace / "file").write_text("kept")
    room.prepare(OWNER, 16)
    assert (room.workspace / "file").read_text() == "kept"
    assert room.usage() is None


def test_other_ids_get_the_files_and_links_lead_nowhere(room: Workspace) -> None:
    """After a move to another host, or another kind of Podman."""
    outside = room.folder.parent / "outside"
    outside.write_text("the host's")
    room.prepare(OWNER, 0)
    (room.workspace / "deep" / "er").mkdir(parents=True)
    (room.workspace / "deep" / "link").symlink_to(outside)
    (room.workspace / "deep" / "er" / "file").write_text("mine")
    room.prepare(OWNER + 1, 0)
    assert outside.stat().st_uid == os.getuid()
    changed = [room.workspace, *room.workspace.rglob("*"), room.home]
    assert {path.lstat().st_uid for path in changed} == {OWNER + 1}


@pytest.mark.parametrize("megabytes", [0, 16])
def test_a_full_disk_is_said(tmp_path: Path, megabytes: int) -> None:
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=16k,nr_inodes=3", "none", tmp_path), check=True)
    try:
        with pytest.raises(EngineError, match="the disk is full: the room's files cannot be made ready"):
            Workspace(tmp_path / "room").prepare(OWNER, megabytes)
    finally:
        subprocess.run(("umount", tmp_path), check=True)


def test_delete_deletes_what_a_room_locked(room: Workspace) -> None:
    room.prepare(OWNER, 16)
    (room.workspace / "locked").mkdir(mode=0)
    room.delete()
    assert not room.folder.exists()
    room.delete()


@pytest.mark.parametrize("megabytes", [0, 16])
def test_files_become_another_rooms_and_never_take_the_place_of_its_own(room: Workspace, megabytes: int) -> None:
    other = Workspace(room.folder.parent / "other")
    room.prepare(OWNER, megabytes)
    (room.workspace / "precious").write_text("kept")
    room.release()
    for _ in range(2):
        assert room.move(other)
    assert not room.folder.exists()
    other.prepare(OWNER, megabytes)
    assert (other.workspace / "precious").read_text() == "kept"
    room.prepare(OWNER, megabytes)
    (room.workspace / "of its own").touch()
    other.release()
    assert not other.move(room)
    assert (room.workspace / "of its own").exists()
    other.prepare(OWNER, megabytes)
    assert (other.workspace / "precious").exists()
    other.delete()
