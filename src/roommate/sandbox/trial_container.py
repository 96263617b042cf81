"""One container as a room's would be, run to see what this host and this image really give."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import shutil
from pathlib import Path

from roommate.domain import JsonObject
from roommate.errors import EngineError, ImageError
from roommate.sandbox import seccomp
from roommate.sandbox.agent_hooks import SETTINGS
from roommate.sandbox.container_spec import HOME, HOOKS, RUN, SPOOL_IN, SPOOL_OUT, STATE, WORKSPACE, Host, Limits, spec
from roommate.sandbox.hand import HandHost
from roommate.sandbox.mounts import Layout
from roommate.sandbox.podman_client import Engine
from roommate.sandbox.workspace import Workspace

PYTHON = (3, 9)
"""The oldest Python that the hand runs on."""

# What the container itself sees. It is the same that a room sees, and no path of the host must be guessed.
FACTS = """
import json, os, socket, sys
def read(*paths):
    for path in paths:
        try:
            with open("/sys/fs/cgroup/" + path) as file:
                return file.read().split()
        except OSError:
            pass
    return ["max"]
with open("/proc/self/status") as file:
    status = dict(line.rstrip().split(":", 1) for line in file)
with open("/proc/self/uid_map") as file:
    mapped = file.read().split()
quota = read("cpu.max", "cpu/cpu.cfs_quota_us", "cpu,cpuacct/cpu.cfs_quota_us")
facts = {
    "python": sys.version_info[:2],
    "seccomp": status["Seccomp"].strip() == "2",
    "userns": mapped[:3] != ["0", "0", "4294967295"],
    "memory": read("memory.max", "memory/memory.limit_in_bytes")[0],
    "cpu": quota[0],
    "pids": read("pids.max", "pids/pids.max")[0],
}
shut = []
def trying(path, work):
    try:
        work(path)
    except OSError as error:
        shut.append(f"{path} ({error.strerror})")
def read_all(path):
    if os.path.isdir(path):
        for name in os.listdir(path):
            trying(os.path.join(path, name), read_all)
    elif path.endswith(".sock"):
        with socket.socket(socket.AF_UNIX) as hand:
            hand.connect(path)
    else:
        open(path, "rb").close()
def write(path):
    with open(path + "/trial", "x") as file:
        pass
    os.unlink(path + "/trial")
for path in sys.argv[1].split():
    trying(path, read_all)
for path in sys.argv[2].split():
    trying(path, write)
facts["shut"] = shut
with open("facts.json", "w") as file:
    json.dump(facts, file)
"""
_READ = " ".join((RUN, "/etc/hosts", HOOKS, SPOOL_IN, *(f"/etc/{name}" for name in SETTINGS)))
_WRITTEN = " ".join((WORKSPACE, HOME, SPOOL_OUT, "/tmp", "/dev/shm"))  # noqa: S108
_SCRIPT = 'exec 2>said; exec python3 -I -S -c "$@"'


_PREFIX = "roommate-"
_FOLDERS = ("probe-*", "quota-*")
_SETTLE_SECONDS = 2


async def clear(engine: Engine, state: Path, run: Path) -> None:
    """Remove what trials left behind whose daemon was killed. No trial of this state may run."""
    for container in await engine.list(STATE, str(state)):
        if container.name.startswith(f"{_PREFIX}probe-"):
            await engine.remove(container.name)
    await asyncio.to_thread(_delete_folders, state, run)


async def trial(engine: Engine, host: Host, image: str, state: Path, run: Path, limits: Limits) -> Host:
    """Run a container as a room's would be, with its files laid out as a room's; gives `host` with what it really has.

    Raises EngineError when it does not start, or its user cannot get at what a room needs; ImageError.
    """
    name = f"probe-{secrets.token_hex(4)}"
    files = Workspace(state / name)
    layout = Layout(files, run / name)
    name = _PREFIX + name
    profile = state / "seccomp.json"
    hand = HandHost(layout.socket)
    try:
        await asyncio.to_thread(files.prepare, host.owner, 0)
        await asyncio.to_thread(layout.lay_out, host.root)
        await hand.open()
        ours = bool(host.seccomp) and await asyncio.to_thread(seccomp.write, Path(host.seccomp), profile)
        made = spec(
            name=name,
            image=image,
            command=["/bin/sh", "-c", _SCRIPT, "sh", FACTS, _READ, _WRITTEN],
            labels={STATE: str(state)},
            mounts=layout.mounts(),
            limits=limits,
            host=host,
            seccomp=profile if ours else None,
        )
        await engine.create(made)
        await engine.start(name)
        shared = await engine.shares_image(name, image)
        code = await engine.wait(name)
        facts = await asyncio.to_thread(_facts_of, files.workspace, image, code)
    finally:
        await hand.close()
        await engine.settled(_SETTLE_SECONDS)  # a `create` that was cancelled comes about all the same
        await engine.remove(name)
        await asyncio.to_thread(shutil.rmtree, layout.run, ignore_errors=True)
        await asyncio.to_thread(files.delete)
    if shut := facts["shut"]:
        raise EngineError(
            f"a container starts, and its user cannot get at {', '.join(shut[:3])}: see the modes and the owners "
            f"of what is in {state} and {run}"
        )
    return dataclasses.replace(
        host,
        userns=facts["userns"],
        ranges=host.ranges if facts["userns"] and shared else 1,  # else each of them would need a copy of the image
        memory=_holds(facts["memory"], limits.memory_mb << 20),
        cpu=_holds(facts["cpu"], int(limits.cpus * 100_000)),
        pids=_holds(facts["pids"], limits.pids),
        seccomp=host.seccomp if ours and facts["seccomp"] else "",
    )


def _delete_folders(state: Path, run: Path) -> None:
    for pattern in _FOLDERS:
        for folder in state.glob(pattern):
            Workspace(folder).delete()
        for folder in run.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def _facts_of(workspace: Path, image: str, code: int) -> JsonObject:
    script_ran = (workspace / "said").exists()
    if code == 127 or (code in (1, 126) and not script_ran):  # what an init says differs
        raise ImageError(
            f"the image {image} has no {'python3' if script_ran else '/bin/sh'}, which a room's hand needs"
        )
    if code != 0:
        said = (workspace / "said").read_text(errors="replace")[:1000] if script_ran else ""
        raise EngineError(f"a trial container of {image} ended with {code}: {said.strip() or 'it said nothing'}")
    facts: JsonObject = json.loads((workspace / "facts.json").read_bytes()[:10_000])
    if tuple(facts["python"]) < PYTHON:
        has, needed = (".".join(map(str, version)) for version in (facts["python"], PYTHON))
        raise ImageError(f"the image {image} has Python {has}, and a room's hand needs {needed} or newer")
    return facts


def _holds(shown: str, asked: int) -> bool:
    return shown.isdigit() and int(shown) <= asked
