"""Puts a streamed reply together from its pieces, whatever the provider does to them. Pure."""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from roommate.agent.openai_messages import as_object, clean
from roommate.agent.text_calls import calls_in
from roommate.agent.think_tags import ThinkTags
from roommate.domain import ToolCall

CUT_OFF = {
    "length": "\n\n(The model reached the longest reply that its provider lets it write: this is cut off here.)",
    "content_filter": "\n\n(The provider's content filter ended the reply here.)",
}
"""What a reply says at its end when its finish reason is one of these."""


class _Slot:
    """One call in the making."""

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.arguments = ""

    @property
    def whole(self) -> bool:
        """True once the arguments are a JSON object: nothing can follow."""
        return self.arguments.rstrip().endswith("}") and as_object(self.arguments) is not None


DEEPEST = 50
"""Of objects in one another, in what a provider wants back."""


def _storable(value: Any, depth: int = DEEPEST) -> Any:
    """As JSON in UTF-8 can carry it: some servers cut an emoji in two, and Python reads what is no JSON."""
    match value:
        case str():
            return clean(value)
        case dict() if depth:
            return {clean(str(name)): _storable(one, depth - 1) for name, one in value.items()}
        case list() if depth:
            return [_storable(one, depth - 1) for one in value]
        case bool() | int() | None:
            return value
        case float() if math.isfinite(value):
            return value
    return None


_GROWING = ("text", "summary", "thinking")


def _append(blocks: list[dict[str, Any]], block: Mapping[str, Any]) -> None:
    """One piece of a list of blocks: more of the last one, where that is of the same kind and place, and unsigned."""
    last = blocks[-1] if blocks else None
    grows = any(name in block for name in _GROWING) or "signature" in block
    if (
        last is None
        or not grows
        or last.get("signature")
        or (last.get("type"), last.get("index")) != (block.get("type"), block.get("index"))
    ):
        blocks.append(dict(block))
        return
    for name, value in block.items():
        if name in _GROWING and isinstance(value, str):
            last[name] = (last.get(name) or "") + value
        elif value is not None:
            last[name] = value


class Assembly:
    """One reply. `names` are the tools that the model was given: they tell a piece of a name from the whole name."""

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._said: list[str] = []
        self._half = ""
        self._tags = ThinkTags()
        self._slots: list[_Slot] = []
        self._kept: dict[str, Any] = {}
        self.retracted = False
        """What `say` gave until now was a thought: only what it gives from now on is text."""

    @property
    def kept(self) -> dict[str, Any]:
        """The provider's own fields, whole as far as they came (see `Piece`), in a form that can be stored."""
        return {name: _storable(value) for name, value in self._kept.items()}

    @property
    def text(self) -> str:
        return "".join(self._said)

    @property
    def empty(self) -> bool:
        return not self._slots and not self.text.strip()

    def say(self, piece: str) -> tuple[str, str]:
        """Take a piece of text; returns what can be shown of it now (half an emoji waits for its other half, and what
        may be the beginning of a tag for its end), and what of it is a thought."""
        piece = self._half + piece
        self._half = ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._half = piece[:-1], piece[-1]
        shown, thought = self._tags.take(clean(piece))
        if self._tags.retracted and not self.retracted:
            self.retracted = True
            self._said.clear()
        self._said.append(shown)
        return shown, thought

    def end(self) -> str:
        """The reply is whole: what is left to be shown of it."""
        rest = self._tags.end()
        self._said.append(rest)
        return rest

    def keep(self, fields: Mapping[str, Any]) -> None:
        """Take a piece of what the provider wants back."""
        for name, value in fields.items():
            if isinstance(value, str):
                self._kept[name] = self._kept.get(name, "") + value
            elif isinstance(value, list):
                blocks = self._kept.setdefault(name, [])
                for block in value:
                    if isinstance(block, dict):
                        _append(blocks, block)

    def take_text_calls(self) -> bool:
        """Take the calls that stand in the text, where the reply has no others; True where there were some."""
        if self._slots or not self._names:
            return False
        rest, calls = calls_in(self.text, self._names)
        for call in calls:
            slot = _Slot(None)
            slot.name, slot.arguments = call.name, call.arguments
            self._slots.append(slot)
        if calls:
            self._said = [rest]
        return bool(calls)

    def call(self, index: int | None, call_id: str, name: str, arguments: str) -> None:
        """Take a piece of a tool call; what a piece does not say is empty."""
        slot = self._slot(index, call_id, name, arguments)
        slot.id = slot.id or call_id
        slot.name = self._longer(slot.name, name)
        if not (arguments == slot.arguments and slot.whole):  # some send the whole once more at the end
            slot.arguments += arguments

    def calls(self, taken: Collection[str]) -> tuple[ToolCall, ...]:
        """The calls in the order in which they began. Ids are unique among them and the `taken` ones of the history."""
        seen = set(taken)
        calls: list[ToolCall] = []
        for slot in self._slots:
            if slot.name or slot.arguments.strip():
                call_id = clean(slot.id)
                while not call_id or call_id in seen:
                    call_id = f"call_{uuid.uuid4().hex[:24]}"
                seen.add(call_id)
                calls.append(ToolCall(call_id, self._known(clean(slot.name)), clean(slot.arguments)))
        return tuple(calls)

    def _slot(self, index: int | None, call_id: str, name: str, arguments: str) -> _Slot:
        """The call that a piece belongs to.

        The index decides, but some providers leave it out or always send 0: then another id begins another call, and
        without ids a name does that comes when the call before it is whole.
        """
        same = next((slot for slot in reversed(self._slots) if slot.index == index), None)
        if same is None and call_id and not name:
            same = next((slot for slot in self._slots if slot.id == call_id), None)
        if (
            same is None
            or (call_id and same.id and call_id != same.id)
            or (name and name != same.name and {name, same.name} <= self._names)
            or (name and (arguments or name != same.name) and same.whole)
        ):
            same = _Slot(index)
            self._slots.append(same)
        return same

    def _longer(self, name: str, piece: str) -> str:
        """A name after one more piece: most send it once, some in parts, some whole with every piece."""
        joined = name + piece
        if any(known.startswith(joined) for known in self._names):
            return joined
        return name if piece == name or name in self._names else joined

    def _known(self, name: str) -> str:
        """The tool that is meant: some models write ``default_api.run_command`` or ``functions.run_command:0``."""
        bare = name.rpartition(".")[2].partition(":")[0].strip()
        return bare if name not in self._names and bare in self._names else name
