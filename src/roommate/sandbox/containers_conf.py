"""Podman's configuration (containers.conf(5)) as rooms need it: the host's own or one of ours, with what both need.

A file that is named in CONTAINERS_CONF is the only one that Podman reads, and those before 4.6 know no other way to add
something to what the host has. So what the host has is read here, in Podman's own order.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from roommate.domain import JsonObject
from roommate.errors import EngineError

OURS: JsonObject = {
    # Else each container takes a key of the one user that the ids of all rooms belong to, who may have 200 of them
    # (kernel.keys.maxkeys), and no container starts any more. See keyring.py for whose they see instead.
    "containers": {"keyring": False},
}


def text(base: str | None, root: Path = Path("/")) -> str:
    """The whole configuration: `base`, or what the host has where that is None. Raises EngineError."""
    found: JsonObject = {}
    if base is not None:
        found = tomllib.loads(base)
    else:
        for path in _of_host(root):
            try:
                _add(found, tomllib.loads(path.read_text()))
            except (OSError, ValueError) as error:
                raise EngineError(f"Podman's configuration {path} cannot be read: {error}") from error
    _add(found, OURS)
    return "".join(f"{line}\n" for line in _lines(found, ()))


def _of_host(root: Path) -> Iterator[Path]:
    """Files, each of which wins over those before it."""
    if named := os.environ.get("CONTAINERS_CONF"):
        yield Path(named)
        return
    yield from _with_parts(root / "usr/share/containers/containers.conf")
    yield from _with_parts(root / "etc/containers/containers.conf")
    config = os.environ.get("XDG_CONFIG_HOME") or Path(os.environ.get("HOME", "/")) / ".config"
    yield from _with_parts(Path(config) / "containers/containers.conf")


def _with_parts(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    yield from sorted(path.with_name(f"{path.name}.d").glob("*.conf"))


def _add(found: JsonObject, more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, dict):
            _add(found.setdefault(name, {}), value)
        elif isinstance(value, list):
            found[name] = _joined(found.get(name, []), value)
        else:
            found[name] = value


def _joined(known: list[Any], more: list[Any]) -> list[Any]:
    """A list replaces the one before, unless ``{append=true}`` is in it, which then holds from there on."""
    plain = [one for one in more if not isinstance(one, dict)]
    appends = next(
        (one["append"] for one in reversed([*known, *more]) if isinstance(one, dict) and "append" in one), None
    )
    kept = [one for one in known if not isinstance(one, dict)] if appends else []
    return [*kept, *plain, *([] if appends is None else [{"append": appends}])]


def _lines(table: Mapping[str, Any], where: tuple[str, ...]) -> Iterator[str]:
    """As TOML, whose values are JSON's as far as this file has them."""
    for name, value in table.items():
        if not isinstance(value, dict):
            yield f"{json.dumps(name)} = {_value(value)}"
    for name, value in table.items():
        if isinstance(value, dict):
            inner = (*where, json.dumps(name))
            yield f"[{'.'.join(inner)}]"
            yield from _lines(value, inner)


def _value(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {_value(one)}" for name, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)
