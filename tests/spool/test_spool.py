"""IPC files are read once and in order, whatever a hostile container puts beside them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.idle import wake_ups
from roommate.domain import HookEvent, HookKind, RoomId
from roommate.errors import StateError
from roommate.features.hooks.agent_action_card import WHOLE
from roommate.features.hooks.file_names import is_claimed, is_waiting, kind_of
from roommate.features.hooks.folder_reader import MOST_ANSWERS, MOST_BYTES, MOST_WAITING, Folder
from roommate.features.hooks.parse import Unfit, parse
from roommate.features.hooks.watcher import BURST, Spool
from roommate.store import Database, Ipc
from roommate.store.hook_reports import KEPT, Heard
from tests.patience import PATIENCE, until

ONE, OTHER = RoomId("!one:x"), RoomId("!other:x")
PROGRESS = HookKind.PROGRESS


class Rooms:
    """Two rooms' folders, and what came of them."""

    def __init__(self, place: Path) -> None:
        self.spool = Spool()
        self.heard: list[tuple[RoomId, HookEvent]] = []
        self.names: list[str] = []
        self.refuse = 0
        self._place = place
        self._count = 0
        for room in (ONE, OTHER):
            self.out(room).mkdir(parents=True)
            self.into(room).mkdir()
            self.attach(room)

    def out(self, room: RoomId) -> Path:
        return self._place / room.strip("!").replace(":", "-") / "out"

    def into(self, room: RoomId) -> Path:
        return self.out(room).with_name("in")

    def attach(self, room: RoomId) -> None:
        self.spool.attach(room, self.out(room), self.into(room))

    def put(self, room: RoomId, kind: str = PROGRESS, **fields: object) -> Path:
        """As a hook does it."""
        self._count += 1
        name = f"{time.time_ns():020d}-{self._count}-{kind}-abc123.json"
        fresh = self.out(room) / f".{name}"
        fresh.write_text(json.dumps(fields))
        return fresh.rename(self.out(room) / name)

    async def commit(self, room: RoomId, found: Sequence[tuple[str, HookEvent]]) -> None:
        if self.refuse:
            self.refuse -= 1
            raise StateError("the disk is full")
        for name, event in found:
            self.names.append(name)
            self.heard.append((room, event))

    def texts(self, room: RoomId) -> list[str]:
        return [event.text for heard, event in self.heard if heard == room]


@pytest.fixture
async def rooms(tmp_path: Path) -> AsyncIterator[Rooms]:
    rooms = Rooms(tmp_path)
    running = asyncio.create_task(rooms.spool.run(rooms.commit))
    yield rooms
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _more_than(rooms: Rooms, count: int) -> Callable[[], bool]:
    return lambda: len(rooms.heard) > count


def _told(rooms: Rooms, room: RoomId, text: str) -> Callable[[], bool]:
    return lambda: text in rooms.texts(room)


async def test_files_are_events_of_their_folders_room_in_the_order_of_names(rooms: Rooms) -> None:
    rooms.put(ONE, text="before anybody looked", room_id="!other:x", agent="gemini")
    await until(lambda: rooms.heard)
    for number in range(300):
        rooms.put(ONE, text=str(number))
    rooms.put(OTHER, "event-result", text="done", ok=True, seconds=2, exit_code=0, tool="t", summary="s", session="x")
    await until(lambda: len(rooms.heard) == 302)
    assert rooms.texts(ONE) == ["before anybody looked", *map(str, range(300))]
    assert [event for room, event in rooms.heard if room == OTHER] == [
        HookEvent(HookKind.RESULT, "", "x", "t", "s", True, 2.0, 0, "done", "")
    ]
    await until(lambda: not os.listdir(rooms.out(ONE)) and not os.listdir(rooms.out(OTHER)))


async def test_names_of_others_are_taken_as_often_as_they_are_written(rooms: Rooms) -> None:
    for kind in ("event-progress", "event-result", "notification"):
        for number in range(3):
            count = len(rooms.heard)
            (rooms.out(ONE) / f"{kind}.json").write_text(json.dumps({"message": f"{kind} {number}"}))
            await until(_more_than(rooms, count))
    assert len(rooms.texts(ONE)) == len(set(rooms.texts(ONE))) == 9
    assert len(set(rooms.names)) == 9
    (rooms.out(ONE) / "hook-errors.log").write_text("oh no")
    rooms.put(ONE, text="later")
    await until(lambda: "later" in rooms.texts(ONE))
    await until(lambda: os.listdir(rooms.out(ONE)) == ["hook-errors.log"])


async def test_a_seed_that_is_written_in_place_is_not_read_in_halves(rooms: Rooms) -> None:
    with (rooms.out(ONE) / "event-result.json").open("w") as file:
        file.write('{"text": ')
        file.flush()
        await asyncio.sleep(0.2)
        file.write('"whole"}')
    await until(lambda: rooms.texts(ONE) == ["whole"])


async def test_hostile_files_are_set_aside_and_good_ones_read(
    rooms: Rooms, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"text": "of the host"}')
    out = rooms.out(ONE)
    name = iter(f"{number:020d}-1-event-progress-bad.json" for number in range(100))
    (out / next(name)).symlink_to(secret)
    (out / next(name)).symlink_to("/dev/zero")
    os.mkfifo(out / next(name))
    here = Path.cwd()
    os.chdir(out)  # a socket's path may be short only
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(next(name))
    os.chdir(here)
    (out / next(name)).mkdir()
    with (out / next(name)).open("wb") as sparse:
        sparse.truncate(1 << 30)
    (out / next(name)).write_bytes(b"[" * MOST_BYTES)
    (out / next(name)).write_bytes(b'{"text":' * 5000 + b"1" + b"}" * 5000)
    (out / next(name)).write_bytes(b"\xff\xfe\x00")
    (out / next(name)).write_bytes(b"")
    (out / next(name)).write_text('{"text": 7}')
    (out / next(name)).write_text('{"seconds": NaN}')
    (out / next(name)).write_text('{"exit_code": ' + "9" * 5000 + "}")
    (out / "0-1-approval\nrequest.json").write_text("{}")
    (out / os.fsdecode(b"\xff.json")).write_text("{}")
    (out / "event-result.json").symlink_to(secret)
    rooms.put(ONE, "approval-request", text="without an id")
    rooms.put(ONE, "approval-request", asks="../../etc/passwd")
    rooms.put(ONE, "approval-request", asks="a1", text="push")
    rooms.put(ONE, "approval-request", asks="a2", command="make deploy", text="deploy\npush")
    rooms.put(ONE, text="good", unknown={"deep": [1, {"er": 2}]})
    await until(lambda: rooms.texts(ONE))
    assert rooms.texts(ONE) == ["good"]
    await until(lambda: all(name.startswith(".bad-") for name in os.listdir(out)))
    assert secret.exists()
    aside = [record for record in caplog.records if "set aside" in record.message]
    assert len(aside) == 20, [record.message for record in aside]
    assert all("\n" not in record.message for record in aside)


@pytest.mark.parametrize("kind", ["", " ", "x" * 41, "a: b", "push\ninstall", "a\x85b", "a\u2028b", " push", "push "])
def test_a_kind_of_risk_is_one_line_of_the_list_that_allows_it(kind: str) -> None:
    with pytest.raises(Unfit, match="kind of risk"):
        parse(HookKind.APPROVAL, json.dumps({"asks": "a1", "command": "x", "text": kind}).encode())


async def test_what_is_asked_about_comes_whole_or_is_seen_not_to(rooms: Rooms) -> None:
    rooms.put(ONE, "approval-request", asks="a1", text="push", command="git \\\n push", summary="git push")
    rooms.put(ONE, "approval-request", asks="a2", text="push", summary="git push")
    rooms.put(ONE, "approval-request", asks="a3", text="push", command="x" * 9000)
    await until(lambda: len(rooms.heard) == 3)
    assert [event.command for _, event in rooms.heard] == ["git \\\n push", "git push", "x" * (WHOLE + 1)]


async def test_answers_do_not_pile_up(rooms: Rooms) -> None:
    for number in range(MOST_ANSWERS + 150):
        await rooms.spool.answer(ONE, f"a{number}", {"allow": False})
    left = {path.stem for path in rooms.into(ONE).glob("*.json")}
    assert len(left) <= MOST_ANSWERS * 1.1
    assert f"a{MOST_ANSWERS + 149}" in left and "a0" not in left


async def test_a_flood_is_bounded_and_does_not_hold_up_another_room(
    rooms: Rooms, caplog: pytest.LogCaptureFixture
) -> None:
    rooms.spool.detach(ONE)
    for number in range(20_000):
        (rooms.out(ONE) / f"{number:020d}-1-event-progress-x.json").write_text('{"text": "flood"}')
    rooms.attach(ONE)
    waits = []
    for number in range(20):
        began = time.monotonic()
        rooms.put(OTHER, text=f"fine {number}")
        await until(_told(rooms, OTHER, f"fine {number}"))
        waits.append(time.monotonic() - began)
    assert sorted(waits)[len(waits) // 2] < 2, waits
    await until(lambda: len(rooms.texts(ONE)) >= BURST)
    unread = [re.search(r"(\d+) hook files are deleted unread", record.message) for record in caplog.records]
    deleted = sum(int(found[1]) for found in unread if found)
    # What the look that was under way as it was let go has read is not among them.
    assert deleted in range(20_000 - MOST_WAITING - 400, 20_000 - MOST_WAITING + 1)
    assert len(rooms.texts(ONE)) <= BURST + 400, "the rest waits"


async def test_a_file_that_is_replaced_while_it_is_read(rooms: Rooms) -> None:
    target = rooms.out(ONE) / f"{1:020d}-1-event-progress-x.json"

    def replace() -> None:
        for number in range(500):
            with contextlib.suppress(OSError):
                fresh = rooms.out(ONE) / ".fresh"
                if number % 3 == 0:
                    fresh.symlink_to("/etc/hostname")
                elif number % 3 == 1:
                    os.mkfifo(fresh)
                else:
                    fresh.write_text('{"text": "mine"}')
                fresh.rename(target)

    await asyncio.to_thread(replace)
    rooms.put(ONE, text="after")
    await until(lambda: "after" in rooms.texts(ONE))
    assert set(rooms.texts(ONE)) <= {"mine", "after"}


async def test_what_could_not_be_kept_stays_and_is_read_later(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roommate.features.hooks.watcher._RETRY_SECONDS", 0.1)
    rooms.refuse = 2
    rooms.put(ONE, text="one")
    await until(lambda: rooms.texts(ONE) == ["one"])
    await until(lambda: not os.listdir(rooms.out(ONE)))


async def test_an_answer_is_put_where_the_hook_looks(rooms: Rooms) -> None:
    await rooms.spool.answer(ONE, "abc", {"allow": True}, allow="push")
    await rooms.spool.answer(ONE, "def", {"allow": True}, allow="push")
    assert json.loads((rooms.into(ONE) / "abc.json").read_text()) == {"allow": True}
    assert (rooms.into(ONE) / "allowed").read_text() == "push\n"
    assert os.listdir(rooms.into(OTHER)) == []
    await rooms.spool.answer(RoomId("!gone:x"), "abc", {})


async def test_a_folder_that_is_made_anew_is_watched(rooms: Rooms) -> None:
    rooms.put(ONE, text="one")
    await until(lambda: rooms.texts(ONE) == ["one"])
    rooms.spool.detach(ONE)
    await until(lambda: not os.listdir(rooms.out(ONE)))
    rooms.out(ONE).rmdir()
    rooms.out(ONE).mkdir()
    rooms.attach(ONE)
    await asyncio.sleep(0.05)
    rooms.put(ONE, text="two")
    await until(lambda: rooms.texts(ONE) == ["one", "two"])


async def test_what_the_kernel_could_not_tell_is_found(rooms: Rooms) -> None:
    await until(lambda: not rooms.spool._dirty)
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    names = [rooms.out(OTHER) / ".a", rooms.out(OTHER) / ".b"]
    names[0].touch()
    for number in range(most):  # the event loop does not run meanwhile, and the kernel keeps no more
        names[number % 2].rename(names[(number + 1) % 2])
    rooms.put(ONE, text="beyond the end of the queue")
    await until(_told(rooms, ONE, "beyond the end of the queue"))


async def test_a_flood_of_what_is_no_ipc_file_is_not_listened_to(rooms: Rooms) -> None:
    rooms.put(ONE, text="before")
    await until(_told(rooms, ONE, "before"))
    files = [rooms.out(ONE) / name for name in (".flood", ".too")]  # two, or the kernel tells of both as one
    for file in files:
        file.touch()

    def flood(count: int) -> int:
        """So often a name of no meaning comes, as quickly as that can be."""
        for number in range(count):
            os.close(os.open(files[number % 2], os.O_WRONLY))
        return count

    came = 0
    flooding = asyncio.create_task(asyncio.to_thread(flood, 20_000))
    heard = rooms.spool._came

    def counted(watch: int, name: bytes) -> None:
        nonlocal came
        came += 1
        heard(watch, name)

    assert rooms.spool._inotify is not None
    rooms.spool._inotify._came = counted
    rooms.put(OTHER, text="meanwhile")
    await until(_told(rooms, OTHER, "meanwhile"))
    assert came < await flooding, "most of it is not heard"
    rooms.put(ONE, text="after")
    await until(_told(rooms, ONE, "after"))


@pytest.mark.parametrize("name", [b"\xff\xfe.json", b"\xed\xa0\x80", b" \n", b"-" * 255])
async def test_names_that_are_no_text_do_not_deafen_the_watcher(rooms: Rooms, name: bytes) -> None:
    rooms.put(ONE, text="before")
    await until(_told(rooms, ONE, "before"))
    Path(os.fsdecode(os.fsencode(rooms.out(ONE)) + b"/" + name)).write_text("{}")
    rooms.put(ONE, text="after")
    await until(_told(rooms, ONE, "after"))


_UNWATCHED = """
import asyncio, sys
from pathlib import Path
from roommate.features.hooks.watcher import Spool

async def main():
    spool, heard = Spool(), asyncio.Queue()
    async def commit(room, found):
        for _, event in found:
            heard.put_nowait(event.text)
    spool.attach("!one:x", Path(sys.argv[1]), Path(sys.argv[1]))
    running = asyncio.create_task(spool.run(commit))
    for _ in range(2):
        print(await heard.get(), flush=True)
    running.cancel()

asyncio.run(main())
"""


async def test_where_the_host_has_no_watch_left_folders_are_looked_into(tmp_path: Path) -> None:
    (tmp_path / f"{1:020d}-1-notification-x.json").write_text('{"text": "one"}')
    program = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    command = ["unshare", "-Ur", "sh", "-c", program, "sh", sys.executable, "-c", _UNWATCHED, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        assert await process.stdout.readline() == b"one\n"
        (tmp_path / ".two").write_text('{"text": "two"}')
        (tmp_path / ".two").rename(tmp_path / f"{2:020d}-1-notification-x.json")  # never seen in halves
        assert await process.stdout.readline() == b"two\n"
        _, errors = await process.communicate()
    assert b"looking every second" in errors and errors.count(b"\n") == 1


async def test_an_idle_watcher_is_not_woken(rooms: Rooms) -> None:
    rooms.put(ONE, text="one")
    await until(_told(rooms, ONE, "one"))
    await asyncio.sleep(0.5)
    before = wake_ups(os.getpid())
    await asyncio.sleep(2)
    assert wake_ups(os.getpid()) - before < 100, "a look every few milliseconds would be hundreds"


async def test_a_crash_before_the_file_is_deleted_doubles_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    name = f"{1:020d}-1-notification-x.json"
    (out / name).write_text('{"text": "once"}')
    database = Database.open(tmp_path / "state")
    ipc = Ipc(database)
    taken = Folder(ONE, out, out).take(10)
    await ipc.commit(ONE, taken.found)
    assert (out / name).exists()  # … and here it crashed
    again = Folder(ONE, out, out).take(10)
    await ipc.commit(ONE, again.found)
    [heard] = await ipc.waiting(ONE)
    assert heard.event.text == "once"
    await ipc.shown([heard.id])
    await ipc.commit(ONE, again.found)
    assert await ipc.waiting(ONE) == []
    await database.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
fields = ("agent", "session", "tool", "summary", "ok", "seconds", "exit_code", "text", "asks", "title", "message")


@given(st.sampled_from(HookKind), st.dictionaries(st.sampled_from(fields), json_values) | json_values)
def test_any_json_is_an_event_or_unfit(kind: HookKind, value: object) -> None:
    content = json.dumps(value).encode()
    try:
        event = parse(kind, content)
    except Unfit as why:
        assert "\n" not in str(why)
    else:
        for text in (event.agent, event.session, event.tool, event.summary, event.text):
            text.encode()
            assert "\x00" not in text


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_unfit(content: bytes) -> None:
    with contextlib.suppress(Unfit):
        parse(HookKind.PROGRESS, content)


@given(st.text())
def test_names_are_ours_or_not(name: str) -> None:
    assert kind_of(name) is None


async def test_what_nobody_can_be_shown_in_time_does_not_pile_up(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "state")
    ipc = Ipc(database)
    for begin in range(0, 2000, 64):
        events = [(f"{number}", HookEvent(PROGRESS, text=f"{number}")) for number in range(begin, begin + 64)]
        await ipc.commit(ONE, events)
    await ipc.commit(OTHER, [("1", HookEvent(PROGRESS, text="of another room"))])
    kept: list[Heard] = []
    while waiting := await ipc.waiting(ONE):
        await ipc.shown([heard.id for heard in waiting])
        kept += waiting
    assert KEPT <= len(kept) <= KEPT + 1
    assert kept[-1].event.text == "2047", "the newest are kept"
    assert [heard.event.text for heard in await ipc.waiting(OTHER)] == ["of another room"]
    await database.close()


names = st.one_of(
    st.builds(
        lambda at, kind: f"{at:020d}-1-{kind}-abc.json".encode(), st.integers(0, 9999), st.sampled_from(HookKind)
    ),
    st.sampled_from(
        [b"event-result.json", b"notification.json", b"hook-errors.log", b"x.tmp", b".bad-1", b"-", b"\xff"]
    ),
    st.binary(min_size=1, max_size=60).filter(lambda name: not {0, 47} & set(name) and name not in (b".", b"..")),
)
contents = st.one_of(
    st.binary(max_size=100),
    st.sampled_from([b"", b"[" * 5000, b"{" * 5000, b"[]," * 20_000, b'{"text":"' + b"x" * MOST_BYTES, b"9" * 5000]),
    st.just(json.dumps({"text": "good", "asks": "1", "command": "ls"}).encode()),
)
makers = st.sampled_from(["file", "file", "file", "folder", "fifo", "link", "socket", "closed", "sparse"])


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, st.tuples(makers, contents), max_size=8))
def test_whatever_a_room_leaves_there_is_dealt_with(left: dict[bytes, tuple[str, bytes]]) -> None:
    """Everything that is to be looked at goes away, or is set aside; what is good is told, once and in order."""
    with tempfile.TemporaryDirectory(prefix="sp-") as place:
        out = Path(place) / "out"
        out.mkdir()
        (Path(place) / "secret").write_text(json.dumps({"text": "a file of the host"}))
        for name, (how, content) in left.items():
            leave(os.fsencode(out) + b"/" + name, how, content)
        folder = Folder(ONE, out, Path(place))
        told: list[tuple[str, HookEvent]] = []
        for _ in range(20):
            taken = folder.take(64)
            told += taken.found
            folder.remove([name for name, _ in taken.found])
            if not taken.more:
                break
        assert not taken.more
        assert [name for name, _ in told] == sorted(name for name, _ in told)
        assert not [event for _, event in told if "of the host" in event.text]
        waits = [name for name in os.listdir(out) if is_waiting(name)]
        assert all(is_claimed(name) for name in waits), "a seed may be written still"
        good = {name for name, (how, content) in left.items() if how == "file" and kind_of(os.fsdecode(name))
                and b"good" in content and kind_of(os.fsdecode(name)) is not HookKind.APPROVAL}  # fmt: skip
        assert good <= {os.fsencode(name) for name, _ in told}


def leave(path: bytes, how: str, content: bytes) -> None:
    match how:
        case "folder":
            os.mkdir(path)
        case "fifo":
            os.mkfifo(path)
        case "link":
            os.symlink("../secret", path)
        case "socket":
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as listening:  # a name that is too long
                listening.bind(path)
        case _:
            with open(path, "wb") as file:
                file.write(content)
                if how == "sparse":
                    file.truncate(1 << 40)
            os.chmod(path, 0 if how == "closed" else 0o600)


async def test_hooks_of_others_in_the_workspace_whatever_that_folder_is(
    rooms: Rooms, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roommate.features.hooks.watcher._ABSENT_SECONDS", 0.02)
    beside, elsewhere = tmp_path / ".ipc", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "event-result.json").write_text('{"text": "of the host"}')
    beside.symlink_to(elsewhere)
    rooms.spool.attach(ONE, rooms.out(ONE), rooms.into(ONE), beside)
    rooms.put(ONE, text="the spool goes on")
    await until(_told(rooms, ONE, "the spool goes on"))
    beside.unlink()
    os.mkfifo(beside)
    rooms.put(ONE, text="and on")
    await until(_told(rooms, ONE, "and on"))
    beside.unlink()
    beside.mkdir()
    (beside / "README.md").write_text("of the room")
    (beside / "event-progress.json").symlink_to("/etc/hostname")
    (beside / "event-result.json").write_text('{"text": "hello from there"}')
    await until(_told(rooms, ONE, "hello from there"))
    fresh = beside / ".notification"
    fresh.write_text('{"text": "and once more"}')
    fresh.rename(beside / "notification.json")
    await until(_told(rooms, ONE, "and once more"))
    await until(lambda: {one.name for one in beside.iterdir() if not one.name.startswith(".bad-")} == {"README.md"})
    assert (elsewhere / "event-result.json").exists()
    assert "of the host" not in rooms.texts(ONE)
    assert sum("trying again" in record.message for record in caplog.records) == 0
    shutil.rmtree(beside)
    beside.mkdir()
    (beside / "event-result.json").write_text('{"text": "made anew"}')
    await until(_told(rooms, ONE, "made anew"))
