"""What is learned of the host, remembered, and learned again."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest

from roommate.errors import EngineError
from roommate.sandbox.id_ranges import free_ids
from roommate.sandbox.podman_service_process import Service
from tests.patience import PATIENCE
from tests.sandbox.conftest import ROOM, SCARCE, Make, sh
from tests.sandbox_image import containers, podman


def memory(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "state" / "host.json").read_text())
    return found


def test_what_was_learned_here(host_memory: Path) -> None:
    host = json.loads(host_memory.read_text())["host"]
    assert host["userns"] and host["memory"] and host["cpu"] and host["pids"]
    assert host["seccomp"].endswith("seccomp.json")
    assert host["quota"] == ""


@pytest.mark.parametrize("other", ["{", '{"key": "of another kernel", "host": {"setup": "x"}, "image": ""}'])
async def test_it_is_learned_again_when_it_does_not_fit(make: Make, place: Path, other: str) -> None:
    known = memory(place)
    (place / "state" / "host.json").write_text(other)
    assert (await (await make().hand(ROOM)).run("true")).code == 0
    assert memory(place) == known


async def test_what_is_remembered_is_not_asked_again(make: Make, place: Path) -> None:
    known = memory(place)
    known["host"]["podman"] = "remembered"
    (place / "state" / "host.json").write_text(json.dumps(known))
    sandboxes = make()
    await sandboxes.hand(ROOM)
    assert "Podman remembered" in (await sandboxes.check())[0].found


async def test_a_configuration_that_stopped_working_is_forgotten(make: Make, place: Path) -> None:
    known = memory(place)
    known["host"] |= {"first_id": 4_294_950_000, "ranges": 1}  # no kernel maps ids up there
    (place / "state" / "host.json").write_text(json.dumps(known))
    sandboxes = make()
    with pytest.raises(EngineError):
        await sandboxes.hand(ROOM)
    await sandboxes.close()
    assert (await (await make().hand(ROOM)).run("true")).code == 0


async def test_without_a_user_namespace_it_works_and_is_said(make: Make, place: Path) -> None:
    known = memory(place)
    known["host"] |= {"userns": False, "first_id": None}
    (place / "state" / "host.json").write_text(json.dumps(known))
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    assert (await sh(hand, "cat /proc/self/uid_map")).text.split() == ["0", "0", "4294967295"]
    await hand.write("/workspace/file", b"kept")
    missing = {check.what: check.needed for check in await sandboxes.check() if not check.ok}
    assert missing == dict.fromkeys(("user namespace", "build tools", "coding agents", *SCARCE), False)
    await sandboxes.close()
    podman("stop", "--time", "0", *containers(place / "state"))

    known["host"] |= {"userns": True, "first_id": 1_500_000_000, "ranges": 1}
    (place / "state" / "host.json").write_text(json.dumps(known))
    hand = await make().hand(ROOM)
    assert (await hand.read("/workspace/file")).content == b"kept", "the files changed their owner with the ids"
    assert (await sh(hand, "cat /proc/self/uid_map")).text.split()[1] == "1500000000"
    await hand.write("/workspace/file", b"changed")


WHOLE = "         0          0 4294967295\n"


@pytest.mark.parametrize(
    ("subuid", "uid_map", "found"),
    [
        ("", WHOLE, (1_000_000_000, 17509)),
        ("somebody:100000:65536\n", WHOLE, (1_000_000_000, 17509)),
        ("# a comment\nsomebody:1000000000:65536\n", WHOLE, (1_000_065_536, 17508)),
        ("somebody:2147400000:65536\n", WHOLE, (2_147_465_536, 32768)),  # above those with a sign
        ("", "0 100000 65536\n", None),  # root of a container
        ("", "0 100000 10000000\n", (1 << 20, 136)),
        ("somebody:2000000:1000\n", "0 100000 10000000\n", (2_001_000, 122)),
    ],
)
def test_rooms_get_ids_that_nobody_has(
    tmp_path: Path, subuid: str, uid_map: str, found: tuple[int, int] | None
) -> None:
    (tmp_path / "subuid").write_text(subuid)
    (tmp_path / "uid_map").write_text(uid_map)
    expected = range(found[0], found[0] + found[1] * 65536, 65536) if found else None
    assert free_ids(tmp_path / "subuid", tmp_path / "uid_map") == expected
    (tmp_path / "subuid").unlink()
    if not subuid:
        assert free_ids(tmp_path / "subuid", tmp_path / "uid_map") == expected


async def test_a_slow_host_gets_the_time_that_it_is_said_to_need(make: Make, place: Path) -> None:
    """Podman itself takes longer here than it may, or the hand does, unless all are patient."""
    slow = place / "podman"
    slow.write_text('#!/bin/sh\n[ "$1" != --version ] || sleep 11\nexec podman "$@"\n')
    slow.chmod(0o755)
    with pytest.raises(EngineError, match="took over 10 s"):
        await make(podman=str(slow), patience=1.0).hand(ROOM)
    assert (await (await make(podman=str(slow), patience=2.0).hand(ROOM)).run("true")).code == 0


async def test_a_service_that_is_just_starting_ends_with_its_daemon() -> None:
    """A restart is an exec: what was started and forgotten would live on beside the new one."""
    with tempfile.TemporaryDirectory(prefix="rs-") as folder:
        service = Service("podman", Path(folder), None, PATIENCE)
        starting = asyncio.create_task(service.ready())
        while not starting.done() and not (marks := _with(folder)):
            await asyncio.sleep(0)
        assert marks, "it is on its way"
        await service.close()
        with pytest.raises(EngineError, match="this daemon ends"):
            await starting
        with pytest.raises(EngineError, match="this daemon ends"):
            await service.ready()
        assert _with(folder) == []


def _with(folder: str) -> list[str]:
    """The children of this process that were told of a folder."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [pid for pid in children if folder.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
