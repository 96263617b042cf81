"""Words into parameters: what somebody writes behind ``!name`` or ``roommate name``, by what the operation takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin

from roommate.domain import RoomId
from roommate.errors import Misused
from roommate.operations.operation import AsOption, Form, Operation, Params, Short

ROOM = "room"
JSON = "--json"


@dataclass(frozen=True, slots=True)
class Word:
    """A parameter as it is written. `many`: all words that follow."""

    name: str
    written: str
    description: str
    kind: type
    many: bool
    required: bool
    short: str
    as_option: bool

    @property
    def option(self) -> str:
        return f"--{self.name.replace('_', '-')}"

    @property
    def is_option(self) -> bool:
        """On the command line: what may be left out, but a room."""
        return self.kind is bool or not (self.required or self.many or (self.name == ROOM and not self.as_option))

    @property
    def usage(self) -> str:
        shown = f"{self.written} …" if self.many else self.written
        return shown if self.required else f"[{shown}]"

    def read(self, text: str) -> Any:
        """Raises Misused."""
        if self.kind is not int:
            return text
        if not text.isdecimal() or len(text) > 18:
            raise Misused(f"{text!r} is no number")
        return int(text)


def words_of(params: type[Params], form: Form) -> Sequence[Word]:
    """What follows the words of this form."""
    found = []
    for name, field in params.model_fields.items():
        if name in form.fixed:
            continue
        many = get_origin(field.annotation) is list
        kind: type = int if field.annotation is int else bool if field.annotation is bool else str
        short = next((one.name for one in field.metadata if isinstance(one, Short)), "")
        written = field.title or name.upper()
        as_option = AsOption() in field.metadata
        found.append(Word(name, written, field.description or "", kind, many, field.is_required(), short, as_option))
    return found


def chat_usage(operation: Operation[Any, Any, Any], form: Form) -> str:
    """``!egress add HOST[:PORT]``."""
    words = (word.usage for word in words_of(operation.params, form) if word.name != ROOM)
    return " ".join((f"!{form.words}", *words))


def cli_usage(operation: Operation[Any, Any, Any], form: Form) -> str:
    """``roommate rooms pause [ROOM]``."""
    words = words_of(operation.params, form)
    options = [f"[{word.short or word.option}{'' if word.kind is bool else f' {word.written}'}]"
               for word in words if word.is_option]  # fmt: skip
    return " ".join(("roommate", form.words, *(word.usage for word in words if not word.is_option), *options))


def said(operation: Operation[Any, Any, Any], form: Form, text: str, here: RoomId) -> Mapping[str, Any]:
    """The parameters that a text of chat stands for, the words of the form included. Raises Misused."""
    found = dict(form.fixed)
    words = list(words_of(operation.params, form))
    if any(word.name == ROOM for word in words):
        found[ROOM] = here
    words = [word for word in words if word.name != ROOM]
    rest = text
    for _ in form.words.split():
        rest = _cut(rest)[1]
    for word in words:
        if word.many:
            value, rest = rest.split(), ""
        elif word is words[-1] and word.kind is str:
            value, rest = [rest] if rest else [], ""
        else:
            first, rest = _cut(rest)
            value = [first] if first else []
        if value:
            found[word.name] = [word.read(one) for one in value] if word.many else word.read(value[0])
        elif word.required:
            raise Misused(f"{word.written} is missing")
    if rest:
        raise Misused(f"nothing may follow: {rest!r}")
    return found


def typed(operation: Operation[Any, Any, Any], form: Form, arguments: Sequence[str]) -> Mapping[str, Any]:
    """The parameters that a command line stands for, given what follows the words of the form. Raises Misused."""
    words = words_of(operation.params, form)
    options = {name: word for word in words if word.is_option for name in (word.option, word.short) if name}
    found, plain, left = dict(form.fixed), list[str](), list(arguments)
    while left:
        one = left.pop(0)
        if one == "--":
            plain += left
            break
        name, given, value = one.partition("=") if one.startswith("--") else (one, "", "")
        if not one.startswith("-") or one == "-":
            plain.append(one)
        elif (word := options.get(name)) is None:
            raise Misused(f"no such option: {name}")
        elif word.kind is bool:
            found[word.name] = True
        elif given or left:
            found[word.name] = word.read(value if given else left.pop(0))
        else:
            raise Misused(f"{name} needs a value")
    for word in (word for word in words if not word.is_option):
        if word.many:
            values, plain = plain, []
            if values:
                found[word.name] = [word.read(value) for value in values]
        elif plain:
            found[word.name] = word.read(plain.pop(0))
        if word.required and word.name not in found:
            raise Misused(f"{word.written} is missing")
    if plain:
        raise Misused(f"one argument too many: {plain[0]}")
    return found


def _cut(text: str) -> tuple[str, str]:
    """The first word, and what follows it."""
    first, *rest = text.split(maxsplit=1) or [""]
    return first, rest[0] if rest else ""
