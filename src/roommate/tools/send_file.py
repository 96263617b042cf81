"""The tool send_file: a file of the room's container, for people to see and download."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from mimetypes import MimeTypes
from pathlib import PurePosixPath

from pydantic import Field

from roommate.domain import Attachment, Hand
from roommate.errors import ToolError
from roommate.text.amounts import size
from roommate.tools.arguments import Arguments, Text
from roommate.tools.image_headers import measure
from roommate.tools.outcome import Outcome
from roommate.tools.sanitized_text import sanitized
from roommate.tools.tool import Call, Share, Tool, TurnPorts, tool

SLICE = 1 << 20
LONGEST_NAME = 200
_TYPES = MimeTypes()  # Python's own list: that of the host would make a file's kind differ from host to host
_TYPES.add_type("text/markdown", ".md")


class SendFile(Arguments):
    """Show a file to the people in the chat, who can download it: pictures, documents, results."""

    path: Text = Field(description="Path, relative to the workspace")


def offered(ports: TurnPorts) -> Sequence[Tool[SendFile]]:
    """Where files can be shown."""
    return [tool("send_file", SendFile, partial(_send, ports.share), title=("path",))] if ports.share else []


async def _send(share: Share, asked: SendFile, call: Call) -> Outcome:
    content = await whole(call.hand, asked.path, await share.largest())
    file = described(asked.path, content)
    await share.show(call.id, file)
    what = f"{file.mimetype}, {size(len(content))}" + (f", {file.width}×{file.height}" if file.width else "")
    return Outcome(f"people are shown {file.name}: {what}", what)


async def whole(hand: Hand, path: str, largest: int) -> bytes:
    """Raises ToolError for what is too large, empty or no file."""
    first = await hand.read(path, 0, SLICE)
    content = bytearray(first.content)
    while content and len(content) < first.size <= largest:
        more = (await hand.read(path, len(content), SLICE)).content
        if not more:
            break
        content += more
    if max(first.size, len(content)) > largest:
        raise ToolError(
            f"{path} has {size(first.size)}, and {size(largest)} can be sent", "make it smaller, or split it"
        )
    if not content:
        raise ToolError(f"{path} is empty")
    return bytes(content)


def described(path: str, content: bytes, caption: str = "") -> Attachment:
    """A picture is what has a picture's header; of all else the name says what it is."""
    name = sanitized(PurePosixPath(path).name.encode("utf-8", "replace")).replace("\n", " ")[-LONGEST_NAME:] or "file"
    if picture := measure(content):
        return Attachment(name, content, picture.mimetype, caption, picture.width, picture.height)
    kind, encoding = _TYPES.guess_type(name)
    if kind is None or encoding is not None or kind.startswith("image/"):
        kind = "image/svg+xml" if kind == "image/svg+xml" else "application/octet-stream"
    return Attachment(name, content, kind, caption)
