"""What an operator should know of the sandboxes: what works on this host, what does not, how to mend it."""

from __future__ import annotations

import asyncio
import os
import pwd

from roommate.domain import Check
from roommate.errors import ImageError, SandboxError
from roommate.sandbox import agent_hooks, empty_shared_keyring, id_ranges, inotify_limit_per_room
from roommate.sandbox.container import ContainerPlan
from roommate.sandbox.container_foundation import Foundation
from roommate.sandbox.container_spec import IDS, Host, Limits
from roommate.sandbox.image import ABOVE_BASE, STAGE, agents_of, lacking
from roommate.text.amounts import size

_CGROUP_V2 = "boot with systemd.unified_cgroup_hierarchy=1, or run the daemon as root"


def failed(problem: SandboxError) -> Check:
    """Nothing can run; the problem's own words say what to do."""
    if isinstance(problem, ImageError):
        return Check(
            "image",
            False,
            str(problem),
            "run `roommate image build`, or set SANDBOX_IMAGE to an image with sh and python3",
        )
    return Check(
        "podman",
        False,
        str(problem),
        "see that `podman run --rm IMAGE true` works for this user, with Podman 4.3 or newer",
    )


async def examine(foundation: Foundation, plan: ContainerPlan) -> list[Check]:
    """Raises SandboxError when no container can run."""
    host = (await foundation.ground()).host
    who = "rootless" if host.rootless else "as root"
    return [
        Check("podman", True, f"Podman {host.podman}, {host.runtime}, {who}, {host.setup}, cgroup {host.cgroup}"),
        *await _image(foundation, plan),
        _storage(host),
        _user_namespace(host),
        _limit(host, "memory", host.memory, f"{plan.limits.memory_mb} MiB, no swap"),
        _limit(host, "CPU", host.cpu, f"{plan.limits.cpus:g} CPUs"),
        _limit(host, "process", host.pids, f"{plan.limits.pids} processes and threads"),
        _seccomp(host),
        await asyncio.to_thread(empty_shared_keyring.examine, host.root),
        *await asyncio.to_thread(lambda: inotify_limit_per_room.examine(shared=host.ranges == 1)),
        _quota(host, plan),
        await asyncio.to_thread(agent_hooks.examine, plan.state),
    ]


async def _room(foundation: Foundation) -> Check:
    """What works was remembered when it was found out: is it still so?"""
    what = "a room"
    try:
        await foundation.prove()
    except SandboxError as problem:
        return Check(what, False, str(problem), "mend that; rooms that run go on until they are needed again")
    return Check(what, True, "one like it starts, and its user has the files that it needs")


async def _image(foundation: Foundation, plan: ContainerPlan) -> list[Check]:
    try:
        image = await foundation.image()
    except ImageError as problem:
        return [failed(problem)]
    known = image.labels.get(STAGE, "")
    stage = f", stage {known}" if known else ""
    without = [f"no {ABOVE_BASE[one].removeprefix('a ')}" for one in lacking(image.labels) if one == "browser"]
    agents = ", ".join(f"{name} {version}" for name, version in agents_of(image.labels).items())
    mend = "make an image that has them: `roommate image build --stage {}`"
    return [
        Check("image", True, ", ".join((f"{plan.image}{stage}", size(image.size), "has python3", *without))),
        await _room(foundation),
        *([Check("build tools", False, "none", mend.format("core"), needed=False)] if known == "base" else []),
        Check(
            "coding agents",
            bool(agents),
            agents or "none in the image, as its labels say",
            mend.format("agents"),
            needed=False,
        ),
    ]


LIMITS_SCRIPT = """\
cd /sys/fs/cgroup
echo memory $(cat memory.max || cat memory/memory.limit_in_bytes)
echo cpu $(cat cpu.max || echo $(cat cpu/cpu.cfs_quota_us) $(cat cpu/cpu.cfs_period_us))
echo pids $(cat pids.max || cat pids/pids.max)
"""
"""Asks the kernel, from within a container, what it may use: cgroups of version 2, else of version 1."""


def limits_seen(printed: str, limits: Limits) -> list[Check]:
    """What LIMITS_SCRIPT printed, beside what was asked for."""
    seen = {words[0]: words[1:] for line in printed.splitlines() if (words := line.split())}
    quota, period = ([*seen.get("cpu", []), "", ""])[:2]
    cpus = int(quota) / int(period) if quota.isdecimal() and period.isdecimal() else 0.0
    found = {"memory": _number(seen, "memory") / (1 << 20), "CPU": cpus, "process": float(_number(seen, "pids"))}
    asked = {"memory": float(limits.memory_mb), "CPU": limits.cpus, "process": float(limits.pids)}
    return [
        Check(
            f"{name} limit, as a container has it",
            0 < found[name] <= asked[name] * 1.01,
            f"{found[name]:g} {unit}" if found[name] else "none that can be seen",
            "enable the cgroup controller of that name, or boot with cgroups of version 2",
            needed=False,
        )
        for name, unit in (("memory", "MiB"), ("CPU", "CPUs"), ("process", "processes"))
    ]


def _number(seen: dict[str, list[str]], name: str) -> int:
    words = seen.get(name) or [""]
    return int(words[0]) if words[0].isdecimal() else 0


def _storage(host: Host) -> Check:
    mend = (
        'put driver = "overlay" into [storage] of ~/.config/containers/storage.conf, then `podman system reset`, which '
        "deletes all images, containers and volumes of this user; the rooms' files stay"
    )
    return Check("storage driver", host.driver != "vfs", host.driver, mend, needed=False)


def _user_namespace(host: Host) -> Check:
    if not host.userns:
        mend = "let root use 65536 more user ids (/proc/self/uid_map), or run the daemon as an ordinary user"
        return Check("user namespace", False, "none: user ids in a room are the host's", mend, needed=False)
    what = "user namespace"
    if host.rootless:
        found = f"user 1000 of a room is {host.owner} here, which is the daemon's own"
        given = id_ranges.given_to(pwd.getpwuid(os.getuid()).pw_name)
        mend = f"usermod --add-subuids 100000-{99_999 + IDS} --add-subgids 100000-{99_999 + IDS} USER"
        enough = given >= IDS
        return Check(what, enough, found if enough else f"{found}; {given} ids in /etc/subuid", mend, needed=False)
    if host.ranges > 1:
        return Check(what, True, f"each room has {IDS} user ids of its own, from {host.first_id} on")
    mend = "let root use more user ids, and the image be on a kernel and a file system that map them (overlay, 5.19)"
    return Check(what, False, f"user 1000 of every room is {host.owner} here: they share limits", mend, needed=False)


def _limit(host: Host, name: str, holds: bool, asked: str) -> Check:
    if holds:
        return Check(f"{name} limit", True, asked)
    instead = {"memory": ", each process is limited by itself", "process": ", limited by user instead"}.get(name, "")
    mend = _CGROUP_V2 if host.rootless else "enable the cgroup controller of that name"
    return Check(f"{name} limit", False, f"not applied by this host{instead}", mend, needed=False)


def _seccomp(host: Host) -> Check:
    if host.seccomp:
        return Check("seccomp", True, f"our profile, derived from {host.seccomp}")
    mend = "install the package golang-github-containers-common, which has Podman's default profile"
    return Check("seccomp", False, "no default profile to derive ours from; Podman's own is used", mend, needed=False)


def _quota(host: Host, plan: ContainerPlan) -> Check:
    if not plan.limits.workspace_mb:
        return Check("workspace limit", True, "none is wanted (WORKSPACE_QUOTA_MB=0)")
    if host.quota:
        return Check("workspace limit", False, f"none: {host.quota}", "run the daemon as root", needed=False)
    return Check("workspace limit", True, f"{plan.limits.workspace_mb} MiB for each room")
