"""The tools for files: read_file, write_file, edit_file, list_files."""

from __future__ import annotations

import asyncio
from typing import Annotated

from pydantic import Field

from roommate.domain import DirEntry, FileSlice, Hand
from roommate.errors import ToolError
from roommate.text.amounts import size
from roommate.text.diffs import Difference, difference
from roommate.tools.arguments import Arguments, Text
from roommate.tools.glob_patterns import rooted
from roommate.tools.outcome import Outcome, counted
from roommate.tools.sanitized_text import is_binary, sanitized, start_of_binary
from roommate.tools.text_replacement import replace_once
from roommate.tools.tool import Call, tool

SLICE = 1 << 20
LONGEST_READ = 256 << 20
"""How far into a file read_file looks for a line, in bytes."""
LARGEST_EDIT = 4 << 20
LINES = 2000
"""Lines that read_file gives where the model does not say."""
LONGEST_LINE = 2000
ENTRIES = 500
NOTHING_SHOWN = Difference("", 0, 0)


class ReadFile(Arguments):
    """Read a text file."""

    path: Text = Field(description="Path, relative to the workspace")
    offset: Annotated[int, Field(ge=0)] | None = Field(None, description="First line to read, from 1")
    limit: Annotated[int, Field(ge=1)] | None = Field(None, description="How many lines to read")


class WriteFile(Arguments):
    """Create a file or replace it whole. To change a part of a file use edit_file."""

    path: Text = Field(description="Path, relative to the workspace; folders on the way are made")
    content: str = Field(description="The whole new content")


class EditFile(Arguments):
    """Replace one piece of text in a file."""

    path: Text = Field(description="Path, relative to the workspace")
    old: Text = Field(description="The text to replace, exactly as in the file; it must be there once only")
    new: str = Field(description="The text to put there")


class ListFiles(Arguments):
    """List a folder, or find files by name."""

    path: Text | None = Field(None, description="Folder; default: the workspace")
    glob: Text | None = Field(None, description="Find everything below that matches, such as *.py or src/**/test_*")


async def read(asked: ReadFile, call: Call) -> Outcome:
    """The lines as they are, without numbers: what a model copies into edit_file must match, and small models copy
    numbers too. What is not shown, and how to get it, is said in a last line."""
    keep = call.ports.keep
    first = max(1, asked.offset or 1)
    room = asked.limit or LINES
    lines: list[bytes] = []
    used = number = offset = 0
    rest = b""
    total: int | None = None
    while total is None and offset < LONGEST_READ:
        got = await call.hand.read(asked.path, offset, SLICE)
        if offset == 0 and is_binary(got.content[:8192]):
            text = f"{asked.path} is a binary file of {got.size} bytes; it starts with {start_of_binary(got.content)}"
            return Outcome(text, f"binary, {size(got.size)}", ok=False)
        offset += len(got.content)
        ended = not got.content or offset >= got.size
        here = (rest + got.content).split(b"\n")
        rest = here.pop()[: LONGEST_LINE + 1]
        if ended and rest:
            here.append(rest)
        for line in here[max(0, first - 1 - number) :][: room - len(lines)]:
            if used > keep:
                break
            lines.append(line)
            used += min(len(line), LONGEST_LINE) + 1
        number += len(here)
        if ended:
            total = number
        elif len(lines) == room or used > keep:
            break
    return _read(asked.path, first, lines, total)


def _read(path: str, first: int, lines: list[bytes], total: int | None) -> Outcome:
    if total == 0:
        return Outcome("(the file is empty)", "empty")
    if not lines:
        where = (
            f"it has {counted(total, 'line')}" if total is not None else "it is too long to look that far: use sed -n"
        )
        return Outcome(f"there is no line {first} in {path}: {where}", "no such line", ok=False)
    last = first + len(lines) - 1
    text = "\n".join(sanitized(_cut(line)) for line in lines)
    if first > 1 or last != total:
        of = f" of {total}" if total is not None else ""
        more = f"; go on with offset {last + 1}" if last != total else ""
        text += f"\n[lines {first}-{last}{of}{more}]"
    return Outcome(text, counted(len(lines), "line"))


def _cut(line: bytes) -> bytes:
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "… [this line is longer]".encode()


async def write(asked: WriteFile, call: Call) -> Outcome:
    content = asked.content.encode("utf-8", "replace")
    before = await _before(asked.path, call.hand)
    await call.hand.write(asked.path, content)
    change = await _change(before.content, content) if before.size <= LARGEST_EDIT else NOTHING_SHOWN
    what = f"{counted(len(asked.content.splitlines()), 'line')}, {size(len(content))}"
    if before.size and change.lines:
        what += f" · −{change.removed} +{change.added}"
    return Outcome(f"wrote {asked.path}: {what}", what, diff=change.lines)


async def _before(path: str, hand: Hand) -> FileSlice:
    """What is about to be replaced; nothing of a new file."""
    try:
        return await hand.read(path, limit=LARGEST_EDIT)
    except ToolError:
        return FileSlice(b"", 0)


async def _change(before: bytes, after: bytes) -> Difference:
    """For people to see, made beside the event loop: it may take a while."""
    if is_binary(before[:8192]) or is_binary(after[:8192]):
        return NOTHING_SHOWN
    return await asyncio.to_thread(lambda: difference(sanitized(before), sanitized(after)))


async def edit(asked: EditFile, call: Call) -> Outcome:
    got = await call.hand.read(asked.path, limit=LARGEST_EDIT)
    if got.size > LARGEST_EDIT:
        raise ToolError(f"{asked.path} has {size(got.size)}, too much for edit_file", "use a command such as sed")
    content, line = replace_once(got.content, asked.old, asked.new, asked.path)
    await call.hand.write(asked.path, content)
    change = await _change(got.content, content)
    what = f"line {line}: −{change.removed} +{change.added}"
    return Outcome(f"edited {asked.path}, {what}", what, diff=change.lines)


async def list_files(asked: ListFiles, call: Call) -> Outcome:
    folder, glob = rooted(asked.path or ".", asked.glob)
    entries, total = await call.hand.list(folder, glob, ENTRIES)
    lines: list[str] = []
    used = 0
    for entry in entries:
        line = _entry(folder, entry)
        used += len(line.encode()) + 1
        if used > call.ports.keep:
            break
        lines.append(line)
    if total > len(lines):
        lines.append(f"… and {total - len(lines)} more: narrow it with path or glob")
    found = "1 entry" if total == 1 else f"{total} entries"
    return Outcome("\n".join(lines) or ("nothing matches" if asked.glob else "the folder is empty"), found)


def _entry(folder: str, entry: DirEntry) -> str:
    path = entry.path if folder in (".", "./") else f"{folder.rstrip('/')}/{entry.path}"
    path = sanitized(path.replace("\n", "?").replace("\r", "?").encode("utf-8", "replace"))
    if entry.kind == "file":
        return f"{path}  {size(entry.size)}"
    return path + {"dir": "/", "link": " (link)"}.get(entry.kind, " (special file)")


WRITES = "files"
"""Two edits of one file must not both start from the same content."""

TOOLS = (
    tool("read_file", ReadFile, read, title=("path",), looks=True),
    tool("write_file", WriteFile, write, title=("path",), turns=WRITES),
    tool("edit_file", EditFile, edit, title=("path",), turns=WRITES),
    tool("list_files", ListFiles, list_files, title=("path", "glob"), looks=True),
)
