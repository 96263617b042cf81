"""The life of rooms' containers: first use, idle, restarts, kills, leaving; with real ones."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from roommate.domain import RoomId
from roommate.errors import EngineError, HandLost, ImageError
from roommate.sandbox.room_containers import RoomSandboxes
from tests.patience import PATIENCE, until
from tests.sandbox.conftest import ROOM, SCARCE, Make, pid_of, services, sh
from tests.sandbox_image import NAME as BASE
from tests.sandbox_image import containers, podman, remove_containers


def state_of(place: Path) -> str:
    (name,) = containers(place / "state")
    return podman("inspect", "--format", "{{.State.Status}}", name)


def started_at(place: Path) -> str:
    (name,) = containers(place / "state")
    return podman("inspect", "--format", "{{.State.StartedAt}}", name)


async def test_many_who_ask_at_once_get_one_container(make: Make, place: Path) -> None:
    sandboxes = make()
    hands = await asyncio.gather(*(sandboxes.hand(ROOM) for _ in range(10)))
    assert len({id(hand) for hand in hands}) == 1
    assert len(containers(place / "state")) == 1


async def test_who_stops_waiting_stops_nobody_else(make: Make) -> None:
    sandboxes = make()
    impatient = asyncio.create_task(sandboxes.hand(ROOM))
    patient = asyncio.create_task(sandboxes.hand(ROOM))
    await asyncio.sleep(0.01)
    impatient.cancel()
    assert (await (await patient).run("true")).code == 0


async def test_an_idle_container_stops_and_comes_back(make: Make, place: Path) -> None:
    sandboxes = make(idle_seconds=0.3)
    life = asyncio.create_task(sandboxes.run([ROOM]))
    hand = await sandboxes.hand(ROOM)
    await hand.write("/workspace/file", b"kept")
    await until(lambda: state_of(place) == "exited")
    assert "exited" in await sandboxes.describe(ROOM)
    assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"
    await until(lambda: state_of(place) == "exited")
    life.cancel()


async def test_a_call_a_job_and_what_runs_in_the_shell_keep_a_container_up(make: Make, place: Path) -> None:
    sandboxes = make(idle_seconds=0.3)
    life = asyncio.create_task(sandboxes.run([ROOM]))
    hand = await sandboxes.hand(ROOM)
    assert (await hand.run("sleep 1")).code == 0
    job = await hand.start_job("sleep 1000")
    await asyncio.sleep(1)
    assert state_of(place) == "running"
    assert (await hand.shell("sleep 1000", timeout=0.1)).running
    assert (await hand.stop_job(job.id)).exit is not None
    await asyncio.sleep(1)
    assert state_of(place) == "running"
    assert (await hand.shell(interrupt=True, timeout=PATIENCE)).code == 130
    await until(lambda: state_of(place) == "exited")
    life.cancel()


async def test_a_new_daemon_finds_containers_and_their_jobs(make: Make, place: Path) -> None:
    before = make()
    job = await (await before.hand(ROOM)).start_job("echo started; sleep 1000")
    started = started_at(place)
    await before.close()
    after = make()
    await after.reconcile([ROOM])
    hand = await after.hand(ROOM)
    assert [(one.id, one.exit) for one in await hand.jobs()] == [(job.id, None)]
    assert started_at(place) == started


async def test_a_daemon_killed_with_9_takes_its_podman_service_along_and_leaves_the_container(
    make: Make, place: Path, image: str
) -> None:
    script = f"""
import asyncio
from pathlib import Path
from tests.sandbox.conftest import ROOM, at
async def main():
    hand = await at(Path({str(place)!r}), {image!r}).hand(ROOM)
    await hand.start_job("sleep 1000")
    print("up", flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""
    daemon = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert daemon.stdout is not None
    assert await daemon.stdout.readline() == b"up\n"
    assert len(services(place / "run")) == 1
    started = started_at(place)
    daemon.kill()
    await daemon.wait()
    await until(lambda: services(place / "run") == [])
    assert state_of(place) == "running"
    after = make()
    await after.reconcile([ROOM])
    assert [job.exit for job in await (await after.hand(ROOM)).jobs()] == [None]
    assert started_at(place) == started


async def test_a_container_killed_in_mid_call_is_lost_and_comes_back(make: Make, place: Path) -> None:
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    await hand.write("/workspace/file", b"kept")
    call = asyncio.create_task(hand.run("sleep 1000"))
    await asyncio.sleep(0.1)
    os.kill(pid_of(place / "state"), signal.SIGKILL)
    with pytest.raises(HandLost):
        async with asyncio.timeout(PATIENCE):
            await call
    again = await sandboxes.hand(ROOM)
    assert (await again.read("/workspace/file")).content == b"kept"


async def test_a_hand_killed_in_the_container_comes_back_in_the_same_one(make: Make, place: Path) -> None:
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    started = started_at(place)
    with pytest.raises(HandLost):
        await hand.run("pkill -9 -x roommate-hand; sleep 5")
    again = await sandboxes.hand(ROOM)
    assert (await again.run("true")).code == 0
    assert started_at(place) == started


async def test_a_run_folder_that_was_deleted_is_made_again(make: Make, place: Path) -> None:
    """What tidies /run or /tmp may take it from under a daemon."""
    sandboxes = make()
    await (await sandboxes.hand(ROOM)).write("/workspace/file", b"kept")
    for how in ("stopped", "killed"):
        shutil.rmtree(place / "run")
        if how == "stopped":
            await sandboxes.stop(ROOM)
        else:
            with pytest.raises(HandLost):
                await (await sandboxes.hand(ROOM)).run("pkill -9 -x roommate-hand; sleep 5")
        assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"
    assert "running" in await sandboxes.describe(ROOM)


async def test_a_paused_or_removed_container_is_made_anew(make: Make, place: Path) -> None:
    sandboxes = make()
    await (await sandboxes.hand(ROOM)).write("/workspace/file", b"kept")
    await sandboxes.close()
    (name,) = containers(place / "state")
    podman("pause", name)
    sandboxes = make()
    assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"
    await asyncio.to_thread(remove_containers, place / "state")
    assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"


async def test_a_half_removed_container_is_made_anew(make: Make, place: Path) -> None:
    """What a Podman leaves that is killed while it removes one: it lists the container, and its layer is gone."""
    sandboxes = make()
    await (await sandboxes.hand(ROOM)).write("/workspace/file", b"kept")
    await sandboxes.stop(ROOM)
    (name,) = containers(place / "state")
    forget_layer(name)
    assert "half removed" in await sandboxes.describe(ROOM)
    assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"
    await sandboxes.stop(ROOM)
    forget_layer(name)
    await sandboxes.leave(ROOM)
    assert containers(place / "state") == []


def forget_layer(name: str) -> None:
    """As its library does that (github.com/containers/storage): under its lock, and who has read it is told."""
    layers = Path(podman("info", "--format", "{{.Store.GraphRoot}}"), "overlay-layers")
    layer = Path(podman("inspect", "--format", "{{.GraphDriver.Data.UpperDir}}", name)).parent.name
    with (layers / "layers.lock").open("r+b") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        known = json.loads((layers / "layers.json").read_text())
        (layers / "layers.json").write_text(json.dumps([one for one in known if one["id"] != layer]))
        lock.write(os.urandom(64))


async def test_a_room_is_left_when_its_processes_have_ended(make: Make, place: Path) -> None:
    """Podman forgets a container that it is told to remove twice, whatever runs in it. With cgroups v1 a frozen process
    cannot be ended; with v2 none is so easily stuck, and what is seen there is that all are gone."""
    sandboxes = make(patience=1.0)
    await (await sandboxes.hand(ROOM)).write("/workspace/file", b"kept")
    pid = pid_of(place / "state")
    freezer = Path("/sys/fs/cgroup/freezer")
    frozen = freezer / f"roommate-{place.name}"
    if freezer.exists():
        frozen.mkdir()
        try:
            (frozen / "cgroup.procs").write_text(str(pid))
            (frozen / "freezer.state").write_text("FROZEN")
            for _ in range(2):
                with pytest.raises(EngineError, match=f"process {pid} is stuck"):
                    await sandboxes.reset_workspace(ROOM)
        finally:
            (frozen / "freezer.state").write_text("THAWED")
            await until(lambda: not (frozen / "cgroup.procs").read_text())
            frozen.rmdir()
    await sandboxes.leave(ROOM)
    assert not Path(f"/proc/{pid}").exists()
    assert containers(place / "state") == []
    assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"


async def test_a_room_that_kills_its_hand_and_all_else_works_again(make: Make) -> None:
    """Commands are the hand's own user. (A hand that was stopped: tests/sandbox/test_hand.py.)"""
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    await hand.write("/workspace/file", b"kept")
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(HandLost):
            await hand.run("kill -9 -1", timeout=100)
        assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"


async def test_what_kills_every_hand_goes_with_its_container(make: Make, place: Path) -> None:
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    started = started_at(place)
    with contextlib.suppress(HandLost):  # it may be gone before it has said that this runs
        await hand.run("setsid sh -c 'while :; do pkill -9 -x roommate-hand; sleep 0.02; done' >/dev/null 2>&1 &")
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert (await (await sandboxes.hand(ROOM)).run("sleep 0.3; true")).code == 0
            except HandLost:
                continue
            break
    assert started_at(place) != started
    assert (await sh(await sandboxes.hand(ROOM), "pgrep -x pkill || echo none")).text == "none\n"


async def test_podman_s_service_is_started_again(make: Make, place: Path) -> None:
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    told = 0
    while told < 3:
        await sandboxes.describe(ROOM)  # so that there is a service
        (service,) = services(place / "run")
        os.kill(service, signal.SIGSTOP)
        asked = asyncio.create_task(sandboxes.describe(ROOM))
        await asyncio.sleep(0.2)  # on a busy host the request may not be on its way yet: then it goes to the next one
        os.kill(service, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            told += "Podman's service went away" in (said := await asked)
        assert "Podman's service went away" in said or "running" in said
        assert "running" in await sandboxes.describe(ROOM), "at once, whether its end is known yet or not"
        assert services(place / "run") != [service]
    assert (await hand.run("true")).code == 0, "what runs does not need it"


async def test_podman_s_service_ends_while_nobody_needs_it(
    make: Make, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roommate.sandbox.podman_client.IDLE_SECONDS", 0.3)
    sandboxes = make()
    hand = await sandboxes.hand(ROOM)
    await until(lambda: services(place / "run") == [])
    assert (await hand.run("true")).code == 0, "what runs does not need it"
    for _ in range(10):  # also where it is just about to end
        assert "running" in await sandboxes.describe(ROOM)
        await asyncio.sleep(0.3)
    await until(lambda: services(place / "run") == [])
    await sandboxes.stop(ROOM)
    assert (await (await sandboxes.hand(ROOM)).run("true")).code == 0


async def test_leaving_keeps_the_files_and_resetting_deletes_them(make: Make, place: Path) -> None:
    sandboxes = make()
    await (await sandboxes.hand(ROOM)).write("/workspace/file", b"kept")
    await sandboxes.leave(ROOM)
    assert containers(place / "state") == []
    assert (await (await sandboxes.hand(ROOM)).read("/workspace/file")).content == b"kept"
    await sandboxes.reset_workspace(ROOM)
    assert containers(place / "state") == []
    assert (await sh(await sandboxes.hand(ROOM), "ls -A")).text == ""
    await sandboxes.leave(ROOM)
    assert [path for path in (place / "run").iterdir() if not path.name.startswith(("podman-", "containers-"))] == []


async def test_a_call_that_comes_with_the_idle_stop_is_done(make: Make) -> None:
    """Either before the stop or after it, never in its middle."""
    sandboxes = make(idle_seconds=0.05)
    life = asyncio.create_task(sandboxes.run([ROOM]))
    async with asyncio.timeout(PATIENCE):
        for number in range(30):
            hand = await sandboxes.hand(ROOM)
            assert (await hand.run("true")).code == 0
            await asyncio.sleep(0.048 + number % 5 * 0.002)
    life.cancel()


async def test_a_call_that_comes_with_leaving_gets_a_container_that_is_known(make: Make, place: Path) -> None:
    sandboxes = make()
    await sandboxes.hand(ROOM)
    leaving = asyncio.create_task(sandboxes.leave(ROOM))
    await asyncio.sleep(0.01)
    async with asyncio.timeout(PATIENCE):
        asked = asyncio.create_task(sandboxes.hand(ROOM))
        await leaving
        assert await sandboxes.hand(ROOM) is await asked
    assert len(containers(place / "state")) == 1


@pytest.mark.parametrize("what", ["probe", "aside"])
async def test_a_look_that_was_killed_leaves_nothing_for_long(make: Make, place: Path, image: str, what: str) -> None:
    """At the host, or into the image."""
    state = place / "state"
    (state / f"{what}-0123abcd" / "files").mkdir(parents=True)
    label = f"--label=io.roommate.state={state}"
    podman("create", "--name", f"roommate-{what}-{place.name}", label, image, "true")
    await make().reconcile([])
    assert containers(state) == []
    assert list(state.glob(f"{what}-*")) == []


async def test_a_look_into_the_image_is_not_cleared_away(make: Make, place: Path) -> None:
    sandboxes = make()
    looking = asyncio.create_task(sandboxes.in_image("sleep 1; echo seen"))
    await until(lambda: len(containers(place / "state")) == 1, "the container")
    await sandboxes.reconcile([])
    assert await looking == "seen\n"
    assert containers(place / "state") == []


async def test_the_host_is_looked_at_once_and_that_is_said_once(
    make: Make, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place / "state" / "host.json").unlink()
    sandboxes = make()
    with caplog.at_level("INFO", "roommate.sandbox"):
        life = asyncio.create_task(sandboxes.run([ROOM]))
        await asyncio.gather(*(sandboxes.hand(RoomId(f"!{number}:example.org")) for number in range(3)))
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if line.startswith("rooms run with")]) == 1
    assert len(said) == len(set(said))
    life.cancel()


async def test_a_daemon_that_ends_while_it_looks_at_the_host_leaves_nothing(make: Make, place: Path) -> None:
    (place / "state" / "host.json").unlink()
    sandboxes = make()
    for delay in (0.3, 0.6, 0.9):
        life = asyncio.create_task(sandboxes.run([]))
        await asyncio.sleep(delay)
        life.cancel()
        await asyncio.wait([life])
        await sandboxes.close()
        assert containers(place / "state") == []
        sandboxes = make()


async def test_reconcile_removes_the_containers_of_other_rooms_and_no_file(make: Make, place: Path) -> None:
    left = RoomId("!left:example.org")
    before = make()
    for room in (ROOM, left):
        await (await before.hand(room)).write("/workspace/file", room.encode())
    await before.close()
    after = make()
    await after.reconcile([ROOM])
    assert len(containers(place / "state")) == 1
    for room in (ROOM, left):
        assert (await (await after.hand(room)).read("/workspace/file")).content == room.encode()


async def test_reconcile_leaves_other_daemons_alone(make: Make, place: Path) -> None:
    mine, other = make(), make(daemon="@other:example.org")
    await asyncio.gather(mine.hand(ROOM), other.hand(RoomId("!theirs:example.org")))
    await mine.reconcile([])
    assert len(containers(place / "state")) == 2, "the one is in use, the other is not ours"


async def test_a_container_made_otherwise_is_made_anew_when_it_starts(make: Make, place: Path) -> None:
    before = make()
    await before.hand(ROOM)
    await before.close()
    name = f"localhost/roommate:other-{place.name}"
    after = make(image=name)
    podman("tag", BASE, name)
    try:
        first = containers(place / "state")
        podman("stop", "--time", "0", *first)
        old = podman("inspect", "--format", "{{.Id}}", *first)
        _build(name, _context(place))
        assert (await (await after.hand(ROOM)).run("test -e /new")).code == 0
        assert podman("inspect", "--format", "{{.Id}}", *first) != old
        assert "roommate:other" in await after.describe(ROOM)
    finally:
        await after.close()
        remove_containers(place / "state")
        podman("rmi", "--force", name)


async def test_a_newer_image_is_taken_after_the_next_idle_stop(make: Make, place: Path) -> None:
    name = f"localhost/roommate:newer-{place.name}"
    podman("tag", BASE, name)
    sandboxes = make(image=name, idle_seconds=1.0)
    life = asyncio.create_task(sandboxes.run([ROOM]))
    try:
        hand = await sandboxes.hand(ROOM)
        await hand.write("/workspace/file", b"kept")
        _build(name, _context(place))
        assert (await (await sandboxes.hand(ROOM)).run("test -e /new")).code == 1, "who works is not disturbed"
        await until(lambda: state_of(place) == "exited")
        again = await sandboxes.hand(ROOM)
        assert (await again.run("test -e /new")).code == 0
        assert (await again.read("/workspace/file")).content == b"kept"
    finally:
        life.cancel()
        await sandboxes.close()
        remove_containers(place / "state")
        podman("rmi", "--force", name)


def _context(place: Path, *lines: str) -> Path:
    folder = place / "context"
    folder.mkdir()
    (folder / "Containerfile").write_text("\n".join([f"FROM {BASE}", "USER root", *(lines or ("RUN touch /new",))]))
    return folder


def _build(name: str, context: Path) -> None:
    # Without layers: another test that ends would remove those that both have in common.
    podman("build", "--isolation=chroot", "--layers=false", "--quiet", "--tag", name, str(context))


async def test_a_missing_image_is_said_and_used_once_it_is_there(make: Make, place: Path) -> None:
    name = f"localhost/roommate:late-{place.name}"
    sandboxes = make(image=name)
    with pytest.raises(ImageError, match=f"{name} is not there: run `roommate image build`"):
        await sandboxes.hand(ROOM)
    assert {check.what for check in await sandboxes.check() if not check.ok} == {"image"} | SCARCE
    podman("tag", BASE, name)
    try:
        assert (await (await sandboxes.hand(ROOM)).run("true")).code == 0
        await sandboxes.leave(ROOM)
    finally:
        podman("untag", name, name)


@pytest.mark.parametrize(
    ("missing", "line"), [("python3", "RUN rm /usr/bin/python3*"), ("/bin/sh", "RUN rm /bin/sh /bin/dash /bin/bash")]
)
async def test_an_image_that_no_hand_runs_in_is_refused(make: Make, place: Path, missing: str, line: str) -> None:
    name = f"localhost/roommate:unfit-{place.name}"
    _build(name, _context(place, line))
    try:
        with pytest.raises(ImageError, match=f"the image {name} has no {missing}"):
            await make(image=name).hand(ROOM)
    finally:
        podman("rmi", "--force", name)


async def test_a_socket_path_that_is_too_long_is_said(make: Make, place: Path, image: str) -> None:
    deep = place / ("d" * 90)
    sandboxes = make(deep)
    with pytest.raises(EngineError, match="IPC_BASE_DIR"):
        await sandboxes.hand(ROOM)


async def test_a_state_folder_that_cannot_be_written_is_said(make: Make, place: Path) -> None:
    (place / "state" / "host.json").unlink()
    (place / "state").rmdir()
    (place / "state").touch()
    sandboxes = make()
    life = asyncio.create_task(sandboxes.run([ROOM]))
    with pytest.raises(EngineError, match="state cannot be written: "):
        await sandboxes.hand(ROOM)
    (check,) = await sandboxes.check()
    assert not check.ok
    assert not life.done(), "rooms go on to be asked for, and say so"
    life.cancel()
    (place / "state").unlink()


async def test_without_podman_it_says_so(make: Make, place: Path) -> None:
    sandboxes = make(podman="no-podman-here")
    with pytest.raises(EngineError, match="apt install podman"):
        await sandboxes.hand(ROOM)
    (check,) = await sandboxes.check()
    assert (check.what, check.ok, check.needed) == ("podman", False, True)
    assert "not available" in await sandboxes.describe(ROOM)


async def test_what_doctor_says_of_a_good_host(lodge: RoomSandboxes) -> None:
    checks = {check.what: check for check in await lodge.check()}
    small = {"build tools", "coding agents"}
    assert {check.what for check in checks.values() if not check.ok} == small | SCARCE
    assert "stage base" in checks["image"].found
    assert "--stage agents" in checks["coding agents"].mend
    assert {"podman", "image", "user namespace", "memory limit", "CPU limit", "process limit", "seccomp"} <= set(checks)
    assert {"workspace limit", "storage driver"} <= set(checks)


async def test_describe_is_one_line_for_people(lodge: RoomSandboxes) -> None:
    room = RoomId("!never:example.org")
    assert "none yet" in await lodge.describe(room)
    await lodge.hand(ROOM)
    line = await lodge.describe(ROOM)
    assert line.startswith(f"running · {BASE} · ")
    assert "processes" in line
    assert "of 256 MiB memory" in line
    assert "disk" in line
    assert "\n" not in line
