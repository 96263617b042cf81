"""Our words to JSON and back, for the columns that hold them; the tag beside says of which class it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from roommate import domain
from roommate.domain import Answer, SentFile, Thought, ToolCall, Unknown

log = logging.getLogger(__name__)

PROMPT, MESSAGE, REACTION, EDIT = "Prompt", "Message", "Reaction", "Edit"
"""The tags that queries ask for."""
HOOK = "HookEvent"
"""Of a table that holds nothing else, and no tags."""

TAGS: Mapping[str, type[Any]] = {
    PROMPT: domain.Prompt,
    "Answer": Answer,
    "ToolResult": domain.ToolResult,
    MESSAGE: domain.Message,
    REACTION: domain.Reaction,
    EDIT: domain.Edit,
    "Unreadable": domain.Unreadable,
    "Invite": domain.Invite,
    "Arrived": domain.Arrived,
    "Gone": domain.Gone,
    "Tombstone": domain.Tombstone,
    HOOK: domain.HookEvent,
}
"""What rows say. A class may be called otherwise tomorrow, its tag may not, and no tag is ever another class's."""

_TAG_OF = {kind: name for name, kind in TAGS.items()}
_FIELDS = {name: frozenset(field.name for field in fields(kind)) for name, kind in TAGS.items()}
_OF_FILE = frozenset(field.name for field in fields(SentFile))


def tag(value: Any) -> str:
    return _TAG_OF[type(value)]


def encode(value: Any) -> str:
    """A frozen dataclass of words.py as JSON text; without pictures for the model, which are not kept."""
    kept = {name: field for name, field in asdict(value).items() if name not in ("picture", "pictures")}
    if isinstance(value, domain.Message):  # earlier releases know a file by its name alone
        kept["attachment"] = value.file and value.file.name
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def decode(kind: str, text: str) -> Any:
    """The value that `encode` was given, of the class with the tag `kind`.

    A later release, which was rolled back, may have stored more: Unknown is what has a tag of its own, and fields that
    this one does not know are passed over.
    """
    if kind not in TAGS:
        log.warning("a row of the kind %s, which only a later release knows, is passed over", kind)
        return Unknown(kind)
    given: dict[str, Any] = {name: value for name, value in json.loads(text).items() if name in _FIELDS[kind]}
    if kind == "Answer":
        calls = tuple(ToolCall(one["id"], one["name"], one["arguments"]) for one in given["calls"])
        thought = given.get("thought")
        return Answer(given["text"], calls, Thought(thought["model"], thought["fields"]) if thought else None)
    if isinstance(file := given.get("file"), dict):
        given["file"] = SentFile(**{name: value for name, value in file.items() if name in _OF_FILE})
    return TAGS[kind](**{name: tuple(value) if isinstance(value, list) else value for name, value in given.items()})
