"""The tool search: a regular expression in the content of files, by ripgrep, or by grep where there is none."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pydantic import Field

from roommate.errors import ToolError
from roommate.tools.arguments import Arguments, Text
from roommate.tools.bounded import Bounded
from roommate.tools.command_tools import WORKSPACE, ending
from roommate.tools.files import LONGEST_LINE
from roommate.tools.glob_patterns import braces, rooted
from roommate.tools.outcome import Outcome, counted
from roommate.tools.sanitized_text import sanitized
from roommate.tools.tool import Call, tool

SECONDS = 60.0
RIPGREP = ("rg", "--line-number", "--no-heading", "--with-filename", "--color=never", "--sort=path")
RIPGREP_LIMITS = ("--max-columns=300", "--max-columns-preview")
GREP = ("grep", "-rnIE", "--color=never", "--exclude-dir=.git", "--exclude-dir=node_modules", "--exclude-dir=.roommate")
_MATCH = re.compile(r".*?:\d+:")
NOTHING = "no matches (hidden files and those in .gitignore are not searched)"


class Search(Arguments):
    """Search in the content of files for a regular expression."""

    pattern: Text = Field(description="Regular expression")
    path: Text | None = Field(None, description="File or folder to search in; default: the workspace")
    glob: Text | None = Field(None, description="Only files with such a name, such as *.py")


async def search(asked: Search, call: Call) -> Outcome:
    """What was found is a result even where not all could be looked at; why that is, is said below it."""
    where, glob = rooted(asked.path or ".", asked.glob)
    cwd = WORKSPACE
    shown = ""
    if glob and "/" in glob and where != ".":  # such a glob counts from the folder in which it is looked for
        cwd, where, shown = where, ".", where.rstrip("/") + "/"
    globs = ("--glob", glob) if glob else ()
    try:
        command: Sequence[str] = (*RIPGREP, *RIPGREP_LIMITS, *globs, "--regexp", asked.pattern, "--", where)
        return await _run(command, cwd, shown, call)
    except ToolError as error:
        if not str(error).startswith(f"{RIPGREP[0]}: no such file"):
            raise
    names = [f"--include={PurePosixPath(one).name}" for one in braces(glob)] if glob else ()
    return await _run((*GREP, *names, "-e", asked.pattern, "--", where), cwd, shown, call)


async def _run(command: Sequence[str], cwd: str, shown: str, call: Call) -> Outcome:
    """`shown` is what the places that it prints begin with."""
    found = Bounded(call.ports.keep, 0)
    ended = await call.hand.run(command, cwd=cwd, timeout=SECONDS, on_output=found.add)
    excerpt = found.excerpt()
    lines = sanitized(excerpt.head).splitlines()
    matches = sum(1 for line in lines if _MATCH.match(line))
    text = "\n".join(_short(line, shown if _MATCH.match(line) else "") for line in lines)
    if ended.code == 1 and not excerpt.size:
        return Outcome(NOTHING, "no matches")
    if excerpt.left_out:
        text += f"\n… {counted(excerpt.left_out_lines, 'line')} more: narrow it with path, glob or pattern"
    how = counted(found.lines if excerpt.left_out else matches, "line")
    if ended.code == 0:
        return Outcome(text, how)
    if ended.timed_out:
        why = f"stopped after {SECONDS:g} s: narrow it"
    elif ended.signal is not None:
        why = f"{command[0]} was {ending(ended)}: narrow it"
    else:
        why = f"not all could be searched: {command[0]} ended with {ending(ended)}"
    if not matches:
        return Outcome(f"{text}\n[{why}]".lstrip(), f"failed: {why.partition(':')[0]}", ok=False)
    return Outcome(f"{text}\n[these are not all: {why}]", f"{how}, not all")


def _short(line: str, shown: str) -> str:
    line = shown + line.removeprefix("./")
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…"


TOOLS = (tool("search", Search, search, title=("pattern",), looks=True),)
