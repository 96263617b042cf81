"""What is read of a push: commits of packs that git made and of packs that want to hurt, history, commands."""

from __future__ import annotations

import hashlib
import mmap
import subprocess
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.features.github import git_pack, git_wire
from roommate.features.github.git_pack import BadPack, Limits, commits
from roommate.features.github.git_wire import FLUSH, NOTHING, BadPush, Commands, Update, commands, judgeable, pkt
from roommate.features.github.push_rules import edges, is_protected

COMMIT, BLOB, OFS_DELTA, REF_DELTA = 1, 3, 6, 7
TEXT = b"tree %b\nauthor a <a> 0 +0000\ncommitter a <a> 0 +0000\n\nx" % (b"0" * 40)


@contextmanager
def mapped(content: bytes) -> Iterator[mmap.mmap]:
    with mmap.mmap(-1, len(content)) as pack:
        pack.write(content)
        yield pack


def read(content: bytes, limits: Limits | None = None) -> dict[str, tuple[str, ...]]:
    with mapped(content) as pack:
        return dict(commits(pack, 0, limits or Limits()))


def item(kind: int, content: bytes, size: int | None = None, base: bytes = b"") -> bytes:
    """An object of a pack; `size` is what it says of itself."""
    size = len(content) if size is None else size
    byte, size, head = kind << 4 | size & 15, size >> 4, bytearray()
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    return bytes(head) + bytes([byte]) + base + zlib.compress(content)


def pack_of(*items: bytes, count: int | None = None) -> bytes:
    body = b"PACK" + (2).to_bytes(4, "big") + (len(items) if count is None else count).to_bytes(4, "big")
    body += b"".join(items)
    return body + hashlib.sha1(body).digest()


# ── Packs that git made ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("option", [["--delta-base-offset"], []], ids=["by offset", "by name"])
def test_the_commits_of_a_pack(tmp_path: Path, option: Sequence[str]) -> None:
    """Long messages that are nearly the same, so that git writes commits as deltas of others."""

    def git(*words: str, given: bytes = b"") -> bytes:
        return subprocess.run(["git", *words], cwd=tmp_path, input=given, capture_output=True, check=True).stdout

    git("init", "--quiet")
    stream = bytearray()
    for number in range(1, 200):
        message = f"{number}\n" + "".join(f"a line of text, number {line}\n" for line in range(60))
        stream += b"commit refs/heads/b%d\nmark :%d\ncommitter a <a> %d +0000\n" % (number % 3, number, number)
        stream += b"data %d\n%b" % (len(message), message.encode())
        stream += b"".join(b"%b :%d\n" % (word, number - back)
                           for word, back in ((b"from", 1), (b"merge", 7)) if number > back)  # fmt: skip
        stream += b"M 100644 inline file\ndata 2\n%d\n" % (number % 10)
    git("fast-import", "--quiet", given=bytes(stream))
    made = git("pack-objects", "--revs", "--all", "--stdout", "--depth=50", "-q", "--no-reuse-delta", *option)
    (tmp_path / "x.pack").write_bytes(made)
    git("index-pack", "x.pack")
    told = git("verify-pack", "-v", "x.idx").decode().splitlines()
    assert len([line for line in told if " commit " in line and len(line.split()) == 7]) > 50, "there are deltas"
    known = dict(
        line.split(maxsplit=1) for line in git("rev-list", "--parents", "--all").decode().splitlines() if " " in line
    )
    found = read(made)
    assert {name: list(parents) for name, parents in found.items() if parents} == {
        name: parents.split() for name, parents in known.items()
    }
    assert len(found) == 199


def test_what_is_looked_for_ends_the_reading() -> None:
    """What stands behind the commits is not read: here it is none."""
    name = hashlib.sha1(b"commit %d\0" % len(TEXT) + TEXT).hexdigest()
    with mapped(pack_of(item(COMMIT, TEXT), b"garbage" * 100)) as pack:
        found = commits(pack, 0)
        assert next(found) == (name, ())
        with pytest.raises(BadPack):
            next(found)


# ── Packs that want to hurt ──────────────────────────────────────────────────────────────────────


FIRST = item(COMMIT, TEXT)
ZEROS = item(BLOB, bytes(64 << 20), size=4)
HOSTILE = {
    "nothing": b"",
    "no pack": b"x" * 100,
    "a head alone": pack_of(count=1)[:12],
    "fewer than it says": pack_of(item(COMMIT, TEXT), count=2),
    "a huge count": pack_of(item(COMMIT, TEXT), count=0xFFFFFFFF),
    "a bomb": pack_of(ZEROS),
    "a small limit": pack_of(*[item(BLOB, bytes(1 << 20))] * 100),
    "shorter than it says": pack_of(item(BLOB, b"abc", size=100)),
    "no zlib": pack_of(bytes([BLOB << 4 | 4]) + b"\xff" * 50),
    "an endless size": pack_of(b"\xff" * 50),
    "an endless offset": pack_of(bytes([OFS_DELTA << 4 | 4]) + b"\xff" * 50),
    "a commit that is none": pack_of(item(COMMIT, b"parent " + b"1" * 40)),
    "too many commits": pack_of(*[item(COMMIT, TEXT + b"x" * 100_000)] * 30),
    "a delta of another": pack_of(FIRST, item(OFS_DELTA, b"\x01\x01\x01", base=bytes([len(FIRST)]))),
    "a delta that ends": pack_of(FIRST, item(OFS_DELTA, bytes([len(TEXT), 50, 0xFF]), base=bytes([len(FIRST)]))),
    "a delta that grows": pack_of(
        FIRST, item(OFS_DELTA, bytes([len(TEXT), 50]) + bytes([0x90, 60]) * 99_999, base=bytes([len(FIRST)]))
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pack(name: str) -> None:
    with pytest.raises(BadPack):
        read(HOSTILE[name] or b"x", Limits(inflated_bytes=50 << 20, kept_bytes=2 << 20))


def test_a_bomb_is_not_kept() -> None:
    """Each of these says its true size, and is skipped: a hundred times 64 MiB in bounded memory."""
    began = time.monotonic()
    with pytest.raises(BadPack, match="too much in all"):
        read(pack_of(*[item(BLOB, bytes(64 << 20))] * 10), Limits(inflated_bytes=256 << 20))
    with pytest.raises(BadPack, match="too long"):
        read(pack_of(*[item(BLOB, b"x")] * 1000), Limits(seconds=0))
    assert read(pack_of(item(COMMIT, TEXT + bytes(2 << 20)))) == {}, "one that is too long proves nothing"
    huge = bytes([len(TEXT), 0x80, 0x80, 0x80, 0x80, 0x10])  # says that it makes 4 GiB
    assert len(read(pack_of(FIRST, item(OFS_DELTA, huge, base=bytes([len(FIRST)]))))) == 1
    assert time.monotonic() - began < 60


@given(st.binary(max_size=300))
def test_a_delta_of_anything_ends(delta: bytes) -> None:
    with suppress(BadPack):
        assert len(git_pack.applied(TEXT, delta, 1000)) <= 1000


@given(st.binary(max_size=300), st.integers(1, 5))
def test_a_pack_of_anything_ends(content: bytes, count: int) -> None:
    with suppress(BadPack):
        read(pack_of(content, count=count))


# ── History ──────────────────────────────────────────────────────────────────────────────────────


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[str, tuple[str, ...]]]:
    """Commits, each after its parents."""
    made: list[tuple[str, tuple[str, ...]]] = []
    for number in range(draw(st.integers(1, 15))):
        parents = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set[int]()
        made.append((str(number), tuple(str(parent) for parent in sorted(parents))))
    return made


@given(histories(), st.data())
def test_a_proof_is_true_and_what_is_in_the_pack_is_proved(
    history: list[tuple[str, tuple[str, ...]]], data: st.DataObject
) -> None:
    names = [name for name, _ in history]
    pushed = data.draw(st.lists(st.sampled_from(history), unique=True))  # in any order, and with gaps
    asked = data.draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), min_size=1, max_size=3))
    within, known = dict(history), dict(pushed)

    def reached(start: str, parents: dict[str, tuple[str, ...]]) -> set[str]:
        found, todo = {start}, [start]
        while todo:
            for parent in set(parents.get(todo.pop(), ())) - found:
                found.add(parent)
                todo.append(parent)
        return found

    for (old, new), edge in zip(asked, edges(asked, pushed), strict=True):
        assert (edge is None) == (old in reached(new, known))
        if edge is not None:
            assert edge == reached(new, known) - known.keys()
            assert (old in reached(new, within)) == any(old in reached(commit, within) for commit in edge)


def test_a_cycle_ends() -> None:
    assert edges([("x", "a")], [("a", ("b",)), ("b", ("a", "c"))]) == [frozenset({"c"})]


@pytest.mark.parametrize(
    ("branch", "protected"),
    [("main", True), ("Main", True), ("trunk", True), ("release/1", True), ("release/1/x", True), ("Release/1", True),
     ("main2", False), ("release", False), ("feature/main", False)],
)  # fmt: skip
def test_protected_branches(branch: str, protected: bool) -> None:
    assert is_protected(branch, ("main", "release/*"), "trunk") == protected


# ── What git says ────────────────────────────────────────────────────────────────────────────────


ids = st.text("0123456789abcdef", min_size=40, max_size=40)
refs = st.from_regex(r"refs/(heads|tags)/[a-z0-9]{1,8}(/[a-zé]{1,8})?", fullmatch=True)


@given(
    st.lists(st.builds(Update, ids, ids, refs), unique_by=lambda update: update.ref, min_size=1, max_size=5),
    st.lists(ids, max_size=3),
    st.binary(max_size=50),
)
def test_commands_are_read_as_they_are_written(updates: list[Update], shallow: list[str], pack: bytes) -> None:
    written = Commands(tuple(updates), tuple(shallow), frozenset({"report-status", "atomic"}), 0).encoded()
    found = commands(written + pack)
    assert (found.updates, found.shallow, found.size) == (tuple(updates), tuple(shallow), len(written))
    assert found.encoded() == written
    with pytest.raises(BadPush):
        commands(written[:-1])


@given(st.binary(max_size=400))
def test_commands_of_anything_are_read_or_refused(body: bytes) -> None:
    for said in (body, pkt(body[:200]) + FLUSH):
        with suppress(BadPush):
            commands(said)


def test_capabilities_that_are_not_understood_are_dropped() -> None:
    said = "report-status push-options push-cert=x quiet agent=git/2 agent=x\0push-options session-id=1"
    found = commands(pkt(f"{NOTHING} {'1' * 40} refs/heads/x\0{said}") + FLUSH)
    assert found.capabilities == {"report-status", "quiet", "agent=git/2"}


def test_a_ref_is_named_once() -> None:
    twice = [pkt(f"{NOTHING} {'1' * 40} refs/heads/x\0"), pkt(f"{NOTHING} {'2' * 40} refs/heads/x")]
    with pytest.raises(BadPush, match="twice"):
        commands(b"".join(twice) + FLUSH)


def test_what_cannot_be_judged_is_not_offered() -> None:
    first = (
        f"{'1' * 40} refs/heads/main\0report-status push-options push-cert=x ofs-delta object-format=sha1 agent=git/2\n"
    )
    rest = pkt(f"{'2' * 40} refs/heads/two\n") + FLUSH
    said = pkt("# service=git-receive-pack\n") + FLUSH + pkt(first) + rest
    made = judgeable(said)
    assert made is not None
    assert b"\0report-status ofs-delta object-format=sha1 agent=git/2 no-thin\n" in made
    assert made.endswith(rest)
    assert [judgeable(said[:size]) for size in range(len(said) - len(rest))] == [None] * (len(said) - len(rest))
    with pytest.raises(BadPush):
        judgeable(pkt("ERR no\n"))


def test_a_report_says_why_beside_each_ref() -> None:
    updates = (Update(NOTHING, "1" * 40, "refs/heads/a"), Update(NOTHING, "1" * 40, "refs/heads/b"))
    pushed = Commands(updates, (), frozenset({"report-status"}), 0)
    assert git_wire.report(pushed, {"refs/heads/a": "why"}) == b"".join(
        [
            pkt("unpack ok\n"),
            pkt("ng refs/heads/a why\n"),
            pkt("ng refs/heads/b refused together with the others\n"),
            FLUSH,
        ]
    )
