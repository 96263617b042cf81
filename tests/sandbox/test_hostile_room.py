"""What is in a room is not to be trusted: neither its files nor who speaks to the daemon from there."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from roommate.domain import JsonObject, RoomId
from roommate.errors import HandLost, ToolError
from roommate.maintenance import backup
from roommate.sandbox.inside.frames import HELLO, VERSION, frame
from roommate.sandbox.room_containers import RoomSandboxes
from roommate.sandbox.workspace import Workspace
from tests.e2e.noise import program
from tests.patience import PATIENCE, until
from tests.sandbox.conftest import ROOM, SMALL, Make, sh

IMPOSTOR = """
import socket, struct
{prepare}
for _ in range({times}):
    line = socket.socket(socket.AF_UNIX)
    line.connect("/run/room/hand.sock")
    try:
        line.send({greeting})
        line.settimeout(0.2)
        line.recv(1 << 16)
    except OSError:
        pass
    line.close()
"""


async def test_a_link_in_place_of_the_hand_s_folders_leads_nowhere(make: Make) -> None:
    """Else what the hand keeps would go to, and its tidying delete, what is somebody else's."""
    hand = await make().hand(ROOM)
    await hand.run("mkdir mine .roommate && cd mine && touch $(seq 200)")
    for folder in (".roommate/output", "~/.roommate/jobs", "~/.roommate/job-notes", "~/.roommate"):
        for target in ("/nowhere", "/workspace/mine"):
            await hand.run(f"rm -rf {folder}; mkdir -p ~/.roommate; rm -d {folder}; ln -s {target} {folder}")
            async with asyncio.timeout(PATIENCE):
                job = await hand.start_job("echo job")
                ended = await hand.run("seq 1000", spill_after=10)
            assert ended.spilled
            assert (await hand.read(ended.spilled)).size > 3000
            assert (await hand.read(job.log, limit=0)).size >= 0
    assert (await sh(hand, "ls mine | wc -l")).text == "200\n"
    await hand.run("rm -rf .roommate ~/.roommate; touch .roommate ~/.roommate")
    with pytest.raises(
        ToolError, match=r"\.roommate/jobs, where its output would go: a part of this path is not a folder"
    ):
        await hand.start_job("echo job")
    assert (await hand.run("seq 1000", spill_after=10)).spilled is None


async def test_every_file_is_used_up(make: Make) -> None:
    hand = await make().hand(ROOM)
    full = await sh(hand, "mkdir many && cd many && python3 -c 'for n in range(10**6): open(str(n), \"w\").close()'")
    assert "No space left on device" in full.text
    with pytest.raises(ToolError, match="the disk is full"):
        await hand.write("/workspace/one-more", b"x")
    entries, total = await hand.list("many", limit=10)
    assert len(entries) == 10
    assert total > 10_000
    assert (await sh(hand, "rm -rf many && echo recovered > file && cat file")).text == "recovered\n"


async def test_a_file_may_become_anything_while_it_is_read(make: Make) -> None:
    hand = await make().hand(ROOM)
    turns = ("echo text > f", "mkfifo f", "ln -s /dev/zero f", "ln -s f f", "mkdir f")
    swap = f"while :; do {'; rm -rf f; '.join(turns)}; rm -rf f; done"
    job = await hand.start_job(swap)
    async with asyncio.timeout(PATIENCE):
        for _ in range(200):
            for call in (hand.read("f"), hand.write("f", b"new")):
                with contextlib.suppress(ToolError):
                    await call
    await hand.stop_job(job.id)
    assert (await hand.run("true")).code == 0


@pytest.mark.parametrize(
    ("greeting", "error"),
    [("b'x' * 100", None), ("""struct.pack('<I', 1 << 30)""", None), ("HELLO", "took this one's place")],
    ids=["nonsense", "a long frame", "as the hand does"],
)
async def test_who_speaks_in_place_of_the_hand_gets_nowhere(
    make: Make, lodge: RoomSandboxes, greeting: str, error: str | None
) -> None:
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    prepare = "HELLO = open('/workspace/hello', 'rb').read()"
    await hand.write("hello", frame(HELLO, 0, b'{"version": %d}' % VERSION))
    text = IMPOSTOR.format(prepare=prepare, times=3, greeting=greeting)
    await hand.write("impostor.py", text.encode())
    if error is None:
        assert (await hand.run("python3 impostor.py")).code == 0
    else:
        with pytest.raises(HandLost, match=error):
            await hand.run("python3 impostor.py")
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert (await sh(await sandboxes.hand(ROOM), "echo mine")).text == "mine\n"
                break
            except HandLost:
                continue
    assert (await sh(await lodge.hand(RoomId("!beside:example.org")), "echo fine")).text == "fine\n"


async def test_a_deep_folder_is_backed_up_and_reset(make: Make, place: Path) -> None:
    sandboxes = make(limits=replace(SMALL, workspace_mb=0))
    hand = await sandboxes.hand(ROOM)
    await hand.run(f"python3 -c '{DEEP}'")
    files = Workspace(next((place / "state" / "rooms").iterdir()))
    assert (await sandboxes.disk(ROOM))[0] < 1 << 20, "folders are not counted, and that ends"

    def copied(to: Path) -> JsonObject:
        to.touch()
        return {}

    state = backup.State(place / "state", copied, (backup.Room(files.folder.name, files.opened, 0),))
    file, manifest = backup.make(state, place / "backups", keep=1, packed=lambda part, size: None)
    backup.verify(file)
    assert list(manifest.left_out.values()) == ["its path has more than 3,000 bytes"]
    assert any(name.endswith("/d/leaf") for name in manifest.hashes)
    await sandboxes.reset_workspace(ROOM)
    assert not files.folder.exists()
    assert (await sh(await sandboxes.hand(ROOM), "ls")).text == ""


DEEP = """
import os
for name, levels in (("d", 1200), ("long" * 20, 60)):
    os.chdir("/workspace")
    for _ in range(levels):
        os.mkdir(name)
        os.chdir(name)
    open("leaf", "w").close()
    os.chmod(".", 0)
"""


REFUSING = """
for kind, number, _ in hear(line := dial()):
    if kind == CALL:
        line.sendall(frame(RESULT, number, b'{"error": "no"}'))
"""


async def test_who_refuses_everything_in_place_of_the_hand_is_stopped_when_idle(make: Make) -> None:
    """And ends nothing else: whoever stops idle containers stops those of all rooms."""
    sandboxes = make(idle_seconds=2)
    hand = await sandboxes.hand(ROOM)
    for name, text in program(REFUSING).items():
        await hand.write(name, text.encode())
    running = asyncio.ensure_future(sandboxes.run([ROOM]))
    with contextlib.suppress(HandLost):  # it may have taken the hand's place before that has said that it runs
        await hand.start_job("exec python3 attack.py state")
    await until(lambda: running.done() or not sandboxes.up(ROOM), "the end of the container")
    assert not running.done(), running.exception()
    assert (await sh(await sandboxes.hand(ROOM), "echo mine")).text == "mine\n"
    running.cancel()
