"""A clean machine to install things on: a container in which systemd is process 1, with an ordinary user."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import secrets
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from roommate.sandbox import host_apt, mirrors_and_certificates
from roommate.sandbox.host_capabilities import SETUPS
from roommate.sandbox.image import CONTAINERFILE, build
from tests.patience import PATIENCE
from tests.sandbox_image import podman, printed, remove
from tests.shell import HOME, ID, USER, Shell

NAME = "localhost/roommate:test-machine"

# What scripts/setup would install is there, but for Python packages. Nothing here may change the kernel that we share.
STAGE = """
FROM base AS machine
ARG SITE
USER root
RUN : systemd, Podman; . "${SITE:-/dev/null}" && export DEBIAN_FRONTEND=noninteractive && apt-get update \\
    && apt-get install --yes --no-install-recommends systemd systemd-sysv dbus dbus-user-session libpam-systemd \\
      catatonit e2fsprogs mmdebstrap podman runc shellcheck uidmap util-linux && rm -rf /var/lib/apt/lists/* \\
    && systemctl mask systemd-sysctl systemd-remount-fs podman.socket podman.service podman-restart apt-daily.timer
ENV HOME=/root
RUN : an ordinary user; useradd --uid 1001 --user-group --create-home --shell /bin/bash ann \\
    && mkdir -p /var/lib/systemd/linger && touch /var/lib/systemd/linger/ann \\
    && printf '[storage]\\ndriver="overlay"\\nrunroot="/run/containers"\\ngraphroot="/var/lib/containers"\\n' \\
      >/etc/containers/storage.conf \\
    && printf '[engine]\\nruntime="runc"\\ncgroup_manager="cgroupfs"\\nevents_logger="file"\\n' \\
      >/etc/containers/containers.conf
CMD ["/lib/systemd/systemd"]
"""

OWN_CGROUPS = (
    "--cgroupns=private", "--systemd=false", "--stop-signal=SIGRTMIN+3",
    "--tmpfs=/run:rw,mode=755", "--tmpfs=/run/lock:rw,mode=1777", "--tmpfs=/tmp:rw,mode=1777,exec",
)  # fmt: skip


class Machine(Shell):
    """`Machine.boot` gives one that has started; `discard` ends it. It shares this host's network."""

    def __init__(self, name: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self._folder = folder
        self._environment = environment

    @classmethod
    async def boot(cls, *mounts: str, cgroups: bool = False) -> Self:
        """With `cgroups` it sees this host's, in which root's Podman makes one for each room."""
        folder = Path(tempfile.mkdtemp(prefix="machine-"))
        recipe = CONTAINERFILE.read_text()
        (folder / "Containerfile").write_text(recipe[: recipe.index("\nFROM base AS core")] + STAGE)
        await build(NAME, stage="machine", containerfile=folder / "Containerfile", step=printed)
        mirrors_and_certificates.read(Path("/"), os.environ, host_apt.codename(), ()).lay_out(
            folder / "site", "site.sh"
        )
        for path in (folder / "site").glob("*rc"), (folder / "site").glob("pip.conf"):
            for file in path:
                file.chmod(0o644)
        # With cgroups of version 1 Podman's --systemd=always gives a container this host's own tree for systemd, and
        # machines would stop one another's services. So it is done by hand where one has a namespace of its own.
        seen = (
            [f"--volume={_cgroups(folder)}:/sys/fs/cgroup", "--cgroupns=host", "--systemd=always", NAME]
            if cgroups
            else [*OWN_CGROUPS, NAME]
        )
        name = f"machine-{secrets.token_hex(4)}"
        options = [f"--volume={mount}" for mount in (f"{folder}/site:/mnt:ro", *_local_indexes(), *mounts)]
        run = (
            "podman", "run", "--detach", "--name", name, "--network=host",
            # Root's Podman in it unpacks images, joins its rooms' namespaces, and makes a cgroup for each, which
            # it finds where it sees all of them.
            "--cap-add=SYS_ADMIN,NET_ADMIN,MKNOD,SYS_PTRACE",
            "--security-opt=seccomp=unconfined", "--security-opt=unmask=ALL",
            # Podman's own are more than some hosts may give.
            f"--ulimit=nofile={_most(resource.RLIMIT_NOFILE)}", f"--ulimit=nproc={_most(resource.RLIMIT_NPROC)}",
            # Podman in it keeps its layers here: they cannot lie on the layers of the machine's own system.
            "--volume=/home", "--volume=/var/lib/containers", *options, *seen,
        )  # fmt: skip
        for conf in SETUPS.values():
            configured = {"CONTAINERS_CONF": str(_written(folder / "containers.conf", conf))} if conf else {}
            done = subprocess.run(run, capture_output=True, text=True, check=False, env={**os.environ, **configured})
            if done.returncode == 0:
                break
            remove(name)
        else:
            _remove(folder)
            raise AssertionError(f"no machine starts here: {done.stderr}")
        kept = {name: value for name, value in os.environ.items() if re.match(r"(?i)(https?|no|all)_proxy|uv_", name)}
        machine = cls(name, folder, kept | {"SSL_CERT_FILE": "/mnt/ca.crt", "PIP_CONFIG_FILE": "/mnt/pip.conf"})
        await machine.until(f"systemctl is-active user@{ID}.service", user="root")
        return machine

    async def try_to(self, command: str, *, user: str = USER, timeout: float = 3 * PATIENCE) -> tuple[int, str]:
        home = HOME if user == USER else "/root"
        environment = {**self._environment, "HOME": home, "USER": user, "LANG": "C.UTF-8"}
        if user == USER:
            environment["XDG_RUNTIME_DIR"] = f"/run/user/{ID}"
        given = [f"--env={name}={value}" for name, value in environment.items()]
        process = await asyncio.create_subprocess_exec(
            "podman", "exec", "--user", user, "--workdir", home, *given, self.name, "sh", "-c", f"exec 2>&1; {command}",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(timeout):
            out, _ = await process.communicate()
        assert process.returncode is not None
        text = out.decode(errors="replace")
        print(f"{user}$ {command}\n{text[-6000:]}")
        return process.returncode, text

    async def give_image(self, image: str, *, user: str = USER) -> None:
        """Have a user's Podman know an image of this host."""
        home = HOME if user == USER else "/root"
        load = (
            f"podman save {image} | podman exec --interactive --user {user} --env HOME={home} {self.name} podman load"
        )
        process = await asyncio.create_subprocess_shell(load, stdout=asyncio.subprocess.DEVNULL)
        assert await process.wait() == 0

    async def files(self) -> set[str]:
        """Every file and folder of the user, and of systemd's configuration."""
        await self.run(f"find {HOME} /etc/systemd /var/lib/systemd >/tmp/files", user="root")
        return set(podman("exec", self.name, "cat", "/tmp/files").splitlines())

    def discard(self) -> None:
        remove(self.name, seconds=1)
        _remove(self._folder)


def _remove(folder: Path) -> None:
    subprocess.run(("umount", "--recursive", folder / "cgroup"), check=False, capture_output=True)
    subprocess.run(("rm", "-rf", "--one-file-system", folder), check=True)


def _cgroups(folder: Path) -> Path:
    """This host's cgroups in a folder of their own: systemd makes folders beside them, and that one read-only."""
    place, host = folder / "cgroup", Path("/sys/fs/cgroup")
    place.mkdir()
    subprocess.run(("mount", "-t", "tmpfs", "tmpfs", place), check=True)
    mounted = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    of_host = [Path(words[1]) for words in mounted if words[2] in ("cgroup", "cgroup2")]
    for target in [target for target in of_host if target.is_relative_to(host)]:  # not those of another machine
        here = place / target.relative_to(host)
        here.mkdir(exist_ok=True)
        subprocess.run(("mount", "--bind", target, here), check=True)
    return place


def _most(limit: int) -> str:
    hard = resource.getrlimit(limit)[1]
    most = 1 << 14 if hard == resource.RLIM_INFINITY else min(hard, 1 << 14)
    return f"{most}:{most}"


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def _local_indexes() -> list[str]:
    """Folders of packages that pip of this host looks into."""
    listed = subprocess.run(("pip", "config", "list"), capture_output=True, text=True, check=False).stdout
    found = re.findall(r"(?:file://|(?<=['\s]))(/[^\s',]+)", listed)
    return [f"{path}:{path}:ro" for path in dict.fromkeys(found) if Path(path).is_dir()]
