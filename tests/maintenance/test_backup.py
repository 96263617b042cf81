"""A backup holds all that must survive, nothing of the host's, and says when it is damaged."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roommate.domain import JsonObject
from roommate.errors import StateError
from roommate.host import hostile_trees
from roommate.maintenance import backup, tree_archive
from roommate.maintenance.restore import restore
from tests.test_trees import dig, few_descriptors

SECRET = "a file of the host"


def copy_database(to: Path) -> JsonObject:
    to.write_bytes(b"a database" * 1000)
    return {"version": 7}


@pytest.fixture
def state(tmp_path: Path) -> backup.State:
    """A state folder with one room, in which a hostile one left what it could."""
    (tmp_path / "host-secret").write_text(SECRET)
    folder = tmp_path / "state"
    room = folder / "rooms" / "0123abcd" / "files"
    workspace = room / "workspace"
    workspace.mkdir(parents=True)
    (workspace / "kept.txt").write_text("still here")
    (workspace / "kept.txt").chmod(0o640)
    os.utime(workspace / "kept.txt", (1_000_000, 1_000_000))
    (workspace / "run.sh").write_text("#!/bin/sh\n")
    (workspace / "run.sh").chmod(0o755)
    (workspace / "same.txt").hardlink_to(workspace / "kept.txt")
    (workspace / "to-host").symlink_to(tmp_path / "host-secret")
    (workspace / "folder-of-host").symlink_to(tmp_path)
    (workspace / "nowhere").symlink_to("nothing")
    os.mkfifo(workspace / "fifo")
    (workspace / "empty").mkdir(mode=0o555)
    os.close(os.open(os.fsencode(workspace) + b"/not-\xff-utf8\n", os.O_CREAT | os.O_WRONLY))
    deep = workspace / "/".join(["deep" * 20] * 10)
    deep.mkdir(parents=True)
    (deep / "leaf").write_text("deep")
    with (workspace / "holes").open("wb") as holes:
        holes.truncate(2 << 40)
    (folder / "identity.key").write_text("a key")
    (folder / "identity.key").chmod(0o600)
    for made_anew in ("lock", "host.json", "roommate.db-wal", "update.json"):
        (folder / made_anew).write_text("of this host")
    (folder / "logs").mkdir()
    (folder / "logs" / "roommate.log").write_text("a line")
    (tmp_path / ".env").write_text("MATRIX_PASSWORD=secret\n")

    @contextlib.contextmanager
    def opened() -> Iterator[Path]:
        yield room

    return backup.State(folder, copy_database, (backup.Room("0123abcd", opened, 0),), tmp_path / ".env")


def made(state: backup.State, to: Path, keep: int = 3) -> tuple[Path, backup.Manifest]:
    return backup.make(state, to, keep=keep, packed=lambda part, size: None)


@contextlib.contextmanager
def no_disk(folder: Path, megabytes: int) -> Iterator[None]:
    yield


def restored(file: Path, folder: Path) -> backup.Manifest:
    folder.mkdir(exist_ok=True)
    return restore(file, folder, settings=folder.parent / "restored.env", disk=no_disk, unpacked=lambda part: None)


def test_what_was_packed_comes_back_and_nothing_else(state: backup.State, tmp_path: Path) -> None:
    file, manifest = made(state, tmp_path / "backups")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert list(manifest.left_out) == ["rooms/0123abcd/files/workspace/holes"]
    assert backup.verify(file) == manifest
    assert SECRET not in gzip.decompress(file.read_bytes()).decode("latin-1"), "links are not followed"

    folder = tmp_path / "other"
    assert restored(file, folder) == manifest
    assert sorted(path.name for path in folder.iterdir()) == ["identity.key", "roommate.db", "rooms"]
    assert stat.S_IMODE((folder / "identity.key").stat().st_mode) == 0o600
    assert (tmp_path / "restored.env").read_text() == "MATRIX_PASSWORD=secret\n"
    assert stat.S_IMODE((tmp_path / "restored.env").stat().st_mode) == stat.S_IMODE((tmp_path / ".env").stat().st_mode)
    before, after = (root / "rooms/0123abcd/files/workspace" for root in (state.folder, folder))
    assert sorted(os.listdir(os.fsencode(after))) == sorted(set(os.listdir(os.fsencode(before))) - {b"fifo", b"holes"})
    for name in ("kept.txt", "run.sh", "empty"):
        old, new = (before / name).stat(), (after / name).stat()
        assert (new.st_mode, int(new.st_mtime), new.st_uid) == (old.st_mode, int(old.st_mtime), old.st_uid)
    assert (after / "kept.txt").read_text() == "still here"
    assert (after / "same.txt").samefile(after / "kept.txt")
    assert os.readlink(after / "to-host") == str(tmp_path / "host-secret")
    assert next(after.rglob("leaf")).read_text() == "deep"


def test_it_is_restored_only_where_there_is_nothing(state: backup.State, tmp_path: Path) -> None:
    file, _ = made(state, tmp_path / "backups")
    with pytest.raises(StateError, match="not empty"):
        restored(file, state.folder)
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "lock").touch()
    (folder / "logs").mkdir()
    (folder / "identity.key").write_text("a newer key")
    (tmp_path / "restored.env").write_text("MINE=1\n")
    restored(file, folder)
    assert (folder / "identity.key").read_text() == "a newer key", "it is not taken back to what it was"
    assert (tmp_path / "restored.env").read_text() == "MINE=1\n", "settings that are there stay"
    assert not list(folder.rglob("settings.env"))


def test_old_ones_go_and_those_of_the_killed_too(state: backup.State, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    for day in range(1, 5):
        (folder / f"roommate-2026010{day}T000000Z.tar.gz").touch()
    (folder / "roommate-20260105T000000Z.tar.gz.partial").touch()
    (folder / "roommate-of-mine.tar.gz").touch()
    file, _ = made(state, folder, keep=2)
    kept = ["roommate-20260104T000000Z.tar.gz", file.name, "roommate-of-mine.tar.gz"]
    assert sorted(path.name for path in folder.iterdir()) == kept
    assert backup.found(folder)[-1] == file
    assert backup.made_at(folder / kept[0]) == 1767484800


def test_a_backup_that_fails_leaves_nothing(state: backup.State, tmp_path: Path) -> None:
    def full(to: Path) -> JsonObject:
        raise OSError(28, "No space left on device")

    broken = backup.State(state.folder, full, state.rooms)
    with pytest.raises(StateError, match="No space left"):
        made(broken, tmp_path / "backups")
    assert list((tmp_path / "backups").iterdir()) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.data())
def test_whatever_is_damaged_is_noticed(state: backup.State, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "backups"
    [file] = backup.found(folder) if folder.exists() else [made(state, folder)[0]]
    content = bytearray(file.read_bytes())
    at = data.draw(st.integers(10, len(content) - 1))
    if data.draw(st.booleans()):
        del content[at:]
    else:
        content[at] ^= data.draw(st.integers(1, 255))
    damaged = tmp_path / "damaged.tar.gz"
    damaged.write_bytes(content)
    try:
        manifest = backup.verify(damaged)
    except StateError:
        with pytest.raises(StateError):
            restored(damaged, tmp_path / "never")
        assert list((tmp_path / "never").iterdir()) == []
    else:
        assert manifest == backup.verify(file), "a bit that says nothing, such as of padding"


def forged(file: Path, *forged: tuple[str, bytes, str], **manifest: object) -> Path:
    """A backup with a room's folder that leads elsewhere, and these members: name, kind, where a link leads."""
    nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    with tarfile.open(file, "w:gz") as tar:
        for name, kind, leads_to in forged:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, leads_to
            tar.addfile(info, io.BytesIO())
        hashes = {name: nothing for name, kind, _ in forged if kind == tarfile.REGTYPE}
        fields = {"format": 1, "at": 1, "version": "0", "database": {}, "disks": {}, "hashes": hashes, "left_out": {}}
        text = json.dumps(fields | manifest).encode()
        info = tarfile.TarInfo("manifest.json")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
    return file


FILE, LINK, FOLDER = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE


@pytest.mark.parametrize(
    "members",
    [
        [("../out", FILE)],
        [("/etc/out", FILE)],
        [("state/../../out", FILE)],
        [("state/./out", FILE)],
        [("rooms/x/files/workspace/link", LINK), ("rooms/x/files/workspace/link/out", FILE)],
        [("state/device", tarfile.CHRTYPE)],
        [("state", LINK)],
        [("rooms", LINK)],
        [("rooms/x", LINK)],
        [("rooms/../out/files", FOLDER)],
        [("rooms/x/files", LINK)],
        [("rooms/x/files/workspace", LINK)],
        [("rooms/x/disk.img", FILE)],
        [("state/lock", FILE)],
        [("state/update.json", FILE)],
        [("state/roommate.db", LINK)],
        [("roommate.db", LINK)],
        [("settings.env", LINK)],
        [("more", FILE)],
        [("state/no\0name", FILE)],
    ],
)
def test_a_forged_one_writes_and_takes_nothing_elsewhere(tmp_path: Path, members: list[tuple[str, bytes]]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").touch()
    file = forged(
        tmp_path / "roommate-20260101T000000Z.tar.gz",
        ("roommate.db", FILE, ""),
        *((name, kind, str(out) if kind == LINK else "") for name, kind in members),
    )
    with pytest.raises(StateError, match="damaged"):
        restored(file, tmp_path / "state")
    assert list((tmp_path / "state").iterdir()) == []
    assert [path.name for path in out.iterdir()] == ["precious"]
    assert not (tmp_path / "restored.env").is_symlink()


@pytest.mark.parametrize("wrong", [{"disks": "x"}, {"disks": {"x": "y"}}, {"hashes": []}, {"at": {}}, {"format": 2}])
def test_a_manifest_of_another_shape_is_told(tmp_path: Path, wrong: dict[str, object]) -> None:
    file = forged(tmp_path / "roommate-20260101T000000Z.tar.gz", **wrong)
    with pytest.raises(StateError, match=r"damaged|newer"):
        backup.verify(file)


def room_of(state: backup.State) -> Path:
    return state.folder / "rooms/0123abcd/files/workspace"


def test_a_deep_folder_is_packed_and_comes_back(state: backup.State, tmp_path: Path) -> None:
    workspace = room_of(state)
    dig(workspace, 1200)
    (workspace / "long").mkdir()
    dig(workspace / "long", 80, "long" * 10)
    (workspace / "z").write_text("after it")
    with few_descriptors():
        file, manifest = made(state, tmp_path / "backups")
        backup.verify(file)
        restored(file, tmp_path / "other")
    (long,) = [why for name, why in manifest.left_out.items() if "/long/" in name]
    assert long == "its path has more than 3,000 bytes", "that is one line"
    after = tmp_path / "other" / "rooms/0123abcd/files/workspace"
    assert (after / "/".join(["d"] * 1200) / "leaf").exists()
    assert (after / "z").read_text() == "after it"
    for deep in (workspace, after):
        hostile_trees.remove(deep)  # as pytest cannot


def test_holes_cost_nothing_and_come_back(state: backup.State, tmp_path: Path) -> None:
    workspace, size = room_of(state), (1 << 30) - 1
    for number in range(20):
        with (workspace / f"empty-{number}").open("wb") as empty:
            empty.truncate(size)
    with (workspace / "some").open("wb") as some:
        for place in (5 << 20, 300 << 20, 301 << 20, size - 4):
            some.seek(place)
            some.write(b"data")
    packed = []
    file, manifest = backup.make(state, tmp_path / "to", keep=1, packed=lambda part, size: packed.append(size))
    assert packed[-1] < 4 << 20
    assert backup.verify(file) == manifest
    assert restored(file, tmp_path / "other") == manifest
    after = tmp_path / "other" / "rooms/0123abcd/files/workspace"
    out = tmp_path / "tar"
    out.mkdir()
    subprocess.run(("tar", "-xzf", file, "-C", out), check=True)
    for copied in (after, out / "rooms/0123abcd/files/workspace"):
        assert {(copied / f"empty-{number}").stat().st_size for number in range(20)} == {size}
        assert (copied / "some").stat().st_blocks * 512 < 4 << 20
        with (copied / "some").open("rb") as some:
            for place in (5 << 20, 300 << 20, 301 << 20, size - 4):
                some.seek(place)
                assert some.read(4) == b"data"


def test_of_one_room_so_much_is_packed_and_the_rest_is_told(
    state: backup.State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = room_of(state)
    for number in range(200):
        (workspace / f"big-{number}").write_bytes(b"x" * 50_000)
    limited = replace(state, rooms=(replace(state.rooms[0], most=210_000),))
    file, manifest = made(limited, tmp_path / "limited")
    bigs = [name for name in manifest.hashes if "/big-" in name]
    assert len(bigs) == 4
    assert any("kept.txt" in name for name in manifest.hashes), "what is small has room still"
    assert len(manifest.left_out) <= tree_archive.MOST_LEFT_OUT + 1
    assert manifest.left_out["rooms/0123abcd/files/…"].startswith("and ")
    assert restored(file, tmp_path / "other") == manifest

    monkeypatch.setattr(tree_archive, "MOST_ENTRIES", 50)
    _, manifest = made(state, tmp_path / "fewer")
    assert len([name for name in manifest.hashes if name.startswith("rooms/")]) <= 50
    assert any("more files than a backup holds" in why for why in manifest.left_out.values())


@pytest.mark.parametrize("spots", ["0", "a,b", "5,1,0,1", "-1,5", "0,5,1099511627776,5", "0,-5"])
def test_a_forged_map_of_holes_is_damage(tmp_path: Path, spots: str) -> None:
    member = tarfile.TarInfo("state/file")
    member.size, member.pax_headers = 5, {"GNU.sparse.map": spots, "GNU.sparse.size": "10"}
    with gzip.open(tmp_path / "forged", "wb") as zipped, tarfile.open(fileobj=zipped, mode="w|") as tar:
        tar.addfile(member, io.BytesIO(b"12345"))
    with pytest.raises(StateError, match=r"damaged|no backup that can be read"):
        backup.verify(tmp_path / "forged")
