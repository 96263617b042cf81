"""`policy.toml`: what peers may ask of this daemon, and what it may ask of them. docs/policy.md has the grammar.

What is not granted is denied. What is not known is a mistake, and a file with a mistake grants nothing.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import re
import tomllib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from roommate.domain import HostPlace
from roommate.errors import ConfigError
from roommate.features.mesh.toml_positions import KeyPath, Position, nearest, positions

FILE = "policy.toml"
MOST_BYTES = 256 * 1024
ANY = "*"

Place = Literal["room", "fresh", "bubblewrap", "host"]
"""The room's own container, or a new one of its image; or outside of containers: never unless a rule names it."""
People = Literal["people", "operators"]
METHODS = ("ping", "who", "exec", "call", "share.put", "share.get", "share.ls")


def _absolute(value: str) -> str:
    if value != ANY and (not value.startswith("/") or posixpath.normpath(value) != value or "\0" in value):
        raise ValueError(f"{value!r} must be an absolute path, without `..`, `//` or a `/` at its end")
    return value


def _method(value: str) -> str:
    if value not in METHODS:
        raise ValueError(f"there is no method {value!r}: there are {', '.join(METHODS)}")
    return value


def _is_some(value: list[Any]) -> list[Any]:
    if not value:
        raise ValueError("it must not be empty: an empty list grants nothing")
    return value


Text = Annotated[str, Field(min_length=1, max_length=4096)]
Names = Annotated[list[Text], AfterValidator(_is_some)]
Paths = list[Annotated[Text, AfterValidator(_absolute)]]
Methods = Annotated[list[Annotated[str, AfterValidator(_method)]], AfterValidator(_is_some)]
Argv = Annotated[list[str], AfterValidator(_is_some)]
Seconds = Annotated[int, Field(ge=1, le=86_400)]
Bytes = Annotated[int, Field(ge=1, le=1 << 30)]
Count = Annotated[int, Field(ge=1, le=1000)]


class _Part(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, ignored_types=(cached_property,), defer_build=True
    )


class Limits(_Part):
    """The lower of these and of what a request asks for counts."""

    seconds: Seconds = 120
    output_bytes: Bytes = 8 << 20
    at_once: Count = 4
    """Requests of one peer in one room at a time."""
    per_minute: Count = 30
    """Requests of one peer in one room."""


class Rule(_Part):
    """Grants `methods` to `peers` in `rooms`. What a method does more closely is in the keys behind."""

    peers: Names
    rooms: Names
    methods: Methods
    commands: Paths = []
    arguments: list[str] = []
    not_arguments: list[str] = []
    argv: list[Argv] = []
    folders: Paths = ["/workspace"]
    environment: list[Text] = []
    places: Annotated[list[Place], AfterValidator(_is_some)] = ["room"]
    user: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9._-]{0,31}$")] = ""
    """Who runs what runs outside of containers."""
    network: bool = False
    """In bubblewrap: the host's."""
    pty: bool = False
    stdin: bool = False
    tools: list[Text] = []
    paths: Paths = []
    approval: People | Literal["none"] = "operators"
    seconds: Seconds | None = None
    output_bytes: Bytes | None = None
    at_once: Count | None = None
    per_minute: Count | None = None

    @model_validator(mode="after")
    def _says_enough(self) -> Self:
        if "exec" in self.methods and not (self.commands or self.argv):
            raise ValueError("exec needs `commands` or `argv`")
        if self.argv and any(_absolute(one[0]) == ANY for one in self.argv):
            raise ValueError("the first word of an `argv` must be an absolute path")
        if "host" in self.places and not self.user:
            raise ValueError("the place `host` needs a `user`")
        if self.user and not {"host", "bubblewrap"} & set(self.places):
            raise ValueError("`user` is for the places `bubblewrap` and `host`")
        if self.network and "bubblewrap" not in self.places:
            raise ValueError("`network` is for the place `bubblewrap`")
        if "call" in self.methods and not self.tools:
            raise ValueError("call needs `tools`")
        if any(one.startswith("share.") for one in self.methods) and not self.paths:
            raise ValueError("share needs `paths`")
        return self

    def outside(self, place: object) -> HostPlace | None:
        """Where that place is, if it is none of containers."""
        if place == "host":
            return HostPlace("host", self.user)
        return HostPlace("bubblewrap", self.user, self.network) if place == "bubblewrap" else None

    @cached_property
    def arguments_match(self) -> re.Pattern[str]:
        return matching(self.arguments)

    @cached_property
    def not_arguments_match(self) -> re.Pattern[str]:
        return matching(self.not_arguments)

    @cached_property
    def environment_match(self) -> re.Pattern[str]:
        return matching(self.environment)

    @cached_property
    def tools_match(self) -> re.Pattern[str]:
        return matching(self.tools)


class Outgoing(_Part):
    """The model of `rooms` may ask `peers` for `methods`."""

    peers: Names
    rooms: Names
    methods: Methods


class Expected(_Part):
    """A test of the policy itself: what should come of this, where everything is what it looks like."""

    peer: Text
    room: Text
    method: Annotated[str, AfterValidator(_method)]
    words: list[str] = []
    folder: Text = "/workspace"
    place: Place = "room"
    environment: list[Text] = []
    expect: Literal["allow", "people", "operators", "deny"]


class _Whole(_Part):
    version: Annotated[int, Field(ge=1, le=1)]
    limits: Limits = Limits()
    allow: list[Rule] = []
    outgoing: list[Outgoing] = []
    test: list[Expected] = []


class Policy:
    """A file that was read."""

    def __init__(self, whole: _Whole, where: Mapping[KeyPath, Position]) -> None:
        self.limits, self.outgoing = whole.limits, tuple(whole.outgoing)
        self.allow, self.tests = tuple(whole.allow), tuple(whole.test)
        self.lines = tuple(nearest(where, ("allow", number)).line for number in range(len(self.allow)))
        """Where its rules begin."""
        self.test_lines = tuple(nearest(where, ("test", number)).line for number in range(len(self.tests)))

    @classmethod
    def load(cls, path: Path) -> Policy:
        """Where there is no file, nothing is granted. Raises ConfigError, with the line and column of a mistake."""
        try:
            with path.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return NOTHING
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        if len(raw) > MOST_BYTES:
            raise ConfigError(f"{path} is larger than {MOST_BYTES // 1024} KiB")
        try:
            return cls.read(raw.decode())
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"{path}, line {line}: it is no text in UTF-8") from error
        except PolicyMistake as error:
            raise ConfigError(f"{path}, {error}") from error

    @classmethod
    def read(cls, text: str) -> Policy:
        """Raises PolicyMistake."""
        try:
            found = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise PolicyMistake(_in_toml(text, str(error))) from None
        except RecursionError:
            raise PolicyMistake("line 1, column 1: it is nested too deeply") from None
        try:
            whole = _Whole.model_validate(found)
        except ValidationError as error:
            said = [_said(nearest(positions(text), one["loc"]), one) for one in error.errors(include_url=False)]
            raise PolicyMistake("; ".join(said[:5])) from None
        return cls(whole, positions(text))


class PolicyMistake(ValueError):
    """The message begins with the line and column."""


NOTHING = Policy(_Whole(version=1), {})


class PolicyFile:
    """The policy as the file says it now: who asks has what was written a moment ago, and nothing runs meanwhile."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem = ""
        """Why nothing is granted, for people; empty where the file can be read."""
        self._stamp: object = ()
        self._policy: Policy | None = None

    def begin(self) -> None:
        """At a start, a file with a mistake is none to start with. Raises ConfigError."""
        if self.now() is None:
            raise ConfigError(self.problem)

    def look(self) -> str:
        """The problem as it is now."""
        self.now()
        return self.problem

    @property
    def stamp(self) -> object:
        """Changes with the file. Blocks for a look at it."""
        return self._stamp_now()

    def now(self) -> Policy | None:
        """None where the file has a mistake: then nothing is granted. Blocks for a look at the file."""
        stamp = self._stamp_now()
        if stamp is None or stamp != self._stamp:
            try:
                self._policy, self.problem = Policy.load(self.path), ""
            except ConfigError as error:
                self._policy, self.problem = None, str(error)
            self._stamp = stamp
        return self._policy

    def _stamp_now(self) -> object:
        try:
            found = os.stat(self.path)  # noqa: PTH116
        except FileNotFoundError:
            return "missing"
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def matching(globs: list[str]) -> re.Pattern[str]:
    """What is one of these, whole: ``*`` stands for any text, ``?`` for a character, and all else for itself."""
    return re.compile("|".join(fnmatch.translate(one.replace("[", "[[]")) for one in globs) or r"(?!)")


def _in_toml(text: str, message: str) -> str:
    at = re.search(r" \(at line (\d+), column (\d+)\)", message)
    if at:
        return f"line {at[1]}, column {at[2]}: {message[: at.start()]}"
    lines = text.splitlines() or [""]
    return f"line {len(lines)}, column {len(lines[-1]) + 1}: {message.partition(' (at')[0]}"


def _said(position: Position, problem: ErrorDetails) -> str:
    key = ".".join(str(one) for one in problem["loc"] if isinstance(one, str))
    context = problem.get("ctx", {})
    match problem["type"]:
        case "extra_forbidden":
            message = "there is no such key"
        case "missing":
            message = "it is missing"
        case "value_error":
            message = str(context.get("error"))
        case _:
            message = problem["msg"]
    return f"line {position.line}, column {position.column}: {key}: {message[:300]}"
