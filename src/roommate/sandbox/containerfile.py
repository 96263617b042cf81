"""The Containerfile as stages: each with its own text, and the digest of all that it is made from."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from roommate.errors import ImageError

_FROM = re.compile(r"^FROM (\S+) AS ([a-z]+)\n", re.MULTILINE)
_GLOBAL = re.compile(r"^ARG (\w+)=(\S+)$", re.MULTILINE)
_NAMED = re.compile(r"^ARG (\w+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stage:
    """`inputs` is the digest of its text, of its pinned versions, and of the stages below it."""

    name: str
    text: str
    """Without its FROM; the ARGs that it names have their values."""
    inputs: str

    def on(self, parent: str, stage: str, inputs: str) -> str:
        """A Containerfile that makes this stage alone on the image `parent`, with these two labels.

        They are its last line: the layers of a build that fails must not look like the stage.
        """
        return f'FROM {parent}\nLABEL {inputs}=""\n{self.text}\nLABEL {stage}={self.name} {inputs}={self.inputs}\n'


def stages(recipe: str, *others: str) -> list[Stage]:
    """In their order, each built on the one before it. `others` is what else they are made from. Raises ImageError."""
    head, *parts = _FROM.split(recipe)
    versions = dict(_GLOBAL.findall(head))
    made: list[Stage] = []
    for parent, name, body in zip(parts[0::3], parts[1::3], parts[2::3], strict=True):
        below = made[-1] if made else None
        if below and parent != below.name:
            raise ImageError(f"in the Containerfile {name} is FROM {parent}, and not from {below.name} before it")
        lines = "".join(line for line in body.splitlines(keepends=True) if not line.startswith("#"))
        text = _NAMED.sub(lambda arg: f"{arg[0]}={versions[arg[1]]}" if arg[1] in versions else arg[0], lines)
        inputs = digest(text, below.inputs) if below else digest(text, parent, versions.get("BASE", ""), *others)
        made.append(Stage(name, text, inputs))
    if not made:
        raise ImageError("the Containerfile has no stage: a line FROM … AS name")
    return made


def digest(*inputs: str) -> str:
    return hashlib.sha256("\0".join(inputs).encode()).hexdigest()[:32]
