"""Where a program runs that runs in no container: in bubblewrap, or on the bare host as a user that operators name.

What is started there is a hand, with the one connection to us that it is given, in a process namespace of its own: the
kernel ends all that is in it with its first process, whatever it did to get away (pid_namespaces(7)), and that one
with us, also when we are killed (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import resource
import shutil
import socket
import stat
import tempfile
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path

from roommate.domain import HostPlace
from roommate.errors import HandLost, NoSuchPlace
from roommate.host import die_with_parent
from roommate.sandbox import seccomp_filter
from roommate.sandbox.container_spec import HOME, WORKSPACE, Limits
from roommate.sandbox.hand import HandHost, program

CONNECT_SECONDS = 15.0
PYTHON = "/usr/bin/python3"
"""The system's own: ours may lie where another user cannot read it. Version 3.9 or newer."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FILES = 4096
_MIB = 1 << 20
_ROOTS = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
_READABLE = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "ssl/certs", "ca-certificates", "localtime")
_OF_NETWORK = ("resolv.conf", "hosts", "nsswitch.conf", "services", "protocols")
"""In /etc."""
_PREPARED = 'chown "$1" "$2" "$3" && shift 3 && exec "$@"'
_HELD = '"$@"; exit'
"""The first process of its namespace: it is root's, so that no program there can end or stop it."""


@dataclass(frozen=True, slots=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


@contextlib.asynccontextmanager
async def entered(
    place: HostPlace, state: Path, limits: Limits, patience: float = 1.0
) -> AsyncGenerator[HandHost, None]:
    """The hand there. All that it started is ended when this is left. Raises NoSuchPlace."""
    user = _user(place, state)
    if not os.access(PYTHON, os.X_OK):
        raise NoSuchPlace(f"the place {place.kind} needs {PYTHON}: `apt install python3`")
    hand = HandHost(Path(place.kind))
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    process: asyncio.subprocess.Process | None = None
    said, errors = os.pipe()
    with ours, theirs, tempfile.TemporaryFile() as text, tempfile.TemporaryFile() as filter:
        try:
            text.write(program())
            text.seek(0)
            given = [theirs.fileno()]
            if place.kind == "host":
                command = _on_host(user)
            else:
                filter.write(seccomp_filter.compiled())
                filter.seek(0)
                given.append(filter.fileno())
                command = _in_bubblewrap(place, user, limits, filter.fileno())
            command += [PYTHON, "-I", "-S", "-", f"fd:{theirs.fileno()}", WORKSPACE, HOME]
            process = await asyncio.create_subprocess_exec(
                *die_with_parent.tied([*_limited(limits), *command], "KILL"),
                stdin=text,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                pass_fds=given,
                env=_environment(user) if place.kind == "host" else {"PATH": PATH},
                cwd="/",
                start_new_session=True,
            )
            theirs.close()
            os.close(errors)
            errors = -1
            await hand.talk(ours)
            try:
                await _connected(hand, process, CONNECT_SECONDS * patience)
            except HandLost as problem:
                raise NoSuchPlace(_why(place, said) or f"the place {place.kind}: {problem}") from problem
            yield hand
        finally:
            if errors >= 0:
                os.close(errors)
            os.close(said)
            await _ended(hand, process)


async def _ended(hand: HandHost, process: asyncio.subprocess.Process | None) -> None:
    if process is not None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await asyncio.shield(asyncio.create_task(process.wait()))
    await hand.close()


async def _connected(hand: HandHost, process: asyncio.subprocess.Process, seconds: float) -> None:
    """Raises HandLost."""
    here, gone = asyncio.create_task(hand.connected(seconds)), asyncio.create_task(process.wait())
    try:
        await asyncio.wait([here, gone], return_when=asyncio.FIRST_COMPLETED)
        if not here.done():
            raise HandLost("it ended at once")
        here.result()
    finally:
        here.cancel()
        gone.cancel()
        await asyncio.wait([here, gone])


def _why(place: HostPlace, said: int) -> str:
    """The last line of what was said as it ended, and what helps."""
    os.set_blocking(said, False)
    try:
        text = os.read(said, 4096).decode(errors="replace").strip()
    except BlockingIOError:
        return ""
    line = text.splitlines()[-1][:300] if text else ""
    helps = (
        "bubblewrap 0.7 or newer is needed, and a daemon that is not root needs user namespaces "
        "(kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces)"
        if place.kind == "bubblewrap"
        else "the daemon has to be root, with CAP_SYS_ADMIN"
    )
    return f"the place {place.kind}: {line or 'it ended at once'}; {helps}"


def _user(place: HostPlace, state: Path) -> _User:
    """Raises NoSuchPlace where it is nobody who may run what others ask for."""
    own = os.geteuid()
    if place.kind == "bubblewrap":
        if shutil.which("bwrap", path=PATH) is None:
            raise NoSuchPlace("the place bubblewrap needs bwrap: `apt install bubblewrap`")
        if not place.user and own == 0:
            raise NoSuchPlace("the place bubblewrap needs a `user` in the policy's rule: this daemon is root")
        if own != 0:
            user = _User("room", own, os.getegid(), HOME)
            if place.user and _looked_up(place.user).uid != own:
                raise NoSuchPlace(f"a daemon that is not root cannot be {place.user!r}: the rule needs no `user`")
            return user
    elif own != 0:
        raise NoSuchPlace("the place host needs a daemon that is root: no other can become another user")
    user = _looked_up(place.user)
    if user.uid == 0 or user.gid == 0:
        raise NoSuchPlace(f"{place.user!r} is root, or of its group: name a user without rights")
    found = state.stat()
    if user.uid == found.st_uid or found.st_mode & (stat.S_IRWXO | stat.S_IRWXG):
        raise NoSuchPlace(f"{place.user!r} could read what the daemon keeps in {state}: name another user")
    return user


def _looked_up(name: str) -> _User:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        raise NoSuchPlace(f"there is no user {name!r} on this host: `useradd --create-home {name}`") from None
    return _User(found.pw_name, found.pw_uid, found.pw_gid, found.pw_dir)


def _limited(limits: Limits) -> Sequence[str]:
    """Of each process but the first, which is of the user: `nproc`."""
    most = {
        "nproc": limits.pids,
        "nofile": FILES,
        "data": limits.memory_mb * _MIB,
        "fsize": (limits.workspace_mb or 1 << 20) * _MIB,
        "core": 0,
    }
    found = []
    for name, value in most.items():
        hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}"))[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        found.append(f"--{name}={limit}:{limit}")
    return ["prlimit", *found, "--"]


def _become(user: _User) -> Sequence[str]:
    """Without capabilities, further groups, and a way to get any."""
    return [
        *("setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"),
        *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
    ]


def _environment(user: _User) -> dict[str, str]:
    return {
        "PATH": PATH,
        "HOME": user.home,
        "USER": user.name,
        "LOGNAME": user.name,
        "SHELL": "/bin/sh",
        "LANG": "C.UTF-8",
    }


def _on_host(user: _User) -> list[str]:
    alone = ["unshare", "--mount", "--mount-proc", "--pid", "--fork", "--kill-child=KILL", "--"]
    return [*alone, "/bin/sh", "-c", _HELD, "sh", *_become(user)]


def _in_bubblewrap(place: HostPlace, user: _User, limits: Limits, filter: int) -> list[str]:
    """It sees the host's programs, and of its files, processes and network nothing; all that it writes is in memory."""
    inside = _User("room", user.uid, user.gid, HOME)
    command = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try"]
    command += [] if place.network else ["--unshare-net"]
    command += ["--die-with-parent", "--new-session", "--hostname", "bubblewrap", "--clearenv"]
    for name, value in _environment(inside).items():
        command += ["--setenv", name, value]
    for folder in ("/etc", "/etc/ssl", "/home"):  # else closed to all but root
        command += ["--perms", "0755", "--dir", folder]
    command += ["--ro-bind", "/usr", "/usr"]
    for name in _ROOTS:
        root = Path("/", name)
        if root.is_symlink():
            command += ["--symlink", str(root.readlink()), str(root)]
        elif root.is_dir():
            command += ["--ro-bind", str(root), str(root)]
    for name in (*_READABLE, *(_OF_NETWORK if place.network else ())):
        command += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    command += ["--proc", "/proc", "--dev", "/dev"]
    for folder, mode, megabytes in (
        ("/tmp", "1777", limits.tmp),  # noqa: S108
        ("/dev/shm", "1777", limits.shm),  # noqa: S108
        (HOME, "0700", limits.tmp),
        (WORKSPACE, "0700", limits.memory_mb // 4),
    ):
        command += ["--size", str(max(1, megabytes) * _MIB), "--perms", mode, "--tmpfs", folder]
    command += ["--remount-ro", "/", "--seccomp", str(filter), "--chdir", "/", "--cap-drop", "ALL"]
    if os.geteuid() != 0:
        return [*command, "--unshare-user", "--uid", "1000", "--gid", "1000", "--"]
    for one in ("SETUID", "SETGID", "SETPCAP", "CHOWN"):
        command += ["--cap-add", f"CAP_{one}"]
    prepared = ["/bin/sh", "-c", _PREPARED, "sh", f"{user.uid}:{user.gid}", WORKSPACE, HOME]
    return [*command, "--", *prepared, *_become(user)]
