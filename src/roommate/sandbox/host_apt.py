"""What apt on this host knows: its package sources, its release, how it reaches its mirrors."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator
from pathlib import Path

from roommate.errors import EngineError
from roommate.sandbox.run_host_program import output

# What apt must know to reach this host's mirrors. It is used while building and never stays in an image.
_OPTION = re.compile(r"Acquire::(https?|Retries|Check-Valid-Until|Check-Date|ForceIPv[46])\b")


def codename() -> str:
    """Of this host's release, such as ``bookworm``; empty where it has none."""
    try:
        return platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    except OSError:
        return ""


async def options() -> list[str]:
    """Lines of apt.conf(5). None on a host without apt."""
    try:
        shown = await output("apt-config", "dump", "--format", '%F "%v";%n', "Acquire")
    except EngineError:
        return []
    return [line for line in shown.splitlines() if _OPTION.match(line) and not line.endswith(' "";')]


def sources(folder: Path, codename: str) -> Iterator[str]:
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
