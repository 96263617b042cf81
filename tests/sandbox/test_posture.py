"""What a room's container may and may not, seen from inside; and seccomp and limits as they are written."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import pytest

from roommate.domain import RoomId
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes
from tests.sandbox.conftest import ROOM, SMALL, Make, services, sh


async def look(lodge: RoomSandboxes, command: str) -> str:
    said = await sh(await lodge.hand(ROOM), command)
    assert said.exit.code == 0, said
    return said.text


async def test_nobody_has_capabilities_or_gets_privileges(lodge: RoomSandboxes) -> None:
    status = await look(lodge, "cat /proc/self/status")
    lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert {lines[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert lines["NoNewPrivs"] == "1"
    assert lines["Seccomp"] == "2"
    assert lines["Uid"].split() == ["1000"] * 4


async def test_its_users_are_nobody_on_the_host(lodge: RoomSandboxes) -> None:
    inside, outside, count = (await look(lodge, "cat /proc/self/uid_map")).split()
    assert (inside, count) == ("0", "65536")
    assert int(outside) >= 100_000


async def test_the_root_is_read_only_and_the_rest_is_small(lodge: RoomSandboxes) -> None:
    for place in ("/x", "/etc/x", "/usr/x", "/run/x", "/var/tmp/x", "/run/room/x", "/etc/hosts"):
        said = await sh(await lodge.hand(ROOM), f"echo > {place}")
        assert said.exit.code != 0, place
    for place in ("/workspace/x", "/home/room/x", "/tmp/x"):
        await look(lodge, f"echo > {place} && rm {place}")
    assert (await look(lodge, "df -m --output=size /tmp | tail -1")).strip() == str(SMALL.memory_mb // 4 - 16)
    mounts = await look(lodge, "cat /proc/self/mounts")
    for line in mounts.splitlines():
        where, options = line.split()[1], line.split()[3]
        if where in (
            *("/workspace", "/home/room", "/run/room", "/run/spool/out", "/run/spool/in", "/run/hooks"),
            *("/tmp", "/dev/shm"),
        ):
            assert {"nosuid", "nodev"} <= set(options.split(",")), line
        if "rw" in options.split(",") and not where.startswith(("/proc", "/dev", "/sys")):
            assert where in ("/workspace", "/home/room", "/run/spool/out", "/tmp"), line


async def test_commands_know_that_no_terminal_is_there(lodge: RoomSandboxes) -> None:
    assert await look(lodge, "echo $TERM $PAGER") == "dumb cat\n"


async def test_shared_memory_is_there_and_small(lodge: RoomSandboxes) -> None:
    """A tmpfs of our own: with a read-only root some Podmans mount theirs read-only."""
    mounts = await look(lodge, "cat /proc/self/mounts")
    (own,) = [line.split() for line in mounts.splitlines() if line.split()[1] == "/dev/shm"]
    assert own[2] == "tmpfs"
    assert {"rw", "noexec", "nosuid", "nodev"} <= set(own[3].split(","))
    assert (await look(lodge, "df -m --output=size /dev/shm | tail -1")).strip() == "16"
    assert (await look(lodge, "cd /dev/shm && stat --format %a . && echo text >x && cat x && rm x")) == "1777\ntext\n"
    said = await sh(await lodge.hand(ROOM), "head -c 80M /dev/zero >/dev/shm/x; code=$?; rm /dev/shm/x; exit $code")
    assert (said.exit.code, "No space left" in said.text) == (1, True)


async def test_a_container_takes_no_kernel_key(make: Make, place: Path) -> None:
    """Where the ids of all rooms belong to one user, that one may have 200 keys."""
    known = json.loads((place / "state" / "host.json").read_text())
    user = known["host"]["first_id"] = 1_400_000_000  # nobody else's, so that nobody else's keys are counted
    known["host"]["ranges"] = 1
    (place / "state" / "host.json").write_text(json.dumps(known))
    sandboxes = make()
    for number in range(3):
        said = await sh(await sandboxes.hand(RoomId(f"!keys-{number}:example.org")), "cat /proc/self/uid_map")
        assert said.text.split()[1] == str(user)
    assert keys_of(user) == 0
    (check,) = [check for check in await sandboxes.check() if check.what == "kernel keys"]
    assert check.ok


def keys_of(user: int) -> int:
    for line in Path("/proc/key-users").read_text().splitlines():
        owner, _, counts = line.partition(":")
        if int(owner) == user:
            return int(counts.split()[1].partition("/")[0])
    return 0


async def test_there_is_no_network(lodge: RoomSandboxes) -> None:
    assert (await look(lodge, "ls /sys/class/net")).split() == ["lo"]
    assert (await look(lodge, "cat /proc/net/route | wc -l")).strip() == "1"  # the headline


async def test_nothing_of_the_host_shows(lodge: RoomSandboxes) -> None:
    assert (await look(lodge, "cat /etc/hosts")) == "127.0.0.1 localhost room\n::1 localhost\n"
    assert (await look(lodge, "cat /etc/resolv.conf; hostname")).strip() == "room"


async def test_the_daemon_s_environment_stays_with_it(make: Make, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LLM_API_KEY", "MATRIX_PASSWORD", "https_proxy", "SOMETHING_ELSE"):
        monkeypatch.setenv(name, "canary")
    hand = await make().hand(ROOM)
    said = await sh(hand, "env; cat /proc/*/environ")
    assert "HOME=/home/room" in said.text
    assert "canary" not in said.text
    (service,) = services(place / "run")
    environment = Path(f"/proc/{service}/environ").read_text()
    assert "LLM_API_KEY" not in environment
    assert "MATRIX_PASSWORD" not in environment


NUMBERS = {
    "x86_64": {"clone": 56, "ptrace": 101, "keyctl": 250, "io_setup": 206},
    "aarch64": {"clone": 220, "ptrace": 117, "keyctl": 219, "io_setup": 0},
}[platform.machine()]
CALL = """python3 -c '
import ctypes, sys
returned = ctypes.CDLL(None, use_errno=True).syscall({})
print(returned, ctypes.get_errno())
sys.exit(0 if returned != -1 or ctypes.get_errno() not in (1, 38) else 3)'"""
SOCKET = """python3 -c '
import socket, sys
try: socket.socket({}, {})
except OSError as error: sys.exit(3 if error.errno in (1, 38) else 0)'"""


@pytest.mark.parametrize(
    "attempt",
    [
        "unshare --user --map-root-user --mount true || exit 3",
        CALL.format(f"{NUMBERS['clone']}, 0x10000011, 0, 0, 0, 0"),  # CLONE_NEWUSER and SIGCHLD
        CALL.format(f"{NUMBERS['ptrace']}, 0, 0, 0, 0"),  # PTRACE_TRACEME
        CALL.format(f"{NUMBERS['keyctl']}, 0, -3, 1"),  # KEYCTL_GET_KEYRING_ID of the session
        CALL.format(f"{NUMBERS['io_setup']}, 1, (ctypes.c_ulong * 1)()"),  # the host has 65536 for all
        SOCKET.format(40, 1),  # AF_VSOCK: to the machine's host
        SOCKET.format(38, 5),  # AF_ALG
        SOCKET.format(17, 3),  # AF_PACKET
        "prlimit --pid $PPID --nofile=3 && exit 0; exit 3",  # of the hand
    ],
    ids=["unshare", "clone", "ptrace", "keyctl", "io_setup", "vsock", "alg", "packet", "prlimit"],
)
async def test_the_filter_refuses(lodge: RoomSandboxes, attempt: str) -> None:
    """With EPERM or ENOSYS; what the kernel itself refuses it refuses otherwise."""
    said = await sh(await lodge.hand(ROOM), attempt)
    assert said.exit.code == 3, said


async def test_work_is_possible(lodge: RoomSandboxes) -> None:
    """The filter and the read-only root are in nobody's way."""
    work = """
    set -e
    cd "$(mktemp -d -p /workspace)"
    git init -q . && echo text > file && git add file && git commit -qm first && git log --oneline | grep -q first
    rg -q text && jq -n 1 >/dev/null && ps aux >/dev/null && find . | xargs -P4 -n1 true
    python3 -m venv --without-pip venv && venv/bin/python -c "import asyncio, threading, multiprocessing as m
    if __name__ == '__main__':
        threading.Thread(target=print).start(); asyncio.run(asyncio.sleep(0)); print(m.Pool(2).map(abs, [-1, 2]))"
    bash -c 'exec 3<>/dev/shm/x; rm /dev/shm/x; diff <(echo a) <(echo a)'
    """
    said = await sh(await lodge.hand(ROOM), work.replace("\n    ", "\n"), timeout=60)
    assert said.exit.code == 0, said
    assert "[1, 2]" in said.text


async def test_limits_hold_inside(lodge: RoomSandboxes) -> None:
    found = await look(
        lodge,
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max pids/pids.max pids.max"
        " cpu/cpu.cfs_quota_us cpu.max 2>/dev/null; true",
    )
    assert found.split()[:3] == [str(SMALL.memory_mb << 20), str(SMALL.pids), str(int(SMALL.cpus * 100_000))]


def test_what_an_operator_sets_is_what_a_room_gets_by_default() -> None:
    assert Limits() == Limits(memory_mb=2048, cpus=2.0, pids=512, workspace_mb=10240)


@pytest.mark.parametrize("memory_mb", [16, 128, 512, 2048, 65536])
def test_what_lies_in_memory_has_a_quarter_of_it_at_most(memory_mb: int) -> None:
    limits = Limits(memory_mb=memory_mb)
    assert 0 < limits.tmp + limits.shm <= memory_mb / 4
    assert 0 < limits.shm <= 64
    assert limits.tmp <= 512
