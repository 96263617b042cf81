"""The chat without a terminal: lines in, answers out."""

from __future__ import annotations

import asyncio
from typing import TextIO

from roommate.cli.chat_line_meaning import Leave, React, Say, Tell, intent
from roommate.domain import RoomId, UserId
from roommate.errors import MatrixError
from roommate.text.amounts import size
from roommate.user_client import Client, Post, Timeline

BACK = 50
"""How many events back a question is looked for that a ✅ may answer."""


async def talk(client: Client, room: RoomId, lines: TextIO, out: TextIO) -> None:
    """Say each line, wait for its answer, print it. Raises MatrixError."""
    while line := await asyncio.to_thread(lines.readline):
        match intent(line):
            case Leave():
                return
            case Tell(text):
                _write(out, text)
            case Say() | React() as doing:
                _write(out, text_of(await answer(client, room, doing)))


async def answer(client: Client, room: RoomId, doing: Say | React, of: UserId | None = None) -> Post:
    """Do it, and give what comes of it in the end, `of` this bot where there are more. Raises MatrixError."""

    async def act(timeline: Timeline) -> None:
        match doing:
            case Say(text):
                await client.say(room, text)
            case React(key):
                card = timeline.newest_card(not_of=client.account.user_id)
                if card is None:
                    raise MatrixError("there is no question to answer in this room")
                await client.react(room, card.event_id, key)

    stops = isinstance(doing, Say) and doing.text.lower().startswith("!stop")
    return await client.ask(room, act, BACK, stops=stops, of=of)


def text_of(post: Post) -> str:
    """A message as plain text: whole, as Markdown, and of a question all that there is to read about it."""
    if post.size is not None:
        return f"[file] {post.body} ({size(post.size)})"
    return "\n\n".join([post.body, post.summary, "\n".join(post.steps)]) if post.is_card and post.steps else post.body


def exit_code(answer: Post) -> int:
    """1 for the answer of a turn that did not come to its end."""
    return 0 if answer.state in ("", "done") else 1


def _write(out: TextIO, text: str) -> None:
    out.write(text + "\n")
    out.flush()
