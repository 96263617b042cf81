"""Podman, as much of it as rooms need: create, start, stop, remove, look. The one owner of the library `podman`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import select
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roommate.domain import JsonObject
from roommate.errors import EngineError, ImageError
from roommate.sandbox.podman_service_process import Service

log = logging.getLogger(__name__)

IDLE_SECONDS = 60
"""A service that nobody asks wakes fifty times a second and takes 40 MB (Podman 4.3): after so long it ends."""

HALF_REMOVED = "half removed"
"""The state of a container that has nothing on the disk any more: it can be removed, and no more."""

_CALL_SECONDS = 60
_CLOSE_SECONDS = 0.5
_END_SECONDS = 1
"""In which a process ends that Podman says it has ended, or has given up on."""
_THREADS = 8
_PROCESS_ENDED = "no such process"
"""Of a call that read /proc while a process of the container ended: there is nothing wrong, and nothing was done."""


@dataclass(frozen=True, slots=True)
class Image:
    """`size` in bytes."""

    id: str
    size: int
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Container:
    """`state` is Podman's word, such as created, running, paused, exited, stopping, removing; or HALF_REMOVED."""

    name: str
    state: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Load:
    """What a container uses now: `memory` and `memory_limit` in bytes, `processes` with their threads."""

    memory: int
    memory_limit: int
    processes: int


class Engine:
    """Calls of Podman's API, each in a thread, since the library blocks.

    A call that is cancelled is carried out all the same. Every method raises EngineError when Podman is not there, went
    away in mid-call (it is started again by the next call), or refuses.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="podman")
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._calls: set[asyncio.Future[Any]] = set()
        self._resting: asyncio.TimerHandle | None = None

    async def close(self) -> None:
        """Containers stay as they are."""
        if self._resting:
            self._resting.cancel()
        # A service that is told to end while it makes or starts a container waits a second for itself.
        await self.settled(_CLOSE_SECONDS)
        await self._service.close()
        await self.settled(_CLOSE_SECONDS)  # they end with their service, and so do the threads that wait for them
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def settled(self, seconds: float) -> None:
        """Wait until the calls are carried out that are on their way, cancelled ones too; so long at most."""
        if self._calls:
            await asyncio.wait(self._calls, timeout=seconds)

    async def facts(self) -> JsonObject:
        """`podman info`: host, store and version. A fifth of a second."""
        found: JsonObject = (await self._ask("GET", "/info")).json()
        return found

    async def image(self, name: str) -> Image:
        """Raises ImageError when it is not there."""
        answer = await self._ask("GET", f"/images/{name}/json", fine=(404,))
        if answer.status_code == 404:
            raise ImageError(f"the image {name} is not there: run `roommate image build`, or set SANDBOX_IMAGE")
        found = answer.json()
        return Image(found["Id"], found["Size"], found.get("Labels") or {})

    async def create(self, spec: JsonObject) -> list[str]:
        """Make a container of a SpecGenerator object; returns Podman's warnings."""
        # podman-py's own create() knows neither id mappings nor a seccomp file nor tmpfs options.
        answer = await self._ask("POST", "/containers/create", body=spec)
        return list(answer.json().get("Warnings") or ())

    async def start(self, name: str) -> None:
        await self._ask("POST", f"/containers/{name}/start", fine=(304,))

    async def stop(self, name: str, grace: int = 2) -> None:
        """Its stop signal, and SIGKILL after `grace` seconds. Fine when it does not run or is gone."""
        await self._ask("POST", f"/containers/{name}/stop", {"timeout": grace}, fine=(304, 404))

    async def wait(self, name: str) -> int:
        """Until it has ended; its exit code."""
        answer = await self._ask("POST", f"/containers/{name}/wait", {"condition": "stopped"})
        return int(answer.text)

    async def remove(self, name: str) -> None:
        """Kill and remove it. Fine when it is gone already; what it wrote into mounted folders stays.

        Asked twice, Podman forgets a container whose processes it could not end (stuck in the kernel, or frozen by
        others): so it is asked only when they have.
        """
        problem = ""
        await self._end(name)
        how = {"force": "true", "timeout": 0, "v": "true"}
        answer = await self._ask("DELETE", f"/containers/{name}", how, fine=(404, 500))
        if answer.status_code == 500:
            problem = _message(answer)
        elif answer.status_code == 200:
            problem = "; ".join(str(one["Err"]) for one in answer.json() or () if one.get("Err"))
        # With a user namespace Podman at times reports a busy shm of a container that it did remove.
        if problem and await self.find(name) is not None:
            raise EngineError(f"Podman cannot remove {name}: {problem}")

    async def _end(self, name: str) -> None:
        """See its processes gone. A container that nobody can look at has none."""
        answer = await self._ask("GET", f"/containers/{name}/json", fine=(404, 500))
        state = answer.json()["State"] if answer.status_code == 200 else {}
        if not (pid := int(state.get("Pid") or 0)) or state["Status"] == "paused":  # Podman ends it as it removes it
            return
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            await self._ask("POST", f"/containers/{name}/stop", {"timeout": 0}, fine=(304, 404, 500))
            if not await asyncio.to_thread(_ended, process, _END_SECONDS * self._service.patience):
                raise EngineError(f"Podman cannot end {name}: its process {pid} is stuck")
        finally:
            os.close(process)

    async def find(self, name: str) -> Container | None:
        answer = await self._ask("GET", f"/containers/{name}/json", fine=(404, 500))
        if answer.status_code == 500:  # it died while Podman read its process in /proc, most likely
            answer = await self._ask("GET", f"/containers/{name}/json", fine=(404, 500))
        if answer.status_code == 404:
            return None
        if answer.status_code == 500:
            if "layer not known" in (message := _message(answer)):  # a Podman that was killed had begun to remove it
                return Container(name, HALF_REMOVED, {})
            raise EngineError(f"Podman refuses: {message}")
        found = answer.json()
        return Container(name, found["State"]["Status"], found["Config"].get("Labels") or {})

    async def process(self, name: str) -> int:
        """The host's id of its first process; 0 when it does not run."""
        return int((await self._ask("GET", f"/containers/{name}/json")).json()["State"]["Pid"])

    async def shares_image(self, name: str, image: str) -> bool:
        """Does the container stand on the image's own layers, or on a copy that was made for its user ids?"""
        made = (await self._ask("GET", f"/containers/{name}/json")).json()["GraphDriver"]["Data"]
        of_image = (await self._ask("GET", f"/images/{image}/json")).json()["GraphDriver"]["Data"]
        return bool(top := of_image.get("UpperDir")) and top in (made.get("LowerDir") or "").split(":")

    async def list(self, label: str, value: str) -> list[Container]:
        filters = json.dumps({"label": [f"{label}={value}"]})
        answer = await self._ask("GET", "/containers/json", {"all": "true", "filters": filters})
        return [Container(one["Names"][0], one["State"], one.get("Labels") or {}) for one in answer.json() or ()]

    async def load(self, name: str) -> Load | None:
        """None where Podman cannot tell: rootless on cgroup v1."""
        answer = await self._ask("GET", "/containers/stats", {"stream": "false", "containers": name}, fine=(404, 409))
        stats = answer.json().get("Stats") if answer.status_code == 200 else None
        return Load(stats[0]["MemUsage"], stats[0]["MemLimit"], stats[0]["PIDs"]) if stats else None

    async def _ask(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        body: JsonObject | None = None,
        fine: tuple[int, ...] = (),
    ) -> Any:
        """One call; gives the response (of the library requests). A status from 400 on raises unless it is `fine`."""
        answer = await self._asked(method, path, params, body)
        if answer.status_code == 500 and method != "DELETE" and _PROCESS_ENDED in _message(answer):
            answer = await self._asked(method, path, params, body)  # not a removal: see `remove`
        if answer.status_code >= 400 and answer.status_code not in fine:
            message = _message(answer)
            log.debug("%s %s: %d %s", method, path, answer.status_code, message)
            raise (ImageError if _is_about_image(message) else EngineError)(f"Podman refuses: {message}")
        return answer

    async def _asked(self, method: str, path: str, params: Mapping[str, Any] | None, body: JsonObject | None) -> Any:
        loop = asyncio.get_running_loop()
        async with self._connecting:
            socket = await self._service.ready()
            if self._client is None:
                self._client = await loop.run_in_executor(
                    self._threads, _connect, socket, _CALL_SECONDS * self._service.patience
                )
        call = loop.run_in_executor(self._threads, _call, self._client, method, path, params, body)
        self._calls.add(call)
        call.add_done_callback(self._ended)
        return await asyncio.shield(call)

    def _ended(self, call: asyncio.Future[Any]) -> None:
        self._calls.discard(call)
        if not call.cancelled() and call.exception() is not None:  # whoever asked may have gone away
            self._service.doubt()
        if self._resting:
            self._resting.cancel()
        self._resting = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._rest)

    def _rest(self) -> None:
        if not self._calls and not self._connecting.locked():
            self._service.rest()


def _connect(socket: Path, seconds: float) -> Any:
    from podman import PodmanClient  # a third of a second and 18 MB: never on the way to a ready daemon

    return PodmanClient(base_url=f"unix://{socket}", timeout=seconds, max_pool_size=_THREADS).api


def _call(client: Any, method: str, path: str, params: Mapping[str, Any] | None, body: JsonObject | None) -> Any:
    from podman.errors import PodmanError

    ask = {"GET": client.get, "POST": client.post, "DELETE": client.delete}[method]
    given = {} if body is None else {"data": json.dumps(body), "headers": {"Content-Type": "application/json"}}
    try:
        return ask(path, params=params, **given)
    except (PodmanError, OSError) as exc:  # requests' errors are OSErrors; a refusal of Podman comes as a response
        raise EngineError("Podman's service went away in mid-call; it is started again by the next one") from exc


def _ended(process: int, seconds: float) -> bool:
    """Has the process of this pidfd ended, or does it within so many seconds? With the first of a container all have
    (pid_namespaces(7)). Blocks."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    return bool(waiting.poll(seconds * 1000))


def _message(answer: Any) -> str:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    return str(body.get("message") or answer.text or f"status {answer.status_code}").strip().splitlines()[0]


def _is_about_image(message: str) -> bool:
    return "no such image" in message or "image not known" in message
