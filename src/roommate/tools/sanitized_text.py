"""Bytes that a program printed, as text that is safe to show: no control characters, escapes or surrogates."""

from __future__ import annotations

import re

from roommate.tools.bounded import Excerpt

_ESCAPE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_][^\x1b\x07]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links
    r"|\x1b[ -/]*[0-~]"
)
_CONTROL = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_CONTROL_BUT_NUL = {**_CONTROL, 0: "\n"}  # ends a line in the output of find -print0 and the like
_NO_TEXT = {**_CONTROL, 0xFFFD: None, **{ord(char): char for char in "\r\b\f\x1b"}}
_BINARY_SHARE = 0.1
_BINARY_SHOWN = 64


def sanitized(output: bytes) -> str:
    """ECMA-48 escape sequences go; of a line that was drawn again and again (``\\r``) the last state stays."""
    text = _ESCAPE.sub("", output.decode("utf-8", "replace"))
    if "\r" in text:
        text = "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))
    return text.translate(_CONTROL_BUT_NUL)


def is_binary(content: bytes) -> bool:
    """Is more than a tenth of it neither text nor what terminals understand?"""
    text = content.decode("utf-8", "replace")
    return len(text) - len(text.translate(_NO_TEXT)) > _BINARY_SHARE * len(text)


def start_of_binary(content: bytes) -> str:
    return content[:_BINARY_SHOWN].hex(" ")


def shown(excerpt: Excerpt, whole: str = "") -> str:
    """The excerpt for a model; `whole` names the file that has all of it."""
    if is_binary(excerpt.head + excerpt.tail):
        where = f", all of it in {whole}" if whole else ""
        start = start_of_binary(excerpt.head + excerpt.tail)
        return f"[binary output, {excerpt.size} bytes{where}; it starts with {start}]"
    if not excerpt.left_out:
        return sanitized(excerpt.head + excerpt.tail)
    lines = f" ({excerpt.left_out_lines} lines)" if excerpt.left_out_lines else ""
    where = f", whole output in {whole}" if whole else ""
    head, tail = sanitized(excerpt.head), sanitized(excerpt.tail)
    newline = "\n" if head and not head.endswith("\n") else ""
    return f"{head}{newline}… {excerpt.left_out} bytes{lines} left out{where} …\n{tail}"
