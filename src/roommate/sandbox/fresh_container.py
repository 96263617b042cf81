"""A container as a room's that nothing has ever run in: for one piece of work, and removed with its files after it."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Collection
from dataclasses import replace

from roommate.domain import RoomId
from roommate.sandbox.container import ContainerPlan, RoomContainer
from roommate.sandbox.container_foundation import Foundation
from roommate.sandbox.container_spec import STATE
from roommate.sandbox.hand import HandHost
from roommate.sandbox.podman_client import Engine
from roommate.sandbox.room_container_settings import Own
from roommate.sandbox.workspace import Workspace

PREFIX = "fresh-"
"""Of its folder beside those of the rooms, so that it gets user ids that no room has."""
LABEL = "io.roommate.fresh"


class FreshContainer:
    """With the room's image, limits and variables; its workspace and home are empty, its setup script is not run, and
    no tunnel leads out of it."""

    def __init__(self, room_id: RoomId, plan: ContainerPlan, foundation: Foundation) -> None:
        self._room_id, self._plan, self._foundation = room_id, plan, foundation
        self.key = PREFIX + secrets.token_hex(5)
        self._container: RoomContainer | None = None

    async def hand(self) -> HandHost:
        """To be asked for once. Raises SandboxError."""
        own = replace(await self._plan.own.of(self._room_id), setup="")
        plan = replace(self._plan, attached=[], spool=None, own=_Fixed(own))
        self._container = RoomContainer(self._room_id, plan, self._foundation, key=self.key, labels={LABEL: self.key})
        return await self._container.hand()

    async def remove(self) -> None:
        """Raises SandboxError; then the next start of the daemon does it."""
        if self._container is not None:
            await self._container.risen()
            await self._container.remove(files=True)


class _Fixed:
    """`OwnSettings` of one room, as they were."""

    def __init__(self, own: Own) -> None:
        self._own = own

    async def of(self, room_id: RoomId) -> Own:
        return self._own

    async def set_up(self, room_id: RoomId, hand: HandHost, script: str, name: str) -> bool:
        return True


async def clear(engine: Engine, plan: ContainerPlan, kept: Collection[str]) -> None:
    """Remove what is left of those whose daemon was killed: all but the `kept` keys, of which there may be more at any
    time. Raises SandboxError."""
    for container in await engine.list(STATE, str(plan.state)):
        if (key := container.labels.get(LABEL)) and key not in kept:
            await engine.remove(container.name)
    await asyncio.to_thread(_delete_folders, plan, kept)


def _delete_folders(plan: ContainerPlan, kept: Collection[str]) -> None:
    for folder in (plan.state / "rooms").glob(f"{PREFIX}*"):
        if folder.name not in kept:
            Workspace(folder).delete()
    for folder in plan.run.glob(f"{PREFIX}*"):
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)
