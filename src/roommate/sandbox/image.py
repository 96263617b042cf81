"""Making the rooms' image: from a registry's base where one answers, else from the host's own Debian packages."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import hashlib
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from roommate.errors import EngineError, ImageError

CONTAINERFILE = Path(__file__).parents[3] / "Containerfile"
"""Of the checkout that this module is part of; a wheel carries none."""

BASE_OF_PACKAGES = "localhost/roommate-base"
INPUTS = "io.roommate.inputs"
"""Label of an image: the digest of what it was made from."""

_SLIM = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
# Proxies, certificates, passwords and names of this site have no business in a room.
_FORGET = (
    'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/resolv.conf" "$1/etc/hostname"',
    r'sed -i -E "s|://[^/@ ]*@|://|" "$1/etc/apt/sources.list"',
)
# What apt must know to reach this host's mirrors. It is used while bootstrapping and never stays in the image.
_APT_OPTION = re.compile(r"Acquire::(https?|Retries|Check-Valid-Until|Check-Date|ForceIPv[46])\b")
_KEPT_ENV = re.compile(r"PATH|HOME|TMPDIR|USER|LOGNAME|(https?|no|all)_proxy|XDG_RUNTIME_DIR", re.IGNORECASE)
_PULL_SECONDS = 300

Say = Callable[[str], None]


async def build(name: str, *, containerfile: Path = CONTAINERFILE, podman: str = "podman", say: Say) -> str:
    """Make the image `name` unless it is there already, made from the same inputs; returns its id.

    `say` gets a line for each step. Nothing is installed: where no registry answers, mmdebstrap must be there.
    Raises EngineError when Podman is missing, ImageError when the image cannot be made.
    """
    recipe = await asyncio.to_thread(_read, containerfile)
    inputs = _digest(recipe, *_SLIM, *_FORGET)
    if found := await _made_from(podman, name, inputs):
        say(f"image {name} is up to date")
        return found
    base = await _base(podman, recipe, say)
    say(f"building {name}")
    # Isolation "chroot" needs neither an OCI runtime nor cgroups, which is what differs most between hosts.
    command = [podman, "build", "--isolation=chroot", "--layers=false", "--pull=never", "--quiet"]
    command += ["--build-arg", f"BASE={base}", "--label", f"{INPUTS}={inputs}", "--tag", name]
    await _run([*command, "-"], f"building {name}", recipe)
    # What it replaces; what a container still uses stays until the next build.
    await _output(podman, "image", "prune", "--force", "--filter", f"label={INPUTS}")
    made = await _made_from(podman, name, inputs)
    if made is None:
        raise ImageError(f"{name} was built, but Podman does not show it")
    say(f"image {name} is ready")
    return made


def packages(recipe: str) -> list[str]:
    """The package list of a Containerfile: the one source for both ways to a base."""
    listed = re.search(r'^ARG PACKAGES="([^"]+)"$', recipe, re.MULTILINE)
    if listed is None:
        raise ImageError('the Containerfile has no line ARG PACKAGES="…"')
    return listed[1].split()


async def _base(podman: str, recipe: str, say: Say) -> str:
    """The image to build on: the Containerfile's own base when it is here or can be pulled, else ours."""
    wanted = re.search(r"^ARG BASE=(\S+)$", recipe, re.MULTILINE)
    if wanted is None:
        raise ImageError("the Containerfile has no line ARG BASE=…")
    if await _output(podman, "image", "ls", "--quiet", wanted[1]):
        return wanted[1]
    inputs = _digest(" ".join(packages(recipe)), *_SLIM, *_FORGET)
    if await _made_from(podman, BASE_OF_PACKAGES, inputs):
        return BASE_OF_PACKAGES
    say(f"asking the registry for {wanted[1]}")
    try:
        async with asyncio.timeout(_PULL_SECONDS):
            await _run([podman, "pull", "--quiet", wanted[1]], f"pulling {wanted[1]}")
        return wanted[1]
    except (ImageError, TimeoutError):
        say(
            "no registry can be reached: making the base from this host's packages with mmdebstrap, about half a minute"
        )
    await _bootstrap(podman, packages(recipe), inputs)
    return BASE_OF_PACKAGES


async def _bootstrap(podman: str, wanted: Sequence[str], inputs: str) -> None:
    if shutil.which("mmdebstrap") is None:
        raise ImageError("no image registry can be reached and mmdebstrap is missing: apt install mmdebstrap")
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    sources = await asyncio.to_thread(lambda: "\n".join(apt_sources(Path("/etc/apt"), codename)))
    if not sources:
        raise ImageError(f"/etc/apt has no package source for {codename or 'this system'}: the base cannot be made")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(wanted)}"]
    command += [f"--dpkgopt={option}" for option in _SLIM]
    command += [f"--aptopt={option}" for option in await _apt_options()]
    command += [f"--customize-hook={hook}" for hook in _FORGET]
    importing = [podman, "import", "--quiet", "--change", f"LABEL {INPUTS}={inputs}", "-", BASE_OF_PACKAGES]
    reader, writer = os.pipe()
    try:
        debian = await _start([*command, codename, "-", "-"], stdin=asyncio.subprocess.PIPE, stdout=writer)
        os.close(writer)
        writer = -1
        image = await _start(importing, stdin=reader)
    finally:
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)
    (_, problem), (_, refusal) = await asyncio.gather(_communicate(debian, sources), _communicate(image))
    if debian.returncode != 0:
        await _output(podman, "image", "rm", BASE_OF_PACKAGES)
        raise ImageError(f"mmdebstrap could not make the base: {_last_line(problem)}")
    if image.returncode != 0:
        raise ImageError(f"podman could not import the base: {_last_line(refusal)}")


def apt_sources(folder: Path, codename: str) -> Iterator[str]:
    """The host's own package sources for its release, in the one-line style of sources.list(5)."""
    lists = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*.list"))]
    for path in lists:
        for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
            parts = re.fullmatch(r"deb\s+(?:\[[^]]*\]\s+)?\S+\s+(\S+).*", line.strip())
            if parts and _is_of(parts[1], codename):
                yield line.strip()
    for path in sorted((folder / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text(errors="replace")):
            yield from _one_line_style(stanza, codename)


def _one_line_style(stanza: str, codename: str) -> Iterator[str]:
    """A deb822 stanza as lines. A key that is written out in it does not fit in a line: then the host's keys count."""
    lines = [line for line in stanza.splitlines() if not line.startswith("#")]
    fields = {name.lower(): value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
    if fields.get("enabled", "yes").lower() == "no" or "deb" not in fields.get("types", "").split():
        return
    options = [f"signed-by={fields['signed-by']}"] if fields.get("signed-by", "").startswith("/") else []
    options += ["trusted=yes"] if fields.get("trusted", "").lower() == "yes" else []
    shown = f"[{' '.join(options)}] " if options else ""
    for uri in fields.get("uris", "").split():
        for suite in fields.get("suites", "").split():
            if _is_of(suite, codename):
                yield f"deb {shown}{uri} {suite} {fields.get('components', '')}".rstrip()


def _is_of(suite: str, codename: str) -> bool:
    return bool(codename) and (suite == codename or suite.startswith(f"{codename}-"))


async def _apt_options() -> list[str]:
    shown = await _output("apt-config", "dump", "--format", '%F "%v";%n', "Acquire")
    return [line for line in shown.splitlines() if _APT_OPTION.match(line) and not line.endswith(' "";')]


async def _made_from(podman: str, name: str, inputs: str) -> str | None:
    shown = await _output(podman, "image", "inspect", "--format", f'{{{{.Id}}}} {{{{index .Labels "{INPUTS}"}}}}', name)
    image, _, label = shown.strip().partition(" ")
    return image if label == inputs else None


async def _output(*command: str) -> str:
    """What a command prints; empty when it fails."""
    process = await _start(command)
    printed, _ = await _communicate(process)
    return printed.decode(errors="replace") if process.returncode == 0 else ""


async def _run(command: Sequence[str], doing: str, stdin: str = "") -> None:
    process = await _start(command, stdin=asyncio.subprocess.PIPE)
    _, problem = await _communicate(process, stdin)
    if process.returncode != 0:
        raise ImageError(f"{doing} failed: {_last_line(problem)}")


async def _start(
    command: Sequence[str], *, stdin: int = asyncio.subprocess.DEVNULL, stdout: int = asyncio.subprocess.PIPE
) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command, stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.PIPE, env=_environment()
        )
    except FileNotFoundError as exc:
        raise EngineError(f"{command[0]} is not installed: apt install {Path(command[0]).name}") from exc


async def _communicate(process: asyncio.subprocess.Process, stdin: str | None = None) -> tuple[bytes, bytes]:
    """What the process wrote to stdout and stderr; when we are cancelled it ends as well."""
    try:
        return await process.communicate(None if stdin is None else stdin.encode())
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if _KEPT_ENV.fullmatch(name)} | {"LANG": "C.UTF-8"}


def _read(containerfile: Path) -> str:
    try:
        return containerfile.read_text()
    except OSError as exc:
        raise ImageError(f"{containerfile} cannot be read: {exc.strerror}") from exc


def _digest(*inputs: str) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:32]


def _last_line(stderr: bytes) -> str:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it said nothing"
