"""The same sandboxes for an ordinary user, with rootless Podman: the suite makes one, for real."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

import roommate
from roommate.sandbox import inotify_limit_per_room
from roommate.sandbox.agent_hooks import shipped
from tests.patience import PATIENCE
from tests.sandbox.conftest import services
from tests.sandbox_image import podman

LIBRARIES = (
    *("podman", "requests", "urllib3", "certifi", "idna", "charset_normalizer"),
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
)

SCENARIO = """
import asyncio, dataclasses, json, os, sys
from pathlib import Path
from roommate.errors import SandboxError, ToolError
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes

def new():
    limits = Limits(memory_mb=256, cpus=1, pids=64, workspace_mb=64)
    home = Path.home()
    return RoomSandboxes(state=home / "state", run=home / "ipc", image="localhost/roommate:test-base",
                         daemon="@bot:example.org", limits=limits, idle_seconds=600)

async def sh(hand, command, timeout=20):
    printed = bytearray()
    ended = await hand.run(command, timeout=timeout, on_output=printed.extend)
    return [ended.code, ended.timed_out, printed.decode()]

async def patiently(hand, command):
    # Where limits go by user, a bomb next door may take the last process for as long as it lives.
    for _ in range(50):
        try:
            return await sh(hand, command)
        except ToolError:
            await asyncio.sleep(0.2)

async def main():
    found = {}
    sandboxes = new()
    found["checks"] = [dataclasses.asdict(check) for check in await sandboxes.check()]
    one, other = [await sandboxes.hand(room) for room in ("!one:x", "!other:x")]
    found["describe"] = await sandboxes.describe("!one:x")
    found["status"] = await sh(one, "cat /proc/self/status")
    found["ids"] = await sh(one, "cat /proc/self/uid_map")
    found["inotify"] = await sh(one, "cat /proc/sys/user/max_inotify_instances")
    found["interfaces"] = await sh(one, "ls /sys/class/net")
    found["read only"] = await sh(one, "echo > /x || echo > /etc/x || echo > /run/room/x")
    found["unshare"] = await sh(one, "unshare --user true")
    found["git"] = await sh(one, "git init -q r && cd r && touch f && git add f && git commit -qm x && git log")
    await one.write("/workspace/mine", b"secret")
    found["other"] = await sh(other, "cat /workspace/mine")
    found["owners"] = sorted({path.stat().st_uid for path in Path.home().glob("state/rooms/*/files/workspace/*")})
    bomb = asyncio.create_task(sh(one, "bomb() { bomb | bomb & }; bomb; sleep 60", 2))
    await asyncio.sleep(0.5)
    found["beside"] = await patiently(other, "echo fine")
    found["bomb"] = await bomb
    found["hog"] = await sh(one, "python3 -c 'bytearray(512 << 20)'")
    await one.start_job("sleep 1000")
    await sandboxes.close()

    sandboxes = new()
    await sandboxes.reconcile(["!one:x"])
    one = await sandboxes.hand("!one:x")
    found["jobs"] = [job.exit for job in await one.jobs()]
    await one.run("mkdir locked && touch locked/file && chmod 0 locked")
    await sandboxes.reset_workspace("!one:x")
    found["after reset"] = await sh(await sandboxes.hand("!one:x"), "ls -A")
    await sandboxes.leave("!one:x")
    await sandboxes.leave("!other:x")
    await sandboxes.close()
    found["rooms"] = len(list(Path.home().glob("state/rooms/*")))
    print(json.dumps(found))

asyncio.run(main())
"""


KILLED = """
import asyncio, contextlib, os, signal
from pathlib import Path
from roommate.sandbox.podman_service_process import Service

async def main():
    await Service("podman", Path.home() / "ipc", None).ready()
    ours = bytes(Path.home() / "ipc")
    found = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            found += ours in path.read_bytes()
    print(found, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


PLACE = """
import asyncio, json, os, pwd
from pathlib import Path
from roommate.domain import HostPlace
from roommate.errors import NoSuchPlace
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.host_place import entered

SCRIPTS = {
    "who": "id -u; id -G; grep -e CapEff -e NoNewPrivs -e Seccomp: /proc/self/status; pwd; echo $HOME",
    "writes": "touch x /tmp/x ~/x && ls; touch /x /etc/x /usr/x 2>/dev/null || echo nowhere else",
    "sees": f"cat {Path.home()}/secret; ls -d /var /root /srv; unshare -U true; ls /proc | grep -c '^[0-9]'",
    "net": "tail -n +3 /proc/net/dev | cut -d: -f1",
    "left": "setsid sleep 98765 >/dev/null 2>&1 & echo left",
}

async def main():
    home, limits = Path.home(), Limits(memory_mb=256, cpus=1, pids=64, workspace_mb=64)
    (home / "secret").write_text("secret")
    found = {}
    async with entered(HostPlace("bubblewrap"), home, limits, patience=8) as hand:
        for name, script in SCRIPTS.items():
            printed = bytearray()
            await hand.run(script, timeout=60, on_output=printed.extend)
            found[name] = printed.decode().split()
    async with entered(HostPlace("bubblewrap", pwd.getpwuid(os.getuid()).pw_name), home, limits, patience=8) as hand:
        found["own"] = (await hand.run("true", timeout=60)).code
    for kind, user in (("bubblewrap", "root"), ("bubblewrap", "daemon"), ("host", ""), ("host", "daemon")):
        try:
            async with entered(HostPlace(kind, user), home, limits):
                found[kind + user] = ""
        except NoSuchPlace as error:
            found[kind + user] = str(error)
    print(json.dumps(found))

asyncio.run(main())
"""


IMAGE = """
import asyncio, contextlib
from pathlib import Path
from roommate.sandbox.image import build

@contextlib.contextmanager
def step(title):
    yield lambda said: None

recipe = Path.home() / "Containerfile"
recipe.write_text('''ARG BASE=localhost/roommate:test-base
FROM ${BASE} AS base
ARG PACKAGES="hello"
ARG SITE
USER root
RUN . $SITE && echo made >/made
''')
asyncio.run(build("localhost/roommate:ordinary", containerfile=recipe, step=step))
"""


@dataclass(frozen=True, slots=True)
class Ordinary:
    """A user without any right, with ids of its own to give to containers."""

    name: str
    uid: int
    home: Path

    def run(self, *command: str, code: int = 0) -> str:
        environment = {"HOME": str(self.home), "XDG_RUNTIME_DIR": str(self.home / "run"), "PATH": os.environ["PATH"]}
        environment["PYTHONPATH"] = str(self.home / "lib")
        done = subprocess.run(
            ("setpriv", f"--reuid={self.name}", f"--regid={self.name}", "--init-groups", "--", *command),
            env=environment, cwd=self.home, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip
        assert done.returncode == code, f"{command[:3]} as {self.name}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
        return done.stdout

    def processes(self) -> list[int]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if process.stat().st_uid == self.uid and "State:\tZ" not in (process / "status").read_text():
                    found.append(int(process.name))
        return found


@pytest.fixture(scope="module")
def ordinary(image: str) -> Iterator[Ordinary]:
    """Gone after the tests, with all it has and runs."""
    if os.geteuid() != 0:
        pytest.fail("this test makes an ordinary user and so needs root: sudo scripts/test")
    home = Path(tempfile.mkdtemp(prefix="rl-"))
    name = f"roommate-{os.getpid()}"
    # Not the next free id: the users of test machines have such, and what runs as this one is killed at the end.
    uid = random.choice(sorted(set(range(20_000, 60_000)) - {user.pw_uid for user in pwd.getpwall()}))
    made = ("useradd", "--uid", str(uid), "--home-dir", home, "--no-create-home", "--shell", "/bin/sh", name)
    subprocess.run(made, check=True)
    try:
        assert f"{name}:" in Path("/etc/subuid").read_text(), "useradd gave no subordinate ids (see subuid(5))"
        ordinary = Ordinary(name, uid, home)
        _furnish(home, image)
        subprocess.run(("chown", "-R", f"{name}:", home), check=True)
        home.chmod(0o700)
        ordinary.run("podman", "load", "--quiet", "--input", str(home / "image.tar"))
        yield ordinary
        for process in ordinary.processes():  # Podman's pause process is one that always stays
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while ordinary.processes():
            assert time.monotonic() < deadline, "the ordinary user's processes do not end"
            time.sleep(0.02)
    finally:
        subprocess.run(("userdel", "--force", name), check=True, capture_output=True)
        subprocess.run(("umount", "--lazy", home / "run"), check=False, capture_output=True)
        shutil.rmtree(home)


def _furnish(home: Path, image: str) -> None:
    """What the user needs and may not read at root's: the code, its libraries, the image."""
    (home / "run").mkdir()
    # As systemd has it. What a mount forbids is forbidden in a user's own namespaces, too.
    subprocess.run(("mount", "-t", "tmpfs", "-o", "nosuid,nodev,mode=700", "tmpfs", home / "run"), check=True)
    (home / ".config" / "containers").mkdir(parents=True)
    (home / ".config" / "containers" / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    site = Path(str(distribution("podman").locate_file("")))
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(roommate.__file__).parent, home / "lib" / "roommate", ignore=ignore)
    shutil.copytree(shipped(), home / "lib" / "roommate" / "sandbox" / "hooks")  # as in a wheel
    for library in LIBRARIES:
        if (site / library).is_dir():
            shutil.copytree(site / library, home / "lib" / library, ignore=ignore)
        else:
            shutil.copy(site / f"{library}.py", home / "lib")
    podman("save", "--quiet", "--output", str(home / "image.tar"), image)


def python_for(user: Ordinary) -> str:
    """A Python of our own version that the user may run: ours may be in root's home."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        with contextlib.suppress(AssertionError):
            user.run(python, "-c", "import encodings.idna, json, asyncio")
            return python
    pytest.fail(f"no Python {version} that an ordinary user may run: install python{version}")


@pytest.fixture(scope="module")
def found(ordinary: Ordinary) -> Any:
    """What the scenario saw, run once as the ordinary user."""
    return json.loads(ordinary.run(python_for(ordinary), "-c", SCENARIO).splitlines()[-1])


def test_an_image_is_made(ordinary: Ordinary) -> None:
    ordinary.run(python_for(ordinary), "-c", IMAGE)
    ordinary.run("podman", "image", "rm", "localhost/roommate:ordinary")


def test_the_posture_is_the_same(found: Any) -> None:
    lines = dict(line.split(":\t", 1) for line in found["status"][2].splitlines() if ":\t" in line)
    assert {lines[f"Cap{which}"] for which in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {"0" * 16}
    assert (lines["NoNewPrivs"], lines["Seccomp"]) == ("1", "2")
    assert found["ids"][2].splitlines()[1].split() == ["1000", "0", "1"], "the room's user is the daemon's"
    assert found["interfaces"][2].split() == ["lo"]
    assert int(found["inotify"][2]) == inotify_limit_per_room.of_a_room()["max_inotify_instances"]
    assert found["read only"][0] != 0
    assert found["unshare"][0] != 0


def test_a_place_in_bubblewrap_needs_no_rights(ordinary: Ordinary) -> None:
    """For a request of another daemon: nothing of the user's, no network, and nobody else to be."""
    found = json.loads(ordinary.run(python_for(ordinary), "-c", PLACE).splitlines()[-1])
    assert found["who"] == [
        *("1000", "1000", "CapEff:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2", "/workspace", "/home/room")
    ]
    assert found["writes"] == ["x", "nowhere", "else"]
    assert "secret" not in found["sees"]
    assert int(found["sees"][-1]) < 10
    assert found["net"] == ["lo"]
    assert found["left"] == ["left"]
    assert not [one for one in ordinary.processes() if b"98765" in Path(f"/proc/{one}/cmdline").read_bytes()]
    assert found["own"] == 0
    for user in ("root", "daemon"):
        assert "the rule needs no `user`" in found[f"bubblewrap{user}"]
    for user in ("", "daemon"):
        assert "needs a daemon that is root" in found[f"host{user}"]


def test_rooms_work_and_are_apart(found: Any, ordinary: Ordinary) -> None:
    assert found["git"][0] == 0
    assert found["other"][0] == 1
    assert found["owners"] == [ordinary.uid]
    assert found["describe"].startswith("running · ")


def test_what_the_host_does_not_give_is_said_and_helped(found: Any) -> None:
    """Here limits hold by cgroup v2, or, where they are ignored, by what a process may do."""
    checks = {check["what"]: check for check in found["checks"]}
    assert [check for check in checks.values() if check["needed"] and not check["ok"]] == []
    assert "rootless" in checks["podman"]["found"]
    assert not checks["workspace limit"]["ok"]
    if "cgroup v1" in checks["podman"]["found"]:
        assert not checks["memory limit"]["ok"]
        assert not checks["process limit"]["ok"]
        assert all(checks[f"{name} limit"]["mend"] for name in ("memory", "CPU", "process"))
    assert found["beside"] == [0, False, "fine\n"]
    assert found["bomb"][1], "the fork bomb ended at its timeout"
    assert found["hog"][0] != 0, "256 MiB is the limit, 512 were taken"


def test_jobs_outlive_the_daemon(found: Any) -> None:
    assert found["jobs"] == [None]


def test_a_reset_deletes_what_a_room_locked(found: Any) -> None:
    assert found["after reset"] == [0, False, ""]
    assert found["rooms"] == 2


def test_podman_s_service_dies_with_a_daemon_that_is_killed(ordinary: Ordinary) -> None:
    assert int(ordinary.run(python_for(ordinary), "-c", KILLED, code=-signal.SIGKILL)) >= 1
    deadline = time.monotonic() + 10
    while services(ordinary.home / "ipc"):
        assert time.monotonic() < deadline, "Podman's service lives on"
        time.sleep(0.02)
