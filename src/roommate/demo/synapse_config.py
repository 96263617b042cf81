"""What the folder of an embedded homeserver holds: its port and secrets, and the configuration made of them."""

from __future__ import annotations

import json
import random
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Self

from roommate.domain import JsonObject
from roommate.host import durable_files

MARK_KEY = "io.roommate.instance"
"""Where an instance's mark stands in its /.well-known/matrix/client."""

_GIVEN = Path("/proc/sys/net/ipv4/ip_local_port_range")

Limits = Literal["strict", "default", "open"]
"""``strict``: all of Synapse's own. ``default``: only that on messages, 0.2 a second, a burst of 10. ``open``: none."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a homeserver is called and where it is reached. The name stays for ever: it is in every id."""

    server_name: str = "localhost"
    addresses: tuple[str, ...] = ("127.0.0.1",)
    url: str = ""
    """As people and the bot reach it; by default the first address."""
    federates: bool = False
    limits: Limits = "default"
    more: Mapping[str, Any] = field(default_factory=dict)
    """Of Synapse's own configuration, before which it comes."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What makes one homeserver itself; random, kept in its folder (0600), never anywhere else."""

    port: int
    mark: str
    """Served by this instance only: who answers it on the port is ours and no other server."""
    registration_secret: str
    macaroon_secret: str
    form_secret: str
    admin_password: str

    @classmethod
    def fresh(cls) -> Self:
        return cls(free_port(), *(secrets.token_urlsafe(32) for _ in range(5)))

    @classmethod
    def kept(cls, folder: Path) -> Self | None:
        """The instance of an earlier start in `folder`."""
        try:
            return cls(**json.loads((folder / "instance.json").read_text()))
        except FileNotFoundError:
            return None

    def on_free_port(self) -> Self:
        """Itself where its port is free, else the same on another."""
        return self if is_free(self.port) else replace(self, port=free_port())

    def write(self, folder: Path, place: Place) -> Path:
        """Keep it in `folder`, with everything that Synapse reads. Returns Synapse's configuration file."""
        config_file = folder / "homeserver.yaml"
        _write_private(folder / "instance.json", asdict(self))
        _write_private(folder / "log.yaml", _LOG_CONFIG)
        _write_private(config_file, self._config(folder, place))  # JSON is YAML
        return config_file

    def _config(self, folder: Path, place: Place) -> JsonObject:
        listener = {
            "type": "http",
            "port": self.port,
            "bind_addresses": place.addresses,
            "x_forwarded": place.url.startswith("https://"),  # then a proxy is before it
            "resources": [{"names": ["client", *(["federation"] if place.federates else [])], "compress": False}],
        }
        alone: JsonObject = {"trusted_key_servers": [], "federation_domain_whitelist": []}
        return {
            "server_name": place.server_name,
            "public_baseurl": f"{place.url or f'http://{place.addresses[0]}:{self.port}'}/",
            "extra_well_known_client_content": {MARK_KEY: self.mark},
            "listeners": [listener],
            "database": {"name": "sqlite3", "args": {"database": str(folder / "homeserver.db")}},
            "media_store_path": str(folder / "media"),
            "signing_key_path": str(folder / "signing.key"),
            "log_config": str(folder / "log.yaml"),
            "registration_shared_secret": self.registration_secret,
            "macaroon_secret_key": self.macaroon_secret,
            "form_secret": self.form_secret,
            "report_stats": False,
            "stats": {"enabled": False},
            "presence": {"enabled": False},
            "url_preview_enabled": False,
            **({} if place.federates else alone),
            **_rate_limits(place.limits),
            **place.more,
        }


def _rate_limits(limits: Limits) -> JsonObject:
    """What is not ``strict`` is free but for messages: logging in a fifth time within seconds would else wait 285 s."""
    if limits == "strict":
        return {}
    free = {"per_second": 1e6, "burst_count": 1_000_000}
    opened: JsonObject = {
        "rc_registration": free,
        "rc_login": {"address": free, "account": free, "failed_attempts": free},
        "rc_joins": {"local": free, "remote": free},
        "rc_joins_per_room": free,
        "rc_invites": {"per_room": free, "per_user": free, "per_issuer": free},
        "rc_room_creation": free,
        "rc_media_create": free,
        "bcrypt_rounds": 4,  # such accounts are as local as the folder that holds them
    }
    return opened if limits == "default" else {**opened, "rc_message": free, "rc_admin_redaction": free}


_LOG_CONFIG: Mapping[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"level": "WARNING", "handlers": ["stderr"]},
}


def _write_private(path: Path, content: Mapping[str, Any]) -> None:
    durable_files.replace(path, json.dumps(content, indent=1).encode())


def free_port() -> int:
    """Below those that the kernel gives away by itself, to servers and to every connection: one of them may be taken
    before it is used, and again while the homeserver is down."""
    first_given = int(_GIVEN.read_text().split()[0])
    while True:
        port = random.randrange(10_000, max(first_given, 20_000))  # noqa: S311 - not a secret
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As Synapse binds: a port whose last connections still linger is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
