"""A workspace's devcontainer.json: what it says of image, setup and ports. Whoever wrote it may be hostile.

https://containers.dev/implementors/json_reference/
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roommate.domain import Hand
from roommate.errors import Misused, ToolError
from roommate.features.room_settings.values import LONGEST_SETUP
from roommate.settings import values as right

PLACES = (".devcontainer/devcontainer.json", ".devcontainer.json")
LONGEST = 64 << 10
MOST_PORTS = 20

_COMMANDS = ("onCreateCommand", "updateContentCommand", "postCreateCommand")
"""In the order in which they are run."""
_ELSEWHERE = ("build", "dockerFile", "dockerComposeFile", "features")
"""What says how to make an image: images are made by operators."""
_STRING = r'"(?:[^"\\\n]|\\.)*+"?'
"""Also one without an end, as a comment may be: each quote in it would be looked behind anew, which takes minutes."""
_STRINGS_AND_COMMENTS = re.compile(_STRING + r"|//[^\n]*|/\*(?:.*?\*/|.*)", re.DOTALL)
_STRINGS_AND_COMMAS = re.compile(_STRING + r"|,(?=\s*[}\]])")


@dataclass(frozen=True, slots=True)
class Devcontainer:
    """`image` and `setup` may be empty. `passed_over` are fields that mean something, and are not taken."""

    image: str
    setup: str
    ports: Sequence[str]
    passed_over: Sequence[str]

    @property
    def digest(self) -> str:
        return hashlib.sha256(f"{self.image}\0{self.setup}".encode()).hexdigest()


async def find(hand: Hand) -> Devcontainer:
    """The workspace's. Raises Misused, SandboxError."""
    for place in PLACES:
        try:
            file = await hand.read(place, limit=LONGEST)
        except ToolError:
            continue
        if file.size > LONGEST:
            raise Misused(f"{place} has {file.size} bytes, {LONGEST} is the most.")
        try:
            return parse(file.content.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise Misused(f"{place} cannot be read: {error}") from None
    raise Misused(f"This room's workspace has no {PLACES[0]}.")


def parse(text: str) -> Devcontainer:
    """Of JSON with comments. Raises ValueError, RecursionError."""
    found = json.loads(without_comments(text))
    if not isinstance(found, dict):
        raise ValueError("it has to be an object")
    image = found.get("image", "")
    if not isinstance(image, str) or (image and not _is_image(image)):
        raise ValueError("its image is no image's name")
    setup = "\n".join(line for name in _COMMANDS for line in _commands(name, found.get(name, "")))
    if len(setup) > LONGEST_SETUP:
        raise ValueError(f"its commands have {len(setup)} characters, {LONGEST_SETUP} is the most")
    ports = found.get("forwardPorts", [])
    if not isinstance(ports, list) or not all(isinstance(port, int | str) for port in ports):
        raise ValueError("its forwardPorts are no list of ports")
    return Devcontainer(
        image, setup, [f"{port}"[:60] for port in ports[:MOST_PORTS]], [name for name in _ELSEWHERE if found.get(name)]
    )


def without_comments(text: str) -> str:
    """Strict JSON of what people write: no comments, no comma behind the last."""
    bare = _STRINGS_AND_COMMENTS.sub(lambda found: found[0] if found[0][0] == '"' else " ", text.removeprefix("\ufeff"))
    return _STRINGS_AND_COMMAS.sub(lambda found: found[0] if found[0][0] == '"' else "", bare)


def _is_image(name: str) -> bool:
    try:
        return bool(right.image(name))
    except ValueError:
        return False


def _commands(name: str, command: Any) -> Sequence[str]:
    """A line for the shell, a list of a program's arguments, or several of them by name."""
    if isinstance(command, str):
        return [command] if command.strip() else []
    if isinstance(command, list) and all(isinstance(word, str) for word in command):
        return [shlex.join(command)] if command else []
    if isinstance(command, dict):
        return [line for one in command.values() if not isinstance(one, dict) for line in _commands(name, one)]
    raise ValueError(f"its {name} is no command")
