"""What can be set for a room, what each value may be, and what a room's container is given of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from roommate.errors import Misused
from roommate.sandbox.container_spec import ENVIRONMENT, TRUST
from roommate.sandbox.room_container_settings import Own
from roommate.settings.config import Settings

ENV = "env."
"""Before the name of an environment variable."""
LONGEST_SETUP = 8000
LONGEST_VALUE = 4000
MOST_VARIABLES = 50

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
_OURS = frozenset({*ENVIRONMENT, *TRUST, "PATH", "USER", "SHELL", "LD_PRELOAD", "LD_LIBRARY_PATH"})
_OUR_PREFIXES = ("GIT_CONFIG_", "ROOMMATE_")
_SECRET = re.compile(
    r"(?i)passw|passphrase|pwd|secret|token|credential|private|(^|_)(api_?)?keys?($|_)|apikey|(^|_)(auth|pat|dsn)($|_)"
)
_LOOKS = re.compile(
    r"\b(?:sk-|gh[oprsu]_|github_pat_|glpat-|AIza|sy[rt]_|xox[a-z]-|AKIA)[\w-]{10,}|://[^/\s:@]+:[^/\s@]+@"
)


@dataclass(frozen=True, slots=True)
class Kind:
    about: str
    """For people: what it is."""
    read: Callable[[str], str]
    """As it is stored. Raises ValueError, which says in words what is right."""
    of_all: Callable[[Settings], str]
    """What counts in rooms where it is not set."""
    remakes: bool = True
    """A container that runs has to be made anew."""


def _as_setting(name: str, text: str) -> str:
    """By what the daemon's own setting may be."""
    field = Settings.model_fields[name]
    meant: Any = Annotated[(field.annotation, *field.metadata)]
    checked: TypeAdapter[Any] = TypeAdapter(meant)
    try:
        return f"{checked.validate_python(text)}"
    except ValidationError as error:
        why = error.errors()[0]["msg"]
        raise ValueError(why.removeprefix("Value error, ").removeprefix("Input should be ")) from None


def _memory(text: str) -> str:
    """MiB, or with a G behind it GiB."""
    found = re.fullmatch(r"(\d{1,9})\s*(?:([gG])(?:i?[bB])?|[mM](?:i?[bB])?)?", text)
    if found is None:
        raise ValueError("a number of MiB, such as 4096 or 4G")
    return _as_setting("sandbox_memory_mb", f"{int(found[1]) * (1024 if found[2] else 1)}")


def _seconds(text: str) -> str:
    return _as_setting("command_timeout_seconds", text.removesuffix("s").strip())


def _script(text: str) -> str:
    if len(text) > LONGEST_SETUP:
        raise ValueError(f"{LONGEST_SETUP} characters at most: put the rest into a file of the workspace")
    if "\0" in text:
        raise ValueError("a text without NUL")
    return text


KINDS: Mapping[str, Kind] = {
    "timeout": Kind(
        "seconds that a command may run when the model does not say",
        _seconds,
        lambda settings: f"{settings.command_timeout_seconds:g}",
        remakes=False,
    ),
    "image": Kind(
        "image of the container, one that this host has", partial(_as_setting, "sandbox_image"),
        lambda settings: settings.sandbox_image,
    ),
    "memory": Kind("memory of the container in MiB", _memory, lambda settings: f"{settings.sandbox_memory_mb}"),
    "cpus": Kind(
        "CPUs of the container", partial(_as_setting, "sandbox_cpus"), lambda settings: f"{settings.sandbox_cpus:g}"
    ),
    "tokens": Kind(
        "tokens that its models may take in a day; 0 is no limit", partial(_as_setting, "room_tokens_per_day"),
        lambda settings: f"{settings.room_tokens_per_day}", remakes=False,
    ),
    "setup": Kind("script that runs in each container that is made, before anything else", _script, lambda _: ""),
}  # fmt: skip


def kind(name: str) -> Kind:
    """Raises Misused."""
    if name.startswith(ENV):
        return Kind(
            "a variable of the container's environment", partial(_variable, name.removeprefix(ENV)), lambda _: ""
        )
    if name not in KINDS:
        raise Misused(f"There is no setting {name!r}: a room has {known()}.")
    return KINDS[name]


def known() -> str:
    return ", ".join([*KINDS, f"{ENV}NAME"])


def read(name: str, text: str) -> str:
    """The value as it is stored. Raises Misused."""
    try:
        return kind(name).read(text.strip())
    except ValueError as error:
        raise Misused(f"Nothing was changed: {name} has to be {error}.") from None


def _variable(name: str, text: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise Misused("Nothing was changed: a variable is called by letters, digits and _, such as env.DEBUG.")
    if name in _OURS or name.startswith(_OUR_PREFIXES):
        raise Misused(f"Nothing was changed: {name} is what the container itself needs.")
    if _SECRET.search(name) or _LOOKS.search(text):
        raise Misused(
            f"Nothing was changed: {name} looks like a secret, and whatever runs in a room can read its environment. "
            "Keys stay with the daemon, which adds them for models (LLM_API_KEY and others) and for git (GITHUB_TOKEN)."
        )
    if len(text) > LONGEST_VALUE or "\0" in text:
        raise ValueError(f"a text of {LONGEST_VALUE} characters at most")
    return text


def own(found: Mapping[str, str]) -> Own:
    """What a container is given."""
    return Own(
        image=found.get("image", ""),
        memory_mb=int(found.get("memory", 0)),
        cpus=float(found.get("cpus", 0)),
        environment={name.removeprefix(ENV): value for name, value in found.items() if name.startswith(ENV)},
        setup=found.get("setup", ""),
    )


def variables(names: Iterable[str]) -> int:
    return sum(name.startswith(ENV) for name in names)


def timeout(found: Mapping[str, str], settings: Settings) -> float:
    """Seconds that a command may run when the model does not say."""
    return float(found.get("timeout", settings.command_timeout_seconds))
