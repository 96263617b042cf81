"""The hooks that coding agents in a room run: where they are shipped, and how they get into a container."""

from __future__ import annotations

import marshal
import os
import re
import stat
import sys
from collections.abc import Iterator
from importlib.util import MAGIC_NUMBER, source_hash
from pathlib import Path

from roommate.domain import Check
from roommate.host import durable_files, folder_modes
from roommate.sandbox.container_spec import HOOKS, Mount

SETTINGS = {
    "gemini-cli": "settings.json",
    "qwen-code": "settings.json",
    "claude-code": "managed-settings.json",
    "codex": "managed_config.toml",
    "opencode": "plugin/roommate.js",
}
"""Folders below /etc, and the file in each that its agent reads before all others and nobody in the room can change.
OpenCode is told its folder by ``OPENCODE_CONFIG_DIR``."""

PROGRAMS = ("wrapper", "session-start", "before-tool", "after-tool", "after-agent", "notification")
_TEXTS = ("hook.py", "report.py", "risks", *(f"settings/{folder}/{name}" for folder, name in SETTINGS.items()))

_TAIL = 4000


def shipped() -> Path:
    """The hooks' folder: of the wheel, or of the checkout that this module is part of."""
    installed = Path(__file__).parent / "hooks"
    return installed if installed.exists() else Path(__file__).parents[3] / "hooks"


def lay_out(folder: Path, root: int) -> None:
    """Copy the hooks into a folder, readable to whoever works in a room, whatever modes they have where they are.

    All is given to `root`, who is root in the room: Gemini CLI passes over system settings of anybody else.
    """
    source = shipped()
    files = {name: (source / name).read_bytes() for name in (*PROGRAMS, *_TEXTS)}
    files["settings/opencode/.gitignore"] = b"*\n"  # OpenCode ends where it cannot write one that is missing
    files[f"__pycache__/report.{sys.implementation.cache_tag}.pyc"] = _compiled(files["report.py"])
    for name, content in files.items():
        target = folder / name
        for parent in (target.parent.parent, target.parent):
            if parent.is_relative_to(folder):
                folder_modes.readable(parent)
                os.chown(parent, root, -1)
        durable_files.replace(target, content, mode=0o755 if name in PROGRAMS else 0o644, owner=root)


def _compiled(source: bytes) -> bytes:
    """As Python keeps a compiled module that it need not compare with its source (PEP 552). Where the image has the
    Python that this runs on, a hook is a fifth faster by it; any other compiles the source."""
    code = compile(source, "report.py", "exec", dont_inherit=True)
    return MAGIC_NUMBER + (1).to_bytes(4, "little") + source_hash(source) + marshal.dumps(code)


def mounts(folder: Path) -> Iterator[Mount]:
    """Folders, all read-only: a mounted file would stay the old one when it is replaced."""
    yield Mount(folder, HOOKS)
    for name in SETTINGS:
        yield Mount(folder / "settings" / name, f"/etc/{name}")


def examine(state: Path) -> Check:
    """Are the hooks whole where we ship them, and did none fail in a room? Blocks."""
    source = shipped()
    missing = [name for name in (*PROGRAMS, *_TEXTS) if not (source / name).is_file()]
    if missing:
        return Check("hooks", False, f"{source} lacks {', '.join(missing)}", "install Roommate again")
    if locked := [name for name in PROGRAMS if not os.access(source / name, os.X_OK)]:
        return Check("hooks", False, f"cannot be run: {', '.join(locked)}", f"chmod +x {source}/*", needed=False)
    if silent := [f"{folder} of {', '.join(hooks)}" for folder in SETTINGS if (hooks := _unregistered(source, folder))]:
        return Check("hooks", False, f"not registered: {'; '.join(silent)}", f"mend {source}/settings")
    for log in sorted(state.glob("rooms/*/files/spool/hook-errors.log")):
        if last := _last_line(log):
            return Check("hooks", False, f"one failed: {last}", f"see, then delete, {log}", needed=False)
    return Check("hooks", True, f"{len(PROGRAMS) - 1} hooks for {len(SETTINGS)} coding agents, none has failed")


def _unregistered(source: Path, folder: str) -> list[str]:
    """Hooks that an agent's settings do not name."""
    text = re.sub(r'[",\[\]]', "", (source / "settings" / folder / SETTINGS[folder]).read_text())
    agent = folder.partition("-")[0]
    return [hook for hook in PROGRAMS[1:] if f"sh {HOOKS}/wrapper {agent} {hook}" not in text]


def _last_line(log: Path) -> str:
    """Of a file that a room may have made anything of."""
    try:
        file = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return str(error.strerror)
    try:
        about = os.fstat(file)
        if not stat.S_ISREG(about.st_mode):
            return "its log is no file"
        text = os.pread(file, _TAIL, max(0, about.st_size - _TAIL)).decode(errors="replace")
    finally:
        os.close(file)
    return "".join(c if c.isprintable() else " " for c in text.strip().rpartition("\n")[2])[:300]
