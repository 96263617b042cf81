"""Our words to JSON and back, for the columns that hold them; the class name is the tag."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from roommate import words
from roommate.words import Answer, ToolCall


def tag(value: Any) -> str:
    return type(value).__name__


def encode(value: Any) -> str:
    """A frozen dataclass of words.py as JSON text; without a result's picture, which is not kept."""
    fields = {name: field for name, field in asdict(value).items() if name != "picture"}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def decode(kind: str, text: str) -> Any:
    """The value that `encode` was given, of the class named `kind`."""
    fields: dict[str, Any] = json.loads(text)
    if kind == "Answer":
        return Answer(fields["text"], tuple(ToolCall(**call) for call in fields["calls"]))
    return getattr(words, kind)(**{key: tuple(v) if isinstance(v, list) else v for key, v in fields.items()})
