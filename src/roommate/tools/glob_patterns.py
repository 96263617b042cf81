"""Globs as models write them: with braces, and from the root on."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from roommate.errors import ToolError

MOST = 100
"""Patterns that one with braces may stand for."""
_MAGIC = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")


def rooted(folder: str, glob: str | None) -> tuple[str, str | None]:
    """Where to look, and for what: an absolute glob says both. One that begins with a slash is of that very folder."""
    if not glob or not glob.startswith("/"):
        return folder, glob
    parts = PurePosixPath(glob).parts
    fixed = next((at for at, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
    fixed = max(1, fixed)
    return str(PurePosixPath(*parts[:fixed])), "/" + "/".join(parts[fixed:])


def braces(glob: str) -> list[str]:
    """What ``{a,b}`` in it stands for. Raises ToolError for too much."""
    globs = [glob]
    while found := [one for one in globs if _BRACES.search(one)]:
        globs = [made for one in globs for made in _first(one)]
        if len(globs) > MOST:
            raise ToolError(f"{found[0][:200]} stands for too many patterns: {MOST} at most")
    return globs


def _first(glob: str) -> list[str]:
    if not (found := _BRACES.search(glob)):
        return [glob]
    return [glob[: found.start()] + option + glob[found.end() :] for option in found[1].split(",")]
