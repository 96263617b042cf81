"""What the value of a setting may be: each function gives it as Roommate has it, or raises ValueError, which says in
words for a person what is right."""

from __future__ import annotations

import ipaddress
import os
import re
import shlex
import zoneinfo
from collections.abc import Callable
from pathlib import Path

LONGEST_PATH, LONGEST_NAME = 4095, 255
"""Bytes: path_resolution(7)."""
LONGEST_HOST = 230
"""Characters: it stands in Matrix ids."""
LONGEST_ID = 255
"""Bytes of a Matrix id: https://spec.matrix.org/latest/appendices/#identifier-grammar."""

_HOST = r"(?:[^\W_](?:[\w.-]*[\w.])?|\[[0-9A-Fa-f:.]+\])"
_SERVER = rf"{_HOST}(?::\d{{1,5}})?"
_USER = re.compile(rf"@[^:\s]+:{_SERVER}")
_GLOB = re.compile(r"[@*?\[][^:\s]*:\S+|\*")
_ROOM = re.compile(r"![^\s,]+")
_WEB = re.compile(rf"https?://{_HOST}(?::(?P<port>\d{{1,5}}))?(?:/[^\s?#]*)?", re.IGNORECASE)
_PROXY = re.compile(rf"https?://(?:[^\s/@]*@)?{_HOST}(?::(?P<port>\d{{1,5}}))?/?", re.IGNORECASE)
_IMAGE = re.compile(r"[A-Za-z0-9][\w.:/@+-]*", re.ASCII)
_REF = re.compile(r"[A-Za-z0-9][\w./+-]{0,200}", re.ASCII)
_KEY = re.compile(r"[!-~]+")
_UNWRITABLE = re.compile("[\0\ud800-\udfff]")
_LINES = re.compile(r"[\n\r]")


def is_plain(value: str, *, lines: bool) -> bool:
    """Nothing is in it that no text can hold, nor the end of a line, unless it may have `lines`."""
    return not _UNWRITABLE.search(value) and (lines or not _LINES.search(value))


def user_id(value: str) -> str:
    if value and (not _USER.fullmatch(value) or len(value.encode()) > LONGEST_ID):
        raise ValueError("it must be a whole Matrix id, such as @you:example.org")
    return value


def user_ids(values: tuple[str, ...]) -> tuple[str, ...]:
    return _each(values, user_id, "whole Matrix ids with commas between them, such as @you:example.org,@me:example.org")


def user_globs(values: tuple[str, ...]) -> tuple[str, ...]:
    return _each(values, _glob, "globs of whole Matrix ids with commas between them, such as @*:example.org; * is all")


def _glob(value: str) -> str:
    if not _GLOB.fullmatch(value):
        raise ValueError
    return value


def room_id(value: str) -> str:
    if value and (not _ROOM.fullmatch(value) or len(value.encode()) > LONGEST_ID):
        raise ValueError(
            "it must be a room's id, which begins with !; clients show it among the advanced settings of the room"
        )
    return value


def web_address(value: str) -> str:
    """Without a slash at its end."""
    if not value:
        return value
    if "://" not in value:
        raise ValueError("it must begin with http:// or https://")
    if "@" in value.partition("://")[2].partition("/")[0]:
        raise ValueError("it must be an address without a name and a password in it")
    found = _WEB.fullmatch(value)
    if found is None or not 0 < int(found["port"] or 1) < 1 << 16:
        raise ValueError("it must be an address such as https://example.org or http://127.0.0.1:8008")
    return value.rstrip("/")


def homeserver(value: str) -> str:
    address = web_address(value)
    if "/_matrix" in address:
        raise ValueError("it must be the homeserver's address without what is behind /_matrix")
    return address


def is_proxy(value: str) -> bool:
    """Perhaps with a name and a password in it."""
    found = _PROXY.fullmatch(value)
    return found is not None and int(found["port"] or 1) < 1 << 16


def server_address(value: str) -> str:
    """An IP address or a host name that stands by itself; IPv6 in brackets."""
    try:
        address = ipaddress.ip_address(value.strip("[]"))
        return f"[{address}]" if address.version == 6 else str(address)
    except ValueError:
        pass
    if value and (not re.fullmatch(_HOST, value) or len(value) > LONGEST_HOST):
        raise ValueError("it must be an IP address, such as 192.0.2.7")
    return value


def listen_address(value: str) -> str:
    if value:
        host_and_port(value)
    return value


def host_and_port(value: str) -> tuple[str, int]:
    """Of ``8080``, which is on loopback, ``HOST:8080`` or ``[IPv6]:8080``."""
    found = re.fullmatch(rf"(?:({_HOST}):)?(\d{{1,5}})", value)
    if found is None or not 0 < int(found[2]) < 1 << 16:
        raise ValueError("it must be a port, or an address with one, such as 8080, 127.0.0.1:8080 or [::1]:8080")
    return (found[1] or "127.0.0.1").strip("[]"), int(found[2])


def is_loopback(host: str) -> bool:
    """Only programs of this host reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def program(value: str) -> str:
    """Words, as a shell would part them."""
    try:
        shlex.split(value)
    except ValueError as error:
        raise ValueError(f"it must be a program and its arguments ({str(error).lower()})") from None
    return value


def is_url(value: str) -> bool:
    """Perhaps with a password in it, and what is behind a question mark."""
    return re.fullmatch(rf"https?://(?:[^\s/@]*@)?{_SERVER}(?:[/?]\S*)?", value, re.IGNORECASE) is not None


def hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    """In lower case."""
    return _each(values, _host, "hosts with commas between them, such as mirror.example.org: no http://, port or path")


def _host(value: str) -> str:
    try:
        return str(ipaddress.ip_address(value.strip("[]")))
    except ValueError:
        pass
    name = value.removesuffix(".").lower()
    if not re.fullmatch(_HOST, name) or len(name) > 253:
        raise ValueError
    return name


def branches(values: tuple[str, ...]) -> tuple[str, ...]:
    """As globs."""
    return _each(values, _branch, "branches with commas between them, as globs such as release/*, without refs/heads/")


def _branch(value: str) -> str:
    if re.search(r"[\s~^:\\]", value) or value.startswith(("refs/", "/", "-")):
        raise ValueError
    return value


def image(value: str) -> str:
    if not _IMAGE.fullmatch(value):
        raise ValueError("it must be the name of an image, such as localhost/roommate:latest")
    return value


def ref(value: str) -> str:
    if value and (not _REF.fullmatch(value) or ".." in value):
        raise ValueError("it must be the name of a branch, a tag or a commit")
    return value


def key(value: str) -> str:
    """An API key or a token: it becomes a part of an HTTP header."""
    if value and not _KEY.fullmatch(value):
        raise ValueError("it must be a key as its provider gives it: there is a blank, or no ASCII, in it")
    return value


def path(value: Path) -> Path:
    """Absolute, with ~ filled in; Path() is none."""
    if value == Path():
        return value
    try:
        full = value.expanduser().absolute()
    except RuntimeError:
        raise ValueError("it must be a path: nobody here has the home folder that it begins with") from None
    if len(os.fsencode(full)) > LONGEST_PATH or any(len(os.fsencode(part)) > LONGEST_NAME for part in full.parts):
        raise ValueError("it must be a shorter path")
    return full


def upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _each(values: tuple[str, ...], one: Callable[[str], str], right: str) -> tuple[str, ...]:
    try:
        return tuple(one(value) for value in values)
    except ValueError:
        raise ValueError(f"it must be {right}") from None


def time_zone(value: str) -> str:
    if value != "UTC" and value not in zoneinfo.available_timezones():
        raise ValueError("it must be the name of a time zone, such as Europe/Berlin or UTC")
    return value
