"""The control socket of a real daemon, and what people with bad intentions, or bad programs, may do to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.control.wire import Wire, call
from tests.harness import ROOMMATE, Daemon
from tests.nursery import Nursery
from tests.patience import PATIENCE

NOBODY = "65534"


@pytest.fixture
def path(bot: Daemon) -> Path:
    return bot.state / "ipc" / "daemon.sock"


def lives(path: Path) -> None:
    """The daemon answers others as if nothing was."""
    with Wire(path) as wire:
        assert wire.ask(call("status"))["result"]["state"] == "ready"


def test_the_socket_is_its_owners_alone(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_requests_as_the_specification_has_them(path: Path) -> None:
    with Wire(path) as wire:
        found = wire.ask(call("status", 7))
        assert (found["jsonrpc"], found["id"]) == ("2.0", 7)
        assert found["result"]["pid"] > 0
        assert wire.ask(call("status") | {"id": "seven"})["id"] == "seven"
        assert wire.ask(call("status") | {"id": None})["result"]["state"] == "ready"
        del (bare := call("status"))["params"]
        assert "result" in wire.ask(bare)

        assert wire.ask(call("no.such"))["error"]["code"] == -32601
        assert wire.ask(call("status", 2, colour="red"))["error"]["code"] == -32602
        assert wire.ask(call("status") | {"params": ["red"]})["error"]["code"] == -32602
        assert wire.ask(call("status") | {"jsonrpc": "1.0"})["error"] == {
            "code": -32600, "message": "this is no request: jsonrpc: input should be '2.0'"}  # fmt: skip
        for strange in (b"", b"{", b"\xff\xfe", b"[" * 100_000, b'"\\ud800'):
            found = wire.ask(strange)
            assert (found["error"]["code"], found["id"]) == (-32700, None), strange
        for strange in (b"1", b"null", b'"status"', b"{}", b"[]", b'{"jsonrpc": "2.0", "id": 1}'):
            assert wire.ask(strange)["error"]["code"] == -32600, strange
        # What cannot be read as an id is answered without one; a notification is not answered at all.
        assert wire.ask(call("status") | {"id": [1]})["id"] is None
        wire.say(call("status", None), call("no.such", None), call("status", None, colour="red"))
        assert wire.ask(call("status", 8))["id"] == 8


def test_batches(path: Path) -> None:
    with Wire(path) as wire:
        answers = wire.ask([call("status", 1), call("status", None), 5, call("no.such", 2), call("no.such", None)])
        assert [("result" in one, one["id"]) for one in answers] == [(True, 1), (False, None), (False, 2)]
        wire.say([call("status", None), call("no.such", None)])  # nothing to answer
        assert wire.ask([])["error"]["code"] == -32600
        assert wire.ask([call("status")] * 101)["error"]["code"] == -32600
        assert wire.ask(call("status", 3))["id"] == 3


def test_a_frame_that_is_too_long_is_refused_before_it_is_there(bot: Daemon, path: Path) -> None:
    before = bot.rss()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(path)) for _ in range(20)]
        for wire in wires:
            wire.socket.sendall((16 << 20).to_bytes(4, "big"))  # as long as may be, and nothing behind it
        for length in ((16 << 20) + 1, (1 << 32) - 1):
            with Wire(path) as wire:
                wire.socket.sendall(length.to_bytes(4, "big") + b"x" * 1000)
                assert wire.hear()["error"]["code"] == -32600
                assert wire.hear() is None, "what comes behind it cannot be understood"
        assert bot.rss() - before < 16 << 20
    lives(path)


def test_a_truncated_frame_and_one_that_comes_in_drops(path: Path) -> None:
    for cut in (1, 4, 20):
        with Wire(path) as wire:
            wire.socket.sendall(((40).to_bytes(4, "big") + b'{"jsonrpc": "2.0", "method": "status"')[:cut])
    with Wire(path) as wire:
        content = b'{"jsonrpc":"2.0","method":"status","id":4}'
        for drop in len(content).to_bytes(4, "big") + content:
            wire.socket.sendall(bytes([drop]))
        assert wire.hear()["id"] == 4
    lives(path)


def test_many_requests_at_once_on_one_connection(path: Path) -> None:
    with Wire(path) as wire:
        wire.say(*(call("status", number) for number in range(200)))
        answers = [wire.hear() for _ in range(200)]
    assert {one["error"]["code"] for one in answers if "error" in one} <= {-32002}
    assert sum("result" in one for one in answers) >= 16


def test_a_thousand_connections(bot: Daemon, path: Path) -> None:
    with contextlib.ExitStack() as stack:
        heard: list[object] = []
        wires = [stack.enter_context(Wire(path)) for _ in range(1000)]
        assert wires[0].ask(call("status"))["result"]["state"] == "ready"
        for wire in wires[900:]:
            with contextlib.suppress(BrokenPipeError):
                heard.append(wire.hear())
        assert all(one and one["error"]["code"] == -32002 for one in heard)  # type: ignore[index]
        assert len(os.listdir(f"/proc/{bot.pid}/fd")) < 300
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError, TypeError, KeyError, BrokenPipeError):
            return lives(path)
        time.sleep(0.05)
    raise AssertionError("nobody gets through any more")


@pytest.fixture
def open_to_all(bot: Daemon, path: Path) -> Iterator[None]:
    """As if somebody had made a mistake with chmod: then the kernel's word on who it is still counts."""
    folders = [bot.folder, bot.state, path.parent]
    for folder in folders:
        folder.chmod(0o755)
    path.chmod(0o666)
    yield
    path.chmod(0o600)
    for folder in folders:
        folder.chmod(0o700)


def test_another_user_is_turned_away(bot: Daemon, path: Path, open_to_all: None) -> None:
    program = Path(__file__).with_name("wire.py").read_text() + (
        f"\nwith Wire(Path({str(path)!r})) as wire:\n    print(wire.hear(), wire.hear())\n"
    )
    python = os.path.realpath(sys.executable)
    command = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", python, "-I", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "user 65534 may not control this daemon" in done.stdout, done.stderr
    assert done.stdout.strip().endswith("None"), "and hung up on"
    assert "user 65534" in bot.log_text()
    found = subprocess.run([ROOMMATE, "audit", "--json"], env=bot.settings, capture_output=True, text=True, check=True)
    assert '"who": "uid 65534"' in found.stdout
    assert '"outcome": "refused"' in found.stdout
    lives(path)


async def test_a_daemon_takes_its_place_and_nobody_elses(tmp_path: Path, nursery: Nursery) -> None:
    daemon = Daemon("http://127.0.0.1:9", "@bot:localhost", "x", {"OPERATORS": "@ann:localhost"}, nursery=nursery)
    path = daemon.state / "ipc" / "daemon.sock"
    try:
        path.parent.mkdir(parents=True, mode=0o700)
        (tmp_path / "elsewhere").write_text("precious")
        path.symlink_to(tmp_path / "elsewhere")
        await daemon.spawn()
        assert await daemon.wait_for_exit() == 75
        [line] = daemon.log_text().splitlines()
        assert "no socket" in line
        path.unlink()

        await daemon.spawn()
        await daemon.wait_for_log("trying again")  # for its homeserver
        with Wire(path) as wire:
            assert wire.ask(call("status"))["result"]["state"] == "starting"
            assert "starting" in wire.ask(call("rooms.list"))["error"]["message"]
        await daemon.kill9()
        assert path.is_socket(), "stale"
        await daemon.spawn()
        await daemon.wait_for_log("trying again")
        with Wire(path) as wire:
            assert wire.ask(call("stop"))["result"] is None
        assert await daemon.wait_for_exit() == 0
        assert not path.exists()
    finally:
        await daemon.discard()


async def test_a_parked_connection_is_cut(path: Path, bot: Daemon) -> None:
    """One that says nothing, and one that says a little now and then."""
    from roommate.control.connection import PARKED_SECONDS

    with Wire(path) as silent, Wire(path) as slow:
        for wire in (silent, slow):
            wire.socket.settimeout(PARKED_SECONDS + 10)
        began = time.monotonic()
        slow.socket.sendall(b"\0\0")
        await asyncio.sleep(PARKED_SECONDS / 2)
        slow.socket.sendall(b"\0")
        assert await asyncio.to_thread(silent.hear) is None
        assert await asyncio.to_thread(slow.hear) is None
        assert time.monotonic() - began >= PARKED_SECONDS - 1
