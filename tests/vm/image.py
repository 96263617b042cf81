"""Disks to start from, made once and found again: Debian 13 alone, and with what scripts/setup and a room need.

Each is named by a digest of what it is made from, and made anew when that changes. Root makes them.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from roommate.sandbox import host_apt, mirrors_and_certificates
from tests.shell import ID, USER

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "roommate-vm"
HOST = "10.0.2.2"
"""The loopback of this host, as QEMU's user network shows it to the machine."""
_LOOPBACK = re.compile(r"(?<=://)(127\.0\.0\.1|localhost)\b")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"

CODENAME = "trixie"
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "dbus-user-session", "libpam-systemd", "openssh-server"),
    *("linux-image-cloud-amd64", "initramfs-tools", "python3", "python3-venv", "git", "ca-certificates"),
    *("iproute2", "sudo", "procps"),
)
"""A small server as people rent one. What Roommate needs is not among them: its own setup gets that."""

_SIZE = "24G"
_FILES = {
    "etc/hostname": "debian13\n",
    "etc/hosts": "127.0.0.1 localhost debian13\n",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/network/80-vm.network": (
        "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nLinkLocalAddressing=no\n"
    ),
    "etc/ssh/sshd_config.d/vm.conf": "UseDNS no\nMaxSessions 100\nMaxStartups 100\n",
    "etc/initramfs-tools/conf.d/vm": "MODULES=list\nCOMPRESS=gzip\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\next4\n",
    f"etc/sudoers.d/{USER}": f"{USER} ALL=(ALL) NOPASSWD: ALL\n",
    f"var/lib/systemd/linger/{USER}": "",
    # systemd's patience with what is no part of this, on a processor that is ten times slower.
    "etc/systemd/system.conf.d/vm.conf": "[Manager]\nDefaultTimeoutStartSec=600\nDefaultDeviceTimeoutSec=600\n",
}
_HOOKS = (
    f'chroot "$1" useradd --uid {ID} --user-group --create-home --shell /bin/bash {USER}',
    f'mkdir -p "$1/root/.ssh" "$1/home/{USER}/.ssh"',
    'cp -f "$1/etc/vm-key.pub" "$1/root/.ssh/authorized_keys"; '
    f'mv "$1/etc/vm-key.pub" "$1/home/{USER}/.ssh/authorized_keys"',
    f'chroot "$1" chown -R {USER}: /home/{USER}',
    'chroot "$1" update-ca-certificates >/dev/null',
    'chroot "$1" systemctl --quiet enable systemd-networkd ssh',
    'chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer '
    "e2scrub_all.timer e2scrub_reap.service getty@tty1.service systemd-networkd-wait-online.service",
    'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"',
)


@dataclass(frozen=True, slots=True)
class Base:
    """A disk without Roommate, and what it is booted with."""

    folder: Path
    site: Mapping[str, str]
    """Its files that name this host's loopback, by their paths, as they are to be read on this host."""

    @property
    def disk(self) -> Path:
        return self.folder / "disk.raw"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.img"

    @property
    def key(self) -> Path:
        """The ssh key that lets us in."""
        return self.folder / "key"


async def base() -> Base:
    """Debian 13, with this site's mirrors, proxies and certificates: half a minute on an idle host."""
    here = mirrors_and_certificates.read(Path("/"), os.environ, host_apt.codename(), await host_apt.options())
    sources = [_of_13(line) for line in here.apt_sources]
    assert sources, "/etc/apt of this host has no package source that the machine could be made from"
    near = _site_files(here, sources)
    files = _FILES | {name: _LOOPBACK.sub(HOST, text) for name, text in near.items()}
    folder = CACHE / _digest("base", _SIZE, *PACKAGES, *_HOOKS, *(f"{name}={text}" for name, text in files.items()))

    async def make(unfinished: Path) -> None:
        for name, text in files.items():
            _write(unfinished / "files" / name, text)
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(unfinished / "key"))
        shutil.copy(unfinished / "key.pub", unfinished / "files/etc/vm-key.pub")
        for one in (unfinished / "files", *(unfinished / "files").rglob("*/")):
            one.chmod(0o755)
        put = f'cp -a {unfinished}/files/. "$1/"'  # before there is a kernel, and over what was made since
        take = f'cp "$1"/boot/vmlinuz-* {unfinished}/vmlinuz; cp "$1"/boot/initrd.img-* {unfinished}/initrd.img'
        command = ["nice", "-n", "5", "mmdebstrap", "--quiet", "--variant=minbase"]
        command += [f"--aptopt={option}" for option in here.apt_options]
        command += [f"--include={','.join(PACKAGES)}", "--dpkgopt=force-confold", f"--essential-hook={put}"]
        command += [f"--customize-hook={hook}" for hook in (put, *_HOOKS, take)]
        await asyncio.to_thread(_run, *command, CODENAME, str(unfinished / "root"), "-", given="\n".join(sources))
        _run("truncate", "-s", _SIZE, str(unfinished / "disk.raw"))
        await asyncio.to_thread(_run, "mkfs.ext4", "-q", "-d", str(unfinished / "root"), str(unfinished / "disk.raw"))
        for used in "root", "files":
            shutil.rmtree(unfinished / used)

    await _found_or_made(folder, make)
    return Base(folder, {name: text for name, text in near.items() if text != files[name]})


async def derived(base: Base, inputs: str, make: Callable[[Path], Coroutine[None, None, None]]) -> Path:
    """A copy of its disk, which `make` has filled: it is given the folder where that is mounted, with room beside it.
    One that is there already, made from the same `inputs`, is taken as it is."""
    folder = CACHE / _digest("derived", base.folder.name, inputs)

    async def fill(unfinished: Path) -> None:
        disk, root = unfinished / "disk.raw", unfinished / "root"
        _run("cp", "--sparse=always", str(base.disk), str(disk))
        root.mkdir()
        _run("mount", "-o", "loop", str(disk), str(root))
        try:
            await make(root)
        finally:
            _run("umount", str(root))
        for used in unfinished.iterdir():
            if used != disk:
                shutil.rmtree(used)

    await _found_or_made(folder, fill)
    return folder / "disk.raw"


def layer(below: Path, disk: Path) -> None:
    """A new disk that has what is `below`, and keeps what is written for itself."""
    _run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(below), str(disk))


async def _found_or_made(folder: Path, make: Callable[[Path], Coroutine[None, None, None]]) -> None:
    CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)  # one run at a time makes it
        if not folder.exists():
            unfinished = folder.with_name(f"{folder.name}.unfinished")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(mode=0o700)
            await make(unfinished)
            unfinished.rename(folder)


def _site_files(here: mirrors_and_certificates.Site, sources: list[str]) -> dict[str, str]:
    """What makes the machine reach package indexes as this host does."""
    bundle = re.findall(
        r"-+BEGIN CERTIFICATE-+.*?-+END CERTIFICATE-+\n", mirrors_and_certificates.bundle(here.certificates), re.DOTALL
    )
    trusted = {f"usr/local/share/ca-certificates/site-{at}.crt": one for at, one in enumerate(bundle)}
    proxies = {
        name: value for name, value in os.environ.items() if re.fullmatch(r"(?i)(https?|no|all)_proxy|uv_.*", name)
    }
    environment = {**proxies, "SSL_CERT_FILE": CERTIFICATES, "NODE_EXTRA_CA_CERTS": CERTIFICATES}
    pip = {**here.pip, "cert": CERTIFICATES, "disable-pip-version-check": "true"}
    keys = {match: Path(match) for line in sources for match in re.findall(r"signed-by=([^\]\s]+)", line)}
    return {
        **trusted,
        "etc/environment": "".join(f'{name}="{value}"\n' for name, value in environment.items()),
        "etc/pip.conf": "".join(["[global]\n", *(f"{name} = {value}\n" for name, value in pip.items())]),
        "etc/npmrc": "".join(f"{name}={value}\n" for name, value in here.npm.items()),
        "etc/apt/sources.list": "".join(f"{line}\n" for line in sources),
        "etc/apt/apt.conf.d/80site": "".join(f"{option}\n" for option in here.apt_options),
        "etc/apt/auth.conf": here.apt_passwords,
        **{name.lstrip("/"): path.read_text() for name, path in keys.items() if path.suffix == ".asc"},
    }


def _of_13(source: str) -> str:
    """A source of this host's release as one of Debian 13. Its keys: the package with Debian's own is in both."""
    return re.sub(rf"\b{host_apt.codename()}\b", CODENAME, source)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    private = path.name == "auth.conf" or path.parent.name == "sudoers.d"
    path.chmod(0o600 if private else 0o644)


def _run(*command: str, given: str = "") -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} failed: {done.stdout[-2000:]}{done.stderr[-4000:]}"
