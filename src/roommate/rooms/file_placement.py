"""Files that come into a room's workspace: written through its hand, whole or not at all, beside what lies there."""

from __future__ import annotations

import asyncio
import json
import mimetypes
import re
import unicodedata
from collections.abc import AsyncIterator, Sequence
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from roommate.domain import Hand
from roommate.errors import ToolError
from roommate.text.printable import one_line

LONGEST_NAME = 120
"""Bytes of a file's name; 255 is what file systems take."""
LONGEST_SUFFIX = 16
LONGEST_ANSWER = 4096

_NOT_IN_NAMES = re.compile(r"[\s/\\:*?\"<>|\N{REPLACEMENT CHARACTER}]+")


class _Said(BaseModel):
    """What the program in the container says of it; see file_placement_program.py."""

    model_config = ConfigDict(defer_build=True)

    name: str = ""
    error: str = ""


def safe_name(name: str, mimetype: str = "") -> str:
    """A name for a file whatever its sender calls it: one part of a path, visible, printable, and not too long."""
    name = unicodedata.normalize("NFC", name.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    last = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    shown = "".join(mark if mark.isprintable() else " " for mark in last)
    shown = _NOT_IN_NAMES.sub("_", shown.strip()).lstrip(".-_ ").rstrip(". ")
    stem, dot, suffix = shown.rpartition(".")
    if not dot or not stem or len(suffix.encode()) > LONGEST_SUFFIX:
        stem, suffix = shown, ""
    kept = stem.encode()[: LONGEST_NAME - len(suffix.encode()) - 1].decode(errors="ignore").rstrip(". ")
    if not kept:
        return "file" + (mimetypes.guess_extension(mimetype.partition(";")[0].strip().lower()) or "")
    return f"{kept}.{suffix}" if suffix else kept


async def place(hand: Hand, folder: Sequence[str], name: str, draft: str, pieces: AsyncIterator[bytes]) -> str:
    """Write what comes to ``folder/name`` in the workspace; gives the name that it has there.

    Where another file has that name it gets the next that is free; where a file with the same content has it, that is
    the one: placed again after a crash it is there once. No link is followed that the room has put in the way. `draft`
    is how it is called before it is whole. Raises ToolError, SandboxError, and what `pieces` raises: then it is not
    there.
    """
    program = Path(__file__).with_name("file_placement_program.py").read_text("utf-8")
    asked = json.dumps({"folder": list(folder), "name": name, "draft": draft})
    said = bytearray()

    def take(piece: bytes) -> None:
        said.extend(piece[: LONGEST_ANSWER - len(said)])

    session = hand.session(["python3", "-I", "-X", "utf8", "-c", program, asked])
    try:
        async with asyncio.TaskGroup() as group:
            ended = group.create_task(session.finish(take))
            async for piece in pieces:
                if ended.done():
                    break
                await session.write(len(piece).to_bytes(4, "big") + piece)
            await session.write(bytes(4))  # all of it is there: the program keeps nothing that just breaks off
            session.end()
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
    try:
        answer = _Said.model_validate_json(bytes(said).strip().rpartition(b"\n")[2])
    except ValidationError:
        answer = _Said(error=said.decode(errors="replace"))
    if answer.error or not answer.name or PurePosixPath(answer.name).name != answer.name:
        raise ToolError(f"it was not written: {one_line(answer.error, 200) or 'nobody knows why'}")
    return answer.name
