"""What the model reads before a prompt's own words: what it replies to, and the files that came with it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from roommate.domain import Prompt, SentFile, UserId
from roommate.store import ReceivedFile
from roommate.text.amounts import size
from roommate.text.printable import one_line

LONGEST_QUOTE = 2000
"""Characters; what is longer keeps its beginning and its end."""
LONGEST_WORD = 100
UNREADABLE = "[This replies to a message that cannot be read any more.]"


@dataclass(frozen=True, slots=True)
class RepliedTo:
    """A message that somebody replies to. `ours`: the bot said it."""

    sender: UserId
    text: str
    ours: bool = False
    file: SentFile | None = None


def in_reply(text: str, to: RepliedTo | None) -> str:
    """A prompt with what it replies to in front, marked as a quotation; None stands for what cannot be had."""
    if to is None:
        return f"{UNREADABLE}\n{text}"
    words = to.text.strip()
    if len(words) > LONGEST_QUOTE:
        words = f"{words[: LONGEST_QUOTE * 3 // 4]}\n[…]\n{words[-LONGEST_QUOTE // 4 :]}"
    who = "your own message" if to.ours else f"a message of {one_line(to.sender, LONGEST_WORD)}"
    file = f" with the file {one_line(to.file.name, LONGEST_WORD)!r}" if to.file else ""
    quote = "".join(f"\n> {line}" for line in words.splitlines())
    return f"[This replies to {who}{file}{':' if quote else ''}{quote}]\n{text}"


def with_files(prompt: Prompt, files: Sequence[ReceivedFile]) -> Prompt:
    """A prompt that tells where the files lie, and which of them are pictures."""
    lines = [f"[{_who(file.sender)} sent {file.path} ({_about(file)})]" for file in files]
    pictures = tuple(file.picture for file in files if file.picture)
    if not files:
        return prompt
    text = "\n".join([*lines, *([prompt.text] if prompt.text else [])])
    return replace(prompt, text=text, picture_paths=prompt.picture_paths + pictures)


def _who(sender: UserId) -> str:
    return one_line(sender.partition(":")[0].removeprefix("@"), LONGEST_WORD)


def _about(file: ReceivedFile) -> str:
    kind = one_line(file.sent.mimetype, LONGEST_WORD)
    return ", ".join(part for part in (kind, size(file.size)) if part)
