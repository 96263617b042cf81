"""What a room's container has of its own, where operators have set that; and what is done when it was made."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from roommate.domain import RoomId
from roommate.host import durable_files
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.hand import HandHost


@dataclass(frozen=True, slots=True)
class Own:
    """What is empty is as in all rooms."""

    image: str = ""
    memory_mb: int = 0
    cpus: float = 0.0
    environment: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    """A script that is run in each container that is made, before anything else."""

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr((self, sorted(self.environment.items()))).encode()).hexdigest()[:16]

    def limits(self, of_all: Limits) -> Limits:
        return replace(of_all, memory_mb=self.memory_mb or of_all.memory_mb, cpus=self.cpus or of_all.cpus)


class OwnSettings(Protocol):
    """Of all rooms."""

    async def of(self, room_id: RoomId) -> Own: ...

    async def set_up(self, room_id: RoomId, hand: HandHost, script: str, name: str) -> bool:
        """Run this script in a room, under a name of the container that no other ever had: called again with the same
        one it is the same run, which a crash interrupted. False where it did not come to an end; it raises nothing."""
        ...


class NoneSet:
    """`OwnSettings`: every room is as the others."""

    async def of(self, room_id: RoomId) -> Own:
        return Own()

    async def set_up(self, room_id: RoomId, hand: HandHost, script: str, name: str) -> bool:
        return True


class Setup:
    """Which container of a room is to be set up, and whether it is: a file of the host's. Its methods block."""

    def __init__(self, room: Path) -> None:
        self._file = room / "set-up"

    def made(self) -> None:
        """There is a new container: nothing was done in it."""
        durable_files.replace(self._file, secrets.token_hex(8).encode())

    def done(self, name: str) -> None:
        """Well or ill: it is not done again."""
        durable_files.replace(self._file, f"{name} done".encode())

    @property
    def to_do(self) -> str:
        """The name of a container that is not set up; empty where there is nothing to do."""
        try:
            name, _, done = self._file.read_text().partition(" ")
        except FileNotFoundError:  # made by an earlier release
            return ""
        return "" if done else name
