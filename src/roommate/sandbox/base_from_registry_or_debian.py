"""What the image is built on: a registry's base where one answers, else one of the host's own Debian packages."""

from __future__ import annotations

import asyncio
import asyncio.subprocess
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from roommate.errors import ImageError
from roommate.host import deadlines
from roommate.sandbox import host_apt
from roommate.sandbox.run_host_program import communicate, last_line, output, run, start

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
HOW = (*_SLIM, *_FORGET)
"""What counts for the image besides the Containerfile."""

_PULL_SECONDS = 300


def packages(recipe: str) -> list[str]:
    """The package list of a Containerfile: the one source for both ways to a base."""
    listed = re.search(r'^ARG PACKAGES="([^"]+)"$', recipe, re.MULTILINE)
    if listed is None:
        raise ImageError('the Containerfile has no line ARG PACKAGES="…"')
    return listed[1].split()


async def base(podman: str, recipe: str, inputs: str, say: Callable[[str], None]) -> str:
    """The image to build on: the Containerfile's own base when it is here or can be pulled, else ours.

    Nothing is installed: where no registry answers, mmdebstrap must be there. Raises ImageError, EngineError.
    """
    wanted = re.search(r"^ARG BASE=(\S+)$", recipe, re.MULTILINE)
    if wanted is None:
        raise ImageError("the Containerfile has no line ARG BASE=…")
    if await output(podman, "image", "ls", "--quiet", wanted[1]):
        return wanted[1]
    form = f'{{{{index .Labels "{INPUTS}"}}}}'
    if (await output(podman, "image", "inspect", "--format", form, BASE_OF_PACKAGES)).strip() == inputs:
        return BASE_OF_PACKAGES
    say(f"asking the registry for {wanted[1]}")
    try:
        async with deadlines.within(_PULL_SECONDS):
            await run([podman, "pull", "--quiet", wanted[1]], f"pulling {wanted[1]}")
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
    codename = host_apt.codename()
    sources = await asyncio.to_thread(lambda: "\n".join(host_apt.sources(Path("/etc/apt"), codename)))
    if not sources:
        raise ImageError(f"/etc/apt has no package source for {codename or 'this system'}: the base cannot be made")
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(wanted)}"]
    command += [f"--dpkgopt={option}" for option in _SLIM]
    command += [f"--aptopt={option}" for option in await host_apt.options()]
    command += [f"--customize-hook={hook}" for hook in _FORGET]
    importing = [podman, "import", "--quiet", "--change", f"LABEL {INPUTS}={inputs}", "-", BASE_OF_PACKAGES]
    reader, writer = os.pipe()
    try:
        debian = await start([*command, codename, "-", "-"], stdin=asyncio.subprocess.PIPE, stdout=writer)
        os.close(writer)
        writer = -1
        image = await start(importing, stdin=reader)
    finally:
        for descriptor in (reader, writer):
            if descriptor >= 0:
                os.close(descriptor)
    (_, problem), (_, refusal) = await asyncio.gather(communicate(debian, sources), communicate(image))
    if debian.returncode != 0:
        await output(podman, "image", "rm", BASE_OF_PACKAGES)
        raise ImageError(f"mmdebstrap could not make the base: {last_line(problem)}")
    if image.returncode != 0:
        raise ImageError(f"podman could not import the base: {last_line(refusal)}")
