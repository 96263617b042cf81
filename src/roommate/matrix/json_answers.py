"""What a homeserver answers as JSON, however deep somebody has nested what they say there, or how long a number is."""

from __future__ import annotations

import json
import re

from roommate.domain import JsonObject

DEEPEST = 200
"""Objects and lists within each other that are read where not all can be. No event that means something has as many."""
LONGEST_NUMBER = 400
"""Digits of a whole number that is read where not all can be."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


def read(content: bytes) -> JsonObject:
    """The object; empty for what is none, such as a page of something before the homeserver.

    Python's parser gives up where objects and lists are some 900 deep, or where a number has 4300 digits, which no
    event of a room of version 6 or later can have. An event like that must not keep all others of its sync from us, now
    and whenever we ask for it again: what is deep in it is left out, and so is the number.
    """
    try:
        try:
            answer = json.loads(content)
        except json.JSONDecodeError:
            return {}
        except (ValueError, RecursionError):
            answer = json.loads(_shallow(content), parse_int=_number)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(answer, dict):
        return {}
    return answer if _is_unicode(answer, content) else _with_marks(content)


def _is_unicode(answer: JsonObject, content: bytes) -> bool:
    """Halves of surrogates are none: no database takes them, and nobody sends them on."""
    if not _SURROGATE.search(content):
        return True
    try:
        json.dumps(answer, ensure_ascii=False).encode()
    except (UnicodeEncodeError, RecursionError):
        return False
    return True  # emoji


def _with_marks(content: bytes) -> JsonObject:
    text = json.dumps(json.loads(_shallow(content), parse_int=_number), ensure_ascii=False)
    found: JsonObject = json.loads(text.encode(errors="replace"))
    return found


def _number(digits: str) -> int | None:
    return int(digits) if len(digits) <= LONGEST_NUMBER else None


def _shallow(content: bytes) -> bytes:
    """The same with ``null`` for what is nested deeper than DEEPEST."""
    kept: list[bytes] = []
    depth = start = 0
    for token in _TOKEN.finditer(content):
        if token[0] in b"[{":
            depth += 1
            if depth == DEEPEST + 1:
                kept += [content[start : token.start()], b"null"]
        elif token[0] in b"]}":
            depth -= 1
            if depth == DEEPEST:
                start = token.end()
    return b"".join((*kept, content[start:])) if depth <= DEEPEST else b""
