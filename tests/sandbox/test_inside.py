"""The parts of the inside program that are rules of their own."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from roommate.sandbox import inside
from roommate.sandbox.hand import program
from roommate.sandbox.inside import output_files
from roommate.sandbox.inside.glob_matcher import Glob
from roommate.sandbox.inside.output_files import KEPT, Place, Record

MODULES = sorted(Path(inside.__path__[0]).glob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_runs_on_an_old_python_with_nothing_but_its_library(module: Path) -> None:
    tree = ast.parse(module.read_text("utf-8"), feature_version=(3, 9))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.startswith("roommate.sandbox.inside.") or name.partition(".")[0] in sys.stdlib_module_names


def test_the_program_holds_every_module() -> None:
    text = program().decode()
    for module in MODULES:
        assert module.stem == "__init__" or f"load({module.stem!r}," in text


def test_each_module_imports_only_what_is_loaded_before_it() -> None:
    """What is there for the types alone counts as well: no circle, and each can be read without the later ones."""
    order = re.findall(r"load\('(\w+)', ", program().decode())
    for module in MODULES:
        for name in re.findall(r"from roommate\.sandbox\.inside\.(\w+) import", module.read_text("utf-8")):
            assert order.index(name) < order.index(module.stem), f"{module.stem} imports {name}"


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.py", "a.py", True),
        ("*.py", "deep/down/a.py", True),
        ("./*.py", "deep/a.py", True),
        ("src/*.py", "src/a.py", True),
        ("src/*.py", "src/deep/a.py", False),
        ("src/**/*.py", "src/a.py", True),
        ("src/**/*.py", "src/x/y/a.py", True),
        ("src/**/*.py", "test/src/a.py", False),
        ("**/test_*", "a/b/test_x", True),
        ("src/**", "src/a/b", True),
        ("src/**", "srcs/a", False),
        ("**", "anything/at/all", True),
        ("a/**/b/**/c", "a/x/b/y/b/c", True),
        ("a/**/b/**/c", "a/x/c", False),
        ("[ab].txt", "b.txt", True),
        ("?.txt", "é.txt", True),
        ("[", "[", True),
        ("*.{py,js}", "src/a.js", True),
        ("*.{py,js}", "src/a.{py,js}", False),
        ("{src,test}/{a,b}*.{py,js}", "test/b1.py", True),
        ("{src,{lib,test}}/*.py", "lib/a.py", True),
        ("{src,{lib,test}}/*.py", "doc/a.py", False),
        ("{", "{", True),
        ("a{}", "a", True),
        ("{a,b}" * 40, "{a,b}" * 40, True),
        ("{" * 10_000, "a", False),
        ("/a.py", "a.py", True),
        ("/a.py", "deep/a.py", False),
        ("", "a", False),
        ("/", "a", False),
    ],
)
def test_glob(pattern: str, path: str, matches: bool) -> None:
    assert Glob(pattern).matches(path) is matches


def test_a_glob_with_many_stars_takes_no_time() -> None:
    assert not Glob("**/a/" * 30 + "b").matches("a/" * 300 + "c")


def test_a_record_ends_at_its_cap(tmp_path: Path) -> None:
    one = Record(Place(str(tmp_path), "output"), "1.txt", cap=1 << 20)
    for _ in range(20):
        one.write(b"x" * 100_000)
    one.close()
    text = (tmp_path / one.shown).read_bytes()
    assert text.endswith(b"\n[the file ends here: no more than 976 KiB are kept]\n")
    assert len(text) < (1 << 20) + 100
    assert (tmp_path / ".roommate" / ".gitignore").read_text() == "*\n"


def test_a_record_that_turns_keeps_the_newest(tmp_path: Path) -> None:
    one = Record(Place(str(tmp_path), "jobs"), "1.log", cap=1000, turns=True)
    for number in range(100):
        one.write(b"%0100d\n" % number)
    one.close()
    lines = (tmp_path / ".roommate/jobs/1.log.1").read_text() + (tmp_path / one.shown).read_text()
    assert [int(line) for line in lines.split()][-9:] == list(range(91, 100))
    assert len(lines) < 2100


def test_old_records_go_and_those_in_use_stay(tmp_path: Path) -> None:
    for number in range(KEPT + 20):
        Record(Place(str(tmp_path), "jobs"), f"{number}.log", cap=1000, turns=True, spare={"0.log"}).close()
    names = {path.name for path in (tmp_path / ".roommate/jobs").iterdir()}
    assert len(names) <= KEPT
    assert {"0.log", f"{KEPT + 19}.log"} <= names


def test_large_records_leave_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is printed, and by however many at once: what is kept of it has a limit, and the newest stays."""
    monkeypatch.setattr(output_files, "KEPT_BYTES", 1 << 20)
    place, shown = Place(str(tmp_path), "output"), ""

    def kept() -> int:
        return sum(path.stat().st_size for path in (tmp_path / ".roommate/output").iterdir())

    for number in range(5):
        records = [Record(place, f"{number}-{each}.txt", cap=1 << 30) for each in range(5)]
        for _ in range(20):
            for each in records:
                each.write(b"x" * 50_000)
        assert kept() < (2 << 20) + 1000, "those of before, and those that are written to"
        for each in records:
            each.close()
        shown = records[0].shown
        assert (tmp_path / shown).read_bytes().endswith(b"KiB are kept]\n")
    Record(place, "small.txt", cap=1 << 30).close()
    assert kept() <= 1 << 20
    assert (tmp_path / ".roommate/output/small.txt").exists()


def test_a_record_needs_a_folder_and_a_free_name(tmp_path: Path) -> None:
    Record(Place(str(tmp_path), "jobs"), "1.log", cap=1000, turns=True).close()
    with pytest.raises(FileExistsError):
        Record(Place(str(tmp_path), "jobs"), "1.log", cap=1000, turns=True)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        Record(Place(str(tmp_path / "file"), "jobs"), "1.log", cap=1000, turns=True)
