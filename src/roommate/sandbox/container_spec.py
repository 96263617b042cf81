"""What a room's container may and may not: the one place that says it, as the object that Podman makes it from."""

from __future__ import annotations

import hashlib
import json
import os
import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roommate.domain import JsonObject

USER = 1000
"""Who works in a room, as seen in it."""
IDS = 65536
"""How many user and group ids a room's user namespace has."""

STOP = 37
"""SIGRTMIN+3: what a room's programs send each other is none of it, and what runs the room ignores the usual ones."""

STATE = "io.roommate.state"
"""Label of each container: the state folder of the daemon that it belongs to."""

WORKSPACE = "/workspace"
HOME = "/home/room"
RUN = "/run/room"
HOOKS = "/run/hooks"
SPOOL_OUT, SPOOL_IN = "/run/spool/out", "/run/spool/in"

PROXY = "http://127.0.0.1:3128"
"""The room's way out, see features/egress/proxy.py."""
ENVIRONMENT = {
    "HOME": HOME,
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), PROXY),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    "NODE_USE_ENV_PROXY": "1",  # without it Node's own fetch knows of no proxy
}

GIT = "http://127.0.0.1:9418/"
"""Where the repositories of the forge are in a room, see features/github/git_server.py."""
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO")
"""Where programs look for whom to trust: most of them, curl and uv too; pip and Requests; Node and npm; git."""

_MIB = 1 << 20
_TMP_MB, _SHM_MB = 512, 64
_CPU_PERIOD = 100_000  # microseconds
_OPEN_FILES = 65536
_TASKS = 16384
_CHARGED = {"sigpending": 4096, "msgqueue": 102_400}
"""Signals that wait, and bytes of message queues: charged to who made a room's user namespace as well, so that a room
has an eighth of what that one may have at the most."""
_PTYS = 256
"""Terminals that a room may have open: of those that the host has for all containers an eighth at most."""
_PART = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """What one room may use; ``_mb`` is MiB. There is no swap. `workspace_mb` 0 is no limit for the workspace."""

    memory_mb: int = 2048
    cpus: float = 2.0
    pids: int = 512
    workspace_mb: int = 10240

    @property
    def shm(self) -> int:
        """MiB of /dev/shm."""
        return min(_SHM_MB, self.memory_mb // 16)

    @property
    def tmp(self) -> int:
        """MiB of /tmp. What is in it and in /dev/shm is in the room's memory, which they must not fill: where nothing
        is left for a command, nothing is for the `rm` either. So both have a quarter of it."""
        return min(_TMP_MB, self.memory_mb // 4 - self.shm)


@dataclass(frozen=True, slots=True)
class Host:
    """What this host gives, as a real container showed it (see probe.py). Stored as JSON."""

    setup: str
    """Name of the configuration of Podman that works here."""
    podman: str
    runtime: str
    rootless: bool
    cgroup: str
    """``v1`` or ``v2``."""
    first_id: int | None
    """Host id of id 0 in a user namespace, of a room with ids of its own or of all others; None without one, and
    rootless, where Podman maps."""
    ranges: int
    """How many ranges of IDS there are from there on: 1 where all rooms have the same."""
    userns: bool
    memory: bool
    cpu: bool
    pids: bool
    """Whether the limit really holds."""
    seccomp: str
    """Path of the host's default profile, empty when ours could not be used."""
    quota: str
    """Why workspaces cannot be limited here; empty when they can."""
    driver: str
    """Podman's storage driver."""

    @property
    def root(self) -> int:
        """Host id of who is root in a room, whom nothing there is run as."""
        return os.getuid() if self.rootless else self.first_id or 0

    @property
    def owner(self) -> int:
        """Host id of who works in a room: owns its files and its socket."""
        if self.rootless:
            return os.getuid()
        return USER if self.first_id is None else self.first_id + USER


@dataclass(frozen=True, slots=True)
class Mount:
    source: Path
    target: str
    writable: bool = False


def spec(
    *,
    name: str,
    image: str,
    command: Sequence[str],
    labels: Mapping[str, str],
    mounts: Sequence[Mount],
    limits: Limits,
    host: Host,
    seccomp: Path | None,
    forge: Sequence[str] = (),
    certificates: str = "",
) -> JsonObject:
    """The container as a SpecGenerator object of Podman's API (libpod, POST containers/create).

    `forge` is what the URLs of the forge's repositories begin with. `certificates` is the file, in the container, of
    those that its programs trust; "" leaves that to the image.
    """
    made: JsonObject = {
        "name": name,
        "image": image,
        "entrypoint": list(command),
        "command": [],
        "init": True,  # without it zombies fill the pids limit, and stopping takes ten seconds
        "stop_timeout": 2,
        "stop_signal": STOP,
        "labels": dict(labels),
        "hostname": "room",
        "env": ENVIRONMENT | _git(forge) | (dict.fromkeys(TRUST, certificates) if certificates else {}),
        "httpproxy": False,
        "user": f"{USER}:{USER}",
        "work_dir": WORKSPACE,
        "log_configuration": {"driver": "none"},
        "cap_drop": ["all"],
        "no_new_privileges": True,
        "read_only_filesystem": True,
        "read_write_tmpfs": False,  # else /run and /var/tmp become tmpfs of half the memory each
        "netns": {"nsmode": "none"},
        "cgroupns": {"nsmode": "private"},
        "use_image_resolve_conf": True,
        "mounts": [
            _tmpfs("/tmp", limits.tmp, "exec"),  # noqa: S108
            _tmpfs("/dev/shm", limits.shm, "noexec"),  # noqa: S108 — Podman's own is read-only since 5.0, as the root is
            _terminals(),
            *(_bind(mount) for mount in mounts),
        ],
        "image_volume_mode": "ignore",  # an image's volumes would be writable, without a limit
        "resource_limits": _resources(limits, host),
        "r_limits": _rlimits(limits, host),
        **_user_namespace(host),
    }
    if seccomp is not None:
        made["seccomp_profile_path"] = str(seccomp)
    return made


def digest(made: JsonObject, seccomp: Path | None) -> str:
    """Says whether a container that is there was made as it would be made now."""
    profile = seccomp.read_bytes() if seccomp else b""
    return hashlib.sha256(json.dumps(made, sort_keys=True).encode() + profile).hexdigest()[:32]


def _git(forge: Sequence[str]) -> dict[str, str]:
    """Makes git look for those repositories where the daemon is, whatever a room's own configuration says.

    See GIT_CONFIG_COUNT in git-config(1): since git 2.31.
    """
    made = {"GIT_CONFIG_COUNT": str(len(forge))}
    for number, prefix in enumerate(forge):
        made |= {f"GIT_CONFIG_KEY_{number}": f"url.{GIT}.insteadOf", f"GIT_CONFIG_VALUE_{number}": prefix}
    return made if forge else {}


def _user_namespace(host: Host) -> JsonObject:
    if not host.userns:
        return {}
    if host.rootless:
        # Who works in the room is, outside of it, who runs the daemon: both own the workspace. Since Podman 4.3.
        return {"userns": {"nsmode": "keep-id", "value": f"uid={USER},gid={USER}"}}
    mapping = [{"container_id": 0, "host_id": host.first_id, "size": IDS}]
    return {
        "userns": {"nsmode": "private"},
        "idmappings": {"HostUIDMapping": False, "HostGIDMapping": False, "UIDMap": mapping, "GIDMap": mapping},
    }


def _resources(limits: Limits, host: Host) -> JsonObject:
    """Some hosts refuse a container with a limit that they cannot give, so only those are asked for that hold."""
    asked: JsonObject = {}
    if host.memory:
        asked["memory"] = {"limit": limits.memory_mb * _MIB, "swap": limits.memory_mb * _MIB}
    if host.cpu:
        asked["cpu"] = {"quota": int(limits.cpus * _CPU_PERIOD), "period": _CPU_PERIOD}
    if host.pids:
        asked["pids"] = {"limit": limits.pids}
    return asked


def _rlimits(limits: Limits, host: Host) -> list[JsonObject]:
    """Limits of a process, never above our own: raising them takes a capability that a root in a container lacks."""
    tasks, data = _TASKS, None
    if host.userns and not host.pids:
        tasks = limits.pids  # counted by user, which is by room: each has a user namespace of its own
    if not host.memory:
        data = limits.memory_mb * _MIB  # of one process only, but it stops the usual accident
    wanted = {"nofile": _OPEN_FILES, "nproc": tasks, "data": data, "core": 1}  # core 1: nor to a program, see core(5)
    made = []
    for name, most in (wanted | _CHARGED).items():
        if most is not None:
            hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
            if name in _CHARGED and hard != resource.RLIM_INFINITY:
                hard //= _PART
            limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
            made.append({"type": name, "soft": limit, "hard": limit})
    return made


def _tmpfs(target: str, megabytes: int, programs: str) -> JsonObject:
    options = ["rw", programs, "nosuid", "nodev", f"size={megabytes}m", "mode=1777"]
    return {"type": "tmpfs", "source": "tmpfs", "destination": target, "options": options}


def _terminals(kernel: Path = Path("/proc/sys/kernel/pty")) -> JsonObject:
    """As Podman has it, with a limit: see pty(7) for the host's, and devpts in the kernel's documentation."""
    try:
        given = int((kernel / "max").read_text()) - int((kernel / "reserve").read_text())
    except (OSError, ValueError):
        given = _PTYS * _PART
    options = ["rw", "noexec", "nosuid", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    options.append(f"max={max(1, min(_PTYS, given // _PART))}")
    return {"type": "devpts", "source": "devpts", "destination": "/dev/pts", "options": options}


def _bind(mount: Mount) -> JsonObject:
    options = ["rbind", "rw" if mount.writable else "ro", "nosuid", "nodev"]
    return {"type": "bind", "source": str(mount.source), "destination": mount.target, "options": options}
