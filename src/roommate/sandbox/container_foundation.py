"""What every room's container stands on: Podman, what the host gives, our seccomp profile; laid when first needed."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from roommate.errors import EngineError
from roommate.sandbox import seccomp
from roommate.sandbox.container_spec import Host
from roommate.sandbox.host_capabilities import Probe
from roommate.sandbox.podman_client import Engine, Image

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """`seccomp` is our profile; None where there was nothing to derive it from."""

    engine: Engine
    host: Host
    seccomp: Path | None


class Foundation:
    """Lays the ground once for all rooms; when that fails, the next who asks tries again."""

    def __init__(self, probe: Probe, state: Path, image: str) -> None:
        self._probe = probe
        self._state = state
        self._profile = state / "seccomp.json"
        self._image = image
        self._ground: Ground | None = None
        self._laying = asyncio.Lock()

    async def ground(self) -> Ground:
        """Raises EngineError when no container can run here, ImageError when the image is unfit."""
        async with self._laying:
            if self._ground is None:
                with self._written():
                    self._ground = await self._lay()
            return self._ground

    async def _lay(self) -> Ground:
        host = await self._probe.host(self._image)
        ours = bool(host.seccomp) and await asyncio.to_thread(seccomp.write, Path(host.seccomp), self._profile)
        for weakness in weaknesses(host):
            log.warning("sandboxes: %s", weakness)
        return Ground(self._probe.engine(host), host, self._profile if ours else None)

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """A state folder that cannot be written, or a full disk, is a reason that people can read."""
        try:
            yield
        except OSError as exc:
            raise EngineError(f"{self._state} cannot be written: {exc.strerror or exc}") from exc

    async def image(self, name: str = "") -> Image:
        """The rooms' image, or another. Raises ImageError when it is missing or no hand can run in it."""
        ground = await self.ground()
        with self._written():
            return await self._probe.fit(ground.engine, ground.host, name or self._image)

    async def prove(self) -> None:
        """Run a container as a room's would be. Raises EngineError, ImageError."""
        ground = await self.ground()
        with self._written():
            await self._probe.prove(ground.engine, ground.host, self._image)

    async def clear(self) -> None:
        """Remove what a daemon that was killed left behind when it looked at this host."""
        await self._probe.clear((await self.ground()).engine)

    def doubt(self) -> None:
        """A container did not start: the next daemon looks at the host anew."""
        self._probe.forget()

    async def close(self) -> None:
        ground, self._ground = self._ground, None
        if ground is not None:
            await ground.engine.close()


def weaknesses(host: Host) -> list[str]:
    """What rooms should have and this host does not give, a line each."""
    limits = {"memory": host.memory, "CPU": host.cpu, "process": host.pids}
    found = [f"this host does not apply the {name} limit ({_why(host)})" for name, holds in limits.items() if not holds]
    if not host.userns:
        found.append("no user namespace: user ids in a room are the host's")
    if not host.seccomp:
        found.append("our seccomp profile is not in force: Podman's own default one is, at best")
    if host.quota:
        found.append(f"no limit for workspaces: {host.quota}")
    return found


def _why(host: Host) -> str:
    return (
        "rootless Podman needs cgroup v2 for it" if host.rootless and host.cgroup == "v1" else f"cgroup {host.cgroup}"
    )
