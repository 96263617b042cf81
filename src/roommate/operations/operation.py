"""An operation as it is declared, and what one can come to."""

from __future__ import annotations

import base64
import binascii
import enum
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar, get_type_hints

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from roommate.domain import Question, RoomId
from roommate.store import Transaction, Work
from roommate.text.printable import block

if TYPE_CHECKING:
    from roommate.operations.caller import Call

F = TypeVar("F")
P = TypeVar("P", bound="Params")
R = TypeVar("R")


class Who(enum.IntEnum):
    """Who may ask for it: whoever can do more can do what is below, too."""

    ANYONE = 0
    """Of those who may ask the bot for anything."""
    OPERATORS = 1
    HOST = 2
    """Whoever may use the control socket."""


class Params(BaseModel):
    """What an operation takes: what is not named in it is a mistake. A field's `title` is how it is written in usage
    lines, its `description` the help on it. The field `room` is the room that it is about: in chat the one it is said
    in."""

    # Of a hundred kinds a daemon uses a few: each takes 40 kB and half a millisecond once it is built.
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, defer_build=True)


@dataclass(frozen=True, slots=True)
class Short:
    """In a field's annotation: the short name of its option, such as ``-n``."""

    name: str


@dataclass(frozen=True, slots=True)
class AsOption:
    """In a field's annotation: on the command line it is an option, though it names a room."""


RoomName = Annotated[
    str, Field(min_length=1, max_length=300, description="A room's id, the beginning of one, or a room's name.")
]


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value
    except binascii.Error:
        raise ValueError("this is no base64") from None


Base64 = Annotated[bytes, BeforeValidator(_bytes)]


class OfRoom(Params):
    room: RoomName


class OfRoomOrAll(Params):
    room: Annotated[str, Field(max_length=300, description="A room; without one: all of them.")] = ""


@dataclass(frozen=True, slots=True)
class Form:
    """The words that it is called by in chat (``egress add``, without the ``!``) or on the command line, and the
    parameters that they stand for; the others follow them."""

    words: str
    fixed: Mapping[str, Any] = field(default_factory=dict)


def form(words: str, **fixed: Any) -> Form:
    return Form(words, fixed)


@dataclass(frozen=True, slots=True)
class Table:
    """What a terminal shows as columns; without `heads` each row is a name and what it is. Cells are plain text."""

    rows: Sequence[Sequence[str]]
    heads: Sequence[str] = ()

    @property
    def block(self) -> str:
        """As a block of Markdown, without columns in which nothing stands."""
        if not self.heads:
            return block("\n".join("  ".join(filter(None, row)) for row in self.rows))
        columns = [cells for cells in zip(self.heads, *self.rows, strict=True) if any(cells[1:])]
        padded = [[cell.ljust(max(map(len, cells))) for cell in cells] for cells in columns]
        return block("\n".join("  ".join(row).rstrip() for row in zip(*padded, strict=True)))


@dataclass(frozen=True, slots=True)
class Unchanged(Generic[R]):
    """A result where nothing is to be written down: nothing had to be changed, or it is a part of what was stored."""

    result: R


@dataclass(frozen=True, slots=True)
class Change(Generic[R]):
    """What is changed in the database: a part of the transaction that answers it and writes it down, so that a crash
    leaves all of it or nothing.

    `work` does it and gives the result; it must not wait for anything. `after` is called when all of it is on the disk,
    as a start would see it there. Where it has to be a part of somebody else's transaction, `carrier` does it there.
    """

    work: Work[R | Unchanged[R]]
    after: Callable[[], Awaitable[None]] | None = None
    subject: str | None = None
    """What it was done to, for the audit log, where `Operation.subject` does not know it."""
    detail: str = ""
    """How it was done, for the audit log."""
    room_id: RoomId | None = None
    """Where it was done, where the parameters do not say so."""
    carrier: Callable[[Work[object]], Awaitable[object]] | None = None


def changing(
    works: Iterable[Work[object]],
    result: R,
    subject: str | None = None,
    after: Callable[[], Awaitable[None]] | None = None,
) -> Change[R]:
    """A change that cannot fail."""

    def work(c: Transaction) -> R | Unchanged[R]:
        for one in works:
            one(c)
        return result

    return Change(work, after, subject)


def changing_if(
    work: Work[bool],
    done: R,
    nothing: R,
    subject: str | None = None,
    after: Callable[[], Awaitable[None]] | None = None,
) -> Change[R]:
    """A change that gives `nothing`, and is not written down, where `work` finds nothing to change."""
    return Change(lambda c: done if work(c) else Unchanged(nothing), after, subject)


@dataclass(frozen=True, slots=True)
class Ask:
    """It is a question to the room's people first: a card, whose decider does it."""

    question: Question


def _nothing(params: Any) -> str:
    return ""


def _never(result: Any) -> bool:
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation(Generic[F, P, R]):
    """`F` is the feature that it is a part of, whose method `act` is. That gives `R` (dataclasses, or what JSON has),
    a `Change` to it, or an `Ask`; and raises RoommateError."""

    name: str
    """Such as ``rooms.pause``: the method at the control socket."""
    does: str
    """In a line, for ``!help``, ``--help`` and the reference: a sentence."""
    params: type[P]
    act: Callable[[F, P, Call], Awaitable[Any]]
    reads: Callable[[R], str] = str
    """The result as Markdown."""
    terminal: Callable[[R], Table | str] | None = None
    """What a terminal shows instead: columns, or plain text."""
    wrong: Callable[[R], bool] = _never
    """Is the result one that a script stops at? The command line's exit code is 1 then."""
    who: Who = Who.HOST
    audit: str = ""
    """What the audit log calls it; empty for what only looks."""
    subject: Callable[[P], str] = _nothing
    """What it is done to, for the audit log."""
    chat: Sequence[Form] = ()
    """How it is said in a room; nothing where that makes no sense."""
    cli: Sequence[Form] = ()
    socket: bool = True
    """Is it a method at the control socket?"""
    seconds: float | None = 120.0
    """How long it may take at the control socket; None for a stream."""

    def of(self, feature: F) -> Bound:
        """It, with all that it needs in order to be done."""
        return Bound(self, feature)


@dataclass(frozen=True, slots=True)
class Bound:
    """An operation that can be done."""

    operation: Operation[Any, Any, Any]
    feature: Any


def operation(
    name: str,
    *,
    reads: Callable[[Any], str] = str,
    terminal: Callable[[Any], Table | str] | None = None,
    wrong: Callable[[Any], bool] = _never,
    who: Who = Who.HOST,
    audit: str = "",
    subject: Callable[[Any], str] = _nothing,
    chat: str | Sequence[str | Form] = (),
    cli: str | Sequence[str | Form] = (),
    socket: bool = True,
    seconds: float | None = 120.0,
) -> Callable[[Callable[[F, P, Call], Awaitable[Any]]], Operation[F, P, Any]]:
    """Declares a method of a feature: what it takes is its `params`, what it does the first line of its docstring. The
    rest is as `Operation` has it; `chat` and `cli` may be the words alone."""

    def declare(act: Callable[[F, P, Call], Awaitable[Any]]) -> Operation[F, P, Any]:
        return Operation(
            name=name,
            does=(act.__doc__ or "").partition("\n\n")[0].strip(),
            params=get_type_hints(act)["params"],
            act=act,
            reads=reads,
            terminal=terminal,
            wrong=wrong,
            who=who,
            audit=audit,
            subject=subject,
            chat=_forms(chat),
            cli=_forms(cli),
            socket=socket,
            seconds=seconds,
        )

    return declare


def operations_of(feature: type) -> Sequence[Operation[Any, Any, Any]]:
    """Those that are declared in this class, in order."""
    return [one for one in vars(feature).values() if isinstance(one, Operation)]


def _forms(said: str | Sequence[str | Form]) -> Sequence[Form]:
    return [Form(one) if isinstance(one, str) else one for one in ([said] if isinstance(said, str) else said)]
