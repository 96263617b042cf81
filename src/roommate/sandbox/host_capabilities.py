"""What this host gives: found out once by running a container as rooms run, remembered in the state folder."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from roommate.domain import JsonObject
from roommate.errors import EngineError
from roommate.host import deadlines, durable_files, folder_modes
from roommate.sandbox.container_spec import Host, Limits
from roommate.sandbox.id_ranges import free_ids
from roommate.sandbox.podman_client import Engine, Image
from roommate.sandbox.podman_service_process import Service
from roommate.sandbox.run_host_program import communicate, start
from roommate.sandbox.trial_container import clear, trial
from roommate.sandbox.workspace import quota_problem

log = logging.getLogger(__name__)

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

_VERSION_SECONDS = 10
_MOST_FIT = 50


class Probe:
    """Finds the Host of a state folder: remembered, or found out anew when Podman, the kernel or the user changed."""

    def __init__(self, *, podman: str, state: Path, run: Path, limits: Limits, patience: float = 1.0) -> None:
        self._podman = podman
        self._state = state
        self._run = run
        self._limits = limits
        self._patience = patience
        self._memory = state / "host.json"
        self._key = ""
        self._fit = set[str]()
        """Ids of images that are known to be fit."""
        self._trying = asyncio.Lock()

    async def host(self, image: str) -> Host:
        """Raises EngineError when no configuration of Podman works here, ImageError when the image is unfit."""
        self._key = await self._host_key()
        remembered = await asyncio.to_thread(_recall, self._memory, self._key)
        if remembered is not None:
            host, self._fit = remembered
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
        async with self._trying:
            if found.id not in self._fit:
                await self._trial(engine, host, image)
                self._fit.add(found.id)
                await self._keep(host)
        return found

    async def prove(self, engine: Engine, host: Host, image: str) -> None:
        """Run a container as rooms run, whatever is remembered. Raises EngineError, ImageError."""
        async with self._trying:
            await self._trial(engine, host, image)

    async def clear(self, engine: Engine) -> None:
        """Remove what a probe that was killed left behind."""
        async with self._trying:
            await clear(engine, self._state, self._run)

    def forget(self) -> None:
        """What was remembered does not work any more."""
        self._memory.unlink(missing_ok=True)

    async def _keep(self, host: Host) -> None:
        kept = {"key": self._key, "host": dataclasses.asdict(host), "image": " ".join(sorted(self._fit)[:_MOST_FIT])}
        await asyncio.to_thread(_write, self._memory, kept)

    async def _trial(self, engine: Engine, host: Host, image: str) -> Host:
        return await trial(engine, host, image, self._state, self._run, self._limits)

    def _engine(self, setup: str) -> Engine:
        return Engine(Service(self._podman, self._run, SETUPS[setup], self._patience))

    async def _host_key(self) -> str:
        seconds = _VERSION_SECONDS * self._patience
        try:
            async with deadlines.within(seconds):
                version, _ = await communicate(await start((self._podman, "--version")))
        except TimeoutError as exc:
            raise EngineError(f"Podman hangs: `{self._podman} --version` took over {seconds:g} s") from exc
        except (EngineError, OSError) as exc:
            raise EngineError(f"Podman is not there (PODMAN_PATH is {self._podman!r}): apt install podman") from exc
        return f"{version.decode().strip()}; {os.uname().release}; uid {os.getuid()}"

    async def _find_out(self, image: str) -> Host:
        """The best of all configurations: with a user namespace before without, more limits before fewer."""
        quota = await asyncio.to_thread(quota_problem, self._state)
        found: list[Host] = []
        problems: list[str] = []
        for setup in SETUPS:
            try:
                found.append(await self._try(setup, image, quota))
            except EngineError as problem:
                problems.append(f"with {setup}: {problem}")
                log.log(logging.DEBUG if found else logging.INFO, "rooms cannot run with %s: %s", setup, problem)
            if found and _score(found[-1]) == _BEST:
                break
        if not found:
            raise EngineError(f"no container can run here; {'; '.join(problems)}")
        return max(found, key=_score)

    async def _try(self, setup: str, image: str, quota: str) -> Host:
        engine = self._engine(setup)
        try:
            facts = await engine.facts()
            self._fit = {(await engine.image(image)).id}
            last: EngineError | None = None
            for host in _candidates(setup, facts, quota):
                try:
                    return await self._trial(engine, host, image)
                except EngineError as problem:
                    last = problem
            assert last is not None
            raise last
        finally:
            await engine.close()


def _candidates(setup: str, facts: JsonObject, quota: str) -> Iterator[Host]:
    """From the best to the least: first without some limits, then without a user namespace, where that is a choice."""
    host, security = facts["host"], facts["host"]["security"]
    rootless = bool(security["rootless"])
    ids = None if rootless else free_ids()
    for userns in (True,) if rootless else (True, False) if ids else (False,):
        for memory, cpu, pids in _ASKED:
            yield Host(
                setup=setup,
                podman=facts["version"]["Version"],
                runtime=host["ociRuntime"]["name"],
                rootless=rootless,
                cgroup=host["cgroupVersion"],
                first_id=ids[0] if ids and userns else None,
                ranges=len(ids) if ids and userns else 1,
                userns=userns,
                memory=memory,
                cpu=cpu,
                pids=pids,
                seccomp=security["seccompProfilePath"] if security["seccompEnabled"] else "",
                quota=quota,
                driver=facts["store"]["graphDriverName"],
            )


_BEST = (True, True, 3)


def _score(host: Host) -> tuple[bool, bool, int]:
    return host.userns, bool(host.seccomp), host.memory + host.cpu + host.pids


def _recall(path: Path, key: str) -> tuple[Host, set[str]] | None:
    """The host and the ids of the images that are known to be fit."""
    try:
        kept = json.loads(path.read_text())
        same = kept["key"] == key and kept["host"]["setup"] in SETUPS
        return (Host(**kept["host"]), set(str(kept["image"]).split())) if same else None
    except (OSError, ValueError, TypeError, KeyError):
        return None  # of another version of ours, or torn: it is found out again


def _write(path: Path, kept: JsonObject) -> None:
    folder_modes.private(path.parent)
    durable_files.replace(path, json.dumps(kept, indent=2).encode())
