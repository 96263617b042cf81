"""The containers of rooms, as those know them who use them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from roommate.domain import Check, Hand, HostPlace, RoomId


class Sandboxes(Protocol):
    """The containers of all rooms."""

    async def hand(self, room_id: RoomId) -> Hand:
        """The room's hand; its container is made or started first where needed. Raises SandboxError."""
        ...

    def fresh(self, room_id: RoomId) -> AbstractAsyncContextManager[Hand]:
        """A container as the room's, with an empty workspace and no way out, for as long as this is entered. Entering
        raises SandboxError."""
        ...

    def on_host(self, place: HostPlace) -> AbstractAsyncContextManager[Hand]:
        """Outside of containers, for as long as this is entered; then all that was started there is ended. Entering
        raises NoSuchPlace."""
        ...

    def up(self, room_id: RoomId) -> bool:
        """Does the room's container run, so that its hand is there at once?"""
        ...

    @property
    def running(self) -> int:
        """How many containers run."""
        ...

    def has_files(self, room_id: RoomId) -> bool:
        """Has the room had a container?"""
        ...

    async def describe(self, room_id: RoomId) -> str:
        """One line for people: state, image, memory, processes, disk. It does not wait for Podman for long."""
        ...

    async def lacking(self) -> Mapping[str, str]:
        """What the rooms' image does not have that it could: its further stages in words, by name, the one that has
        all of it last; empty where nothing is missing, or that is not known."""
        ...

    async def disk(self, room_id: RoomId) -> tuple[int, int | None]:
        """Bytes that the room's files take, and how many they may take, where that is limited."""
        ...

    async def stop(self, room_id: RoomId) -> None:
        """Stop the room's container; the next call starts it again. Raises SandboxError."""
        ...

    async def reset_workspace(self, room_id: RoomId) -> None:
        """Delete every file of the room's workspace, on purpose; its container goes as well."""
        ...

    async def leave(self, room_id: RoomId) -> None:
        """Remove the room's container; its workspace stays."""
        ...

    async def move(self, old: RoomId, new: RoomId) -> bool:
        """The files of `old` are those of `new` from now on; containers of both go. Once more does no harm. False where
        `new` has files of its own: then each keeps its own. Raises SandboxError."""
        ...

    async def check(self) -> Sequence[Check]:
        """What works on this host and what does not."""
        ...
