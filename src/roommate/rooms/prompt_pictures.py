"""The pictures that people sent, for a model that sees: read from the workspace when a turn begins."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from roommate.agent.openai_messages import PICTURES
from roommate.domain import Hand, Picture, Prompt, RoomId, Step
from roommate.errors import SandboxError, ToolError
from roommate.host import deadlines
from roommate.tools.image_headers import measure
from roommate.tools.send_file import whole

log = logging.getLogger(__name__)

LARGEST = 3 << 20
SECONDS = 20.0
"""No turn waits longer for its pictures."""


async def with_pictures(
    conversation: Sequence[Sequence[Step]], room_id: RoomId, hand: Callable[[RoomId], Awaitable[Hand]]
) -> Sequence[Sequence[Step]]:
    """A conversation with the newest pictures of its prompts. What is no picture any more is left out."""
    paths = [path for turn in conversation for step in turn if isinstance(step, Prompt) for path in step.picture_paths]
    if not paths:
        return conversation
    found: dict[str, Picture] = {}
    try:
        async with deadlines.within(SECONDS):
            room = await hand(room_id)
            for path in dict.fromkeys(paths[-PICTURES:]):
                if picture := await _read(room, path):
                    found[path] = picture
    except (SandboxError, TimeoutError) as error:
        log.warning("the model does not see what was sent: %s", error)
    return [[_seeing(step, found) if isinstance(step, Prompt) else step for step in turn] for turn in conversation]


async def _read(hand: Hand, path: str) -> Picture | None:
    try:
        content = await whole(hand, path, LARGEST)
    except ToolError as error:
        log.info("%s is not shown to the model: %s", path, error)
        return None
    return Picture(known.mimetype, content) if (known := measure(content)) else None


def _seeing(prompt: Prompt, found: dict[str, Picture]) -> Prompt:
    return replace(prompt, pictures=tuple(found[path] for path in prompt.picture_paths if path in found))
