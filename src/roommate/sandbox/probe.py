"""What this host gives: found out once by running a container as rooms run, remembered in the state folder."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from roommate.errors import EngineError, ImageError
from roommate.sandbox import seccomp
from roommate.sandbox.engine import Engine, Image
from roommate.sandbox.posture import HOME, IDS, RUN, WORKSPACE, Host, Limits, Mount, spec
from roommate.sandbox.service import Service
from roommate.sandbox.workspace import Workspace, quota_problem
from roommate.words import JsonObject

log = logging.getLogger(__name__)

PROBE = "io.roommate.probe"
"""Label of the probe's containers."""

PYTHON = (3, 9)
"""The oldest Python that the hand runs on."""

_CONF = """\
[engine]
runtime = "{runtime}"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
SETUPS: dict[str, str | None] = {
    "the host's own configuration": None,
    "runc with cgroupfs": _CONF.format(runtime="runc"),  # crun refuses hosts where cgroup v1 and v2 are mixed
    "crun with cgroupfs": _CONF.format(runtime="crun"),
}
"""Configurations of Podman (containers.conf), tried in this order; the first one is the host's."""

# Of memory, CPU and processes. systemd gives an ordinary user the memory and pids controllers, often not cpu.
_ASKED = ((True, True, True), (True, False, True), (False, False, False))

# What the container itself sees. It is the same that a room sees, and no path of the host must be guessed.
_FACTS = """
import json, os, sys
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
with open("facts.json", "w") as file:
    json.dump(facts, file)
"""
_NOTHING = asyncio.subprocess.DEVNULL
_SCRIPT = 'exec 2>said; exec python3 -I -S -c "$0"'


class Probe:
    """Finds the Host of a state folder: remembered, or found out anew when Podman, the kernel or the user changed."""

    def __init__(self, *, podman: str, state: Path, run: Path, limits: Limits) -> None:
        self._podman = podman
        self._state = state
        self._run = run
        self._limits = limits
        self._memory = state / "host.json"
        self._key = ""
        self._fit_image = ""

    async def host(self, image: str) -> Host:
        """Raises EngineError when no configuration of Podman works here, ImageError when the image is unfit."""
        self._key = await self._host_key()
        remembered = await asyncio.to_thread(_recall, self._memory, self._key)
        if remembered is not None:
            host, self._fit_image = remembered
            return host
        host = await self._find_out(image)
        log.info("rooms run with %s (%s)", host.setup, host.runtime)
        await self._keep(host)
        return host

    def engine(self, host: Host) -> Engine:
        """Podman, configured as it works here."""
        return self._engine(host.setup)

    async def fit(self, engine: Engine, host: Host, image: str) -> Image:
        """The image, once it is known that a room's hand runs in it. Raises ImageError when it does not."""
        found = await engine.image(image)
        if found.id != self._fit_image:
            await self._try(engine, host, image)
            self._fit_image = found.id
            await self._keep(host)
        return found

    def forget(self) -> None:
        """What was remembered does not work any more."""
        self._memory.unlink(missing_ok=True)

    async def _keep(self, host: Host) -> None:
        kept = {"key": self._key, "host": dataclasses.asdict(host), "image": self._fit_image}
        await asyncio.to_thread(_write, self._memory, kept)

    def _engine(self, setup: str) -> Engine:
        return Engine(Service(self._podman, self._run, SETUPS[setup]))

    async def _host_key(self) -> str:
        try:
            process = await asyncio.create_subprocess_exec(
                self._podman, "--version", stdin=_NOTHING, stdout=asyncio.subprocess.PIPE, stderr=_NOTHING
            )
        except OSError as exc:
            raise EngineError(f"Podman is not there (PODMAN_PATH is {self._podman!r}): apt install podman") from exc
        version, _ = await process.communicate()
        return f"{version.decode().strip()}; {os.uname().release}; uid {os.getuid()}"

    async def _find_out(self, image: str) -> Host:
        """The best of all configurations: with a user namespace before without, more limits before fewer."""
        quota = await asyncio.to_thread(quota_problem, self._state)
        found: list[Host] = []
        problems: list[EngineError] = []
        for setup in SETUPS:
            engine = self._engine(setup)
            try:
                facts = await engine.facts()
                self._fit_image = (await engine.image(image)).id
                for host in _candidates(setup, facts, quota):
                    try:
                        found.append(await self._try(engine, host, image))
                    except EngineError as problem:
                        log.info("%s does not work here: %s", setup, problem)
                        problems.append(problem)
                    else:
                        break
            except EngineError as problem:
                problems.append(problem)
            finally:
                await engine.close()
            if found and _score(found[-1]) == _BEST:
                break
        if not found:
            raise EngineError(f"no container can run here: {problems[-1]}")
        return max(found, key=_score)

    async def _try(self, engine: Engine, host: Host, image: str) -> Host:
        """Run a container as a room's would be; returns `host` with what it really gives."""
        folder = self._state / f"probe-{secrets.token_hex(4)}"
        name = f"roommate-{folder.name}"
        files = Workspace(folder)
        profile = self._state / "seccomp.json"
        try:
            await asyncio.to_thread(files.prepare, host.owner, 0)
            ours = bool(host.seccomp) and await asyncio.to_thread(seccomp.write, Path(host.seccomp), profile)
            made = spec(
                name=name,
                image=image,
                command=["/bin/sh", "-c", _SCRIPT, _FACTS],
                labels={PROBE: "1"},
                mounts=[
                    Mount(files.workspace, WORKSPACE, writable=True),
                    Mount(files.home, HOME, writable=True),
                    Mount(files.home, RUN),
                ],
                limits=self._limits,
                host=host,
                seccomp=profile if ours else None,
            )
            await engine.create(made)
            await engine.start(name)
            code = await engine.wait(name)
            facts = await asyncio.to_thread(_facts_of, files.workspace, image, code)
        finally:
            await engine.remove(name)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        return dataclasses.replace(
            host,
            userns=facts["userns"],
            memory=_holds(facts["memory"], self._limits.memory_mb << 20),
            cpu=_holds(facts["cpu"], int(self._limits.cpus * 100_000)),
            pids=_holds(facts["pids"], self._limits.pids),
            seccomp=host.seccomp if ours and facts["seccomp"] else "",
        )


def _candidates(setup: str, facts: JsonObject, quota: str) -> Iterator[Host]:
    """From the best to the least: first without some limits, then without a user namespace, where that is a choice."""
    host, security = facts["host"], facts["host"]["security"]
    rootless = bool(security["rootless"])
    first_id = None if rootless else free_ids()
    for userns in (True,) if rootless else (True, False) if first_id is not None else (False,):
        for memory, cpu, pids in _ASKED:
            yield Host(
                setup=setup,
                podman=facts["version"]["Version"],
                runtime=host["ociRuntime"]["name"],
                rootless=rootless,
                cgroup=host["cgroupVersion"],
                first_id=first_id if userns else None,
                userns=userns,
                memory=memory,
                cpu=cpu,
                pids=pids,
                seccomp=security["seccompProfilePath"] if security["seccompEnabled"] else "",
                quota=quota,
                driver=facts["store"]["graphDriverName"],
            )


def free_ids(subuid: Path = Path("/etc/subuid"), uid_map: Path = Path("/proc/self/uid_map")) -> int | None:
    """The first host id of a range of IDS that nobody was given (subuid(5)); None where this root has none to give."""
    highest = max(int(start) + int(count) for start, _, count in _fields(uid_map.read_text(), None))
    first = 1 << 20
    for _, start, count in _fields(subuid.read_text() if subuid.exists() else "", ":"):
        first = max(first, int(start) + int(count))
    # Others are given theirs from 100000 upwards: well above them nobody comes near for a long time.
    first = max(first, 1_000_000_000) if highest > 1_000_000_000 + 2 * IDS else first
    return first if first + IDS <= highest else None


def _fields(text: str, separator: str | None) -> Iterator[list[str]]:
    for line in text.splitlines():
        if len(parts := line.split(separator)) == 3:
            yield parts


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


_BEST = (True, True, 3)


def _score(host: Host) -> tuple[bool, bool, int]:
    return host.userns, bool(host.seccomp), host.memory + host.cpu + host.pids


def _recall(path: Path, key: str) -> tuple[Host, str] | None:
    """The host and the id of the image that is known to be fit."""
    try:
        kept = json.loads(path.read_text())
        same = kept["key"] == key and kept["host"]["setup"] in SETUPS
        return (Host(**kept["host"]), str(kept["image"])) if same else None
    except (OSError, ValueError, TypeError, KeyError):
        return None  # of another version of ours, or torn: it is found out again


def _write(path: Path, kept: JsonObject) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(kept, indent=2))
    fresh.replace(path)
