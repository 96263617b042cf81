"""Where a room may connect to: what people type, what presets mean, and whether a destination is among it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from roommate.domain import Destination

WEB = (80, 443)
GITHUB = tuple(
    Destination(host) for host in ("github.com", "api.github.com", "codeload.github.com", "*.githubusercontent.com")
)
ALL = Destination("*")

_NAME = re.compile(
    r"(\*\.)?(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_TYPED = re.compile(r"(\[[^\]]+\]|[^:]+)(?::(\d{1,5}))?")


def typed(text: str) -> Destination | None:
    """What somebody typed as ``HOST``, ``*.HOST`` or ``HOST:PORT``; None when it is none of these."""
    match = _TYPED.fullmatch(text.strip())
    if match is None:
        return None
    host, port = host_name(match[1]), int(match[2] or 0)
    return Destination(host, port) if host and port < 65536 else None


def host_name(text: str) -> str | None:
    """A host as rules have it: lower case, without a trailing dot or brackets, in ASCII; None when it cannot be one."""
    bare = text.strip("[]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    try:
        name = bare.removesuffix(".").lower()
        name = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        return None
    return name if _NAME.fullmatch(name) else None


def allowed(rules: Iterable[Destination], host: str, port: int) -> bool:
    return any(_port(rule, port) and _host(rule, host) for rule in rules)


def _port(rule: Destination, port: int) -> bool:
    return port in WEB if rule.port == 0 else port == rule.port


def _host(rule: Destination, host: str) -> bool:
    if rule.host.startswith("*."):
        return host.endswith(rule.host[1:])
    return rule.host in ("*", host)
