"""Trees of any depth are walked, given away and deleted; whoever owns them may change them meanwhile."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from roommate.host import hostile_trees
from roommate.host.hostile_trees import Step

OWNER = 1234567


def dig(folder: Path, levels: int, name: str = "d") -> None:
    """So many folders, one in the other, with a file at the bottom: longer than a path may be."""
    at = os.open(folder, hostile_trees.FOLDER)
    for _ in range(levels):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, hostile_trees.FOLDER, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("leaf", os.O_CREAT | os.O_WRONLY, dir_fd=at))
    os.close(at)


@contextmanager
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 8, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def owners(folder: Path) -> set[int]:
    top = os.open(folder, hostile_trees.FOLDER)
    found = {visit.about.st_uid for visit in hostile_trees.walk(top, print)}
    os.close(top)
    return found


@pytest.mark.parametrize(("levels", "name"), [(1200, "d"), (100, "long" * 60)])
def test_a_deep_tree_is_walked_given_and_deleted(tmp_path: Path, levels: int, name: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    dig(tree, levels, name)
    with few_descriptors():
        assert owners(tree) == {os.getuid()}
        hostile_trees.give(tree, OWNER)
        assert owners(tree) == {OWNER} == {tree.stat().st_uid}
        hostile_trees.remove(tree)
    assert list(tmp_path.iterdir()) == []


def test_every_entry_comes_once_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").touch()
    (tmp_path / "a" / "to-root").symlink_to("/")
    (tmp_path / "c").mkdir()
    os.mkfifo(tmp_path / "z")
    top = os.open(tmp_path, hostile_trees.FOLDER)
    seen = [(visit.step, visit.name) for visit in hostile_trees.walk(top, print)]
    os.close(top)
    assert seen == [
        (Step.ENTERED, "a"), (Step.ENTERED, "b"), (Step.FOUND, "file"), (Step.LEFT, "b"), (Step.FOUND, "to-root"),
        (Step.LEFT, "a"), (Step.ENTERED, "c"), (Step.LEFT, "c"), (Step.FOUND, "z"),
    ]  # fmt: skip


def test_what_is_too_long_is_told_once_and_all_else_is_seen(tmp_path: Path) -> None:
    dig(tmp_path, 10)
    (tmp_path / "z").touch()
    top, lost = os.open(tmp_path, hostile_trees.FOLDER), list[tuple[str, str]]()
    seen = [
        visit.name for visit in hostile_trees.walk(top, lambda name, error: lost.append((name, str(error))), longest=6)
    ]
    os.close(top)
    assert seen == ["d"] * 3 + ["d"] * 3 + ["z"]
    assert lost == [("d", "[Errno 36] its path has more than 6 bytes")]


def test_a_tree_that_is_moved_meanwhile_is_left_and_the_rest_is_walked(tmp_path: Path) -> None:
    (tmp_path / "tree" / "a" / "b" / "c").mkdir(parents=True)
    for place in ("tree/a/rest", "tree/a/b/rest", "tree/z"):
        (tmp_path / place).touch()
    top, lost = os.open(tmp_path / "tree", hostile_trees.FOLDER), list[str]()
    left = []
    for visit in hostile_trees.walk(top, lambda name, error: lost.append(str(error.strerror))):
        if visit.step is Step.ENTERED and visit.name == "c":
            (tmp_path / "tree" / "a" / "b").rename(tmp_path / "b")
            (tmp_path / "b" / "c").rename(tmp_path / "c")
        if visit.step is not Step.ENTERED:
            left.append(visit.name)
    os.close(top)
    assert left == ["c", "b", "rest", "a", "z"], "only what was moved is missing"
    assert lost == ["it was moved elsewhere meanwhile"]


def test_a_tree_that_is_given_in_part_is_known_to_be(tmp_path: Path) -> None:
    """Killed in the middle, whoever looks at the top sees that it is not done."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    given = []
    chown = os.chown

    class Killed(BaseException):
        pass

    def killed_at_the_second(name: str, *rest: int, **more: object) -> None:
        given.append(name)
        if len(given) == 2:
            raise Killed
        chown(name, *rest, **more)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(os, "chown", killed_at_the_second)
        hostile_trees.give(tmp_path, OWNER)
    assert given == ["file", "a"]
    assert tmp_path.stat().st_uid != OWNER
    hostile_trees.give(tmp_path, OWNER)
    assert owners(tmp_path) == {OWNER} == {tmp_path.stat().st_uid}
