"""Where a peer's request would run: in which container, which file its program is, and which folders and files it is
about, with symbolic links followed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from roommate.domain import Hand, HostPlace, RoomId
from roommate.errors import ToolError
from roommate.features.mesh.envelope import Request
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.verification import FindFacts
from roommate.rooms.sandboxes_port import Sandboxes

WORKSPACE = "/workspace"


def folder_of(cwd: object) -> str:
    """Where a program would run: what is no absolute path is meant within the workspace."""
    text = cwd if isinstance(cwd, str) else ""
    return text if text.startswith("/") else f"{WORKSPACE}/{text}".rstrip("/")


@contextlib.asynccontextmanager
async def hand_in(
    place: object, sandboxes: Sandboxes, room_id: RoomId, outside: HostPlace | None
) -> AsyncGenerator[Hand, None]:
    """`outside` is where a place is that is no container. Raises SandboxError. What a place other than the room had is
    gone when this is left."""
    if outside is not None:
        async with sandboxes.on_host(outside) as hand:
            yield hand
    elif place == "fresh":
        async with sandboxes.fresh(room_id) as hand:
            yield hand
    else:
        yield await sandboxes.hand(room_id)


def finding_facts(sandboxes: Sandboxes) -> FindFacts:
    async def find(room_id: RoomId, request: Request, outside: HostPlace | None) -> Facts:
        params, program, folder, paths = request.params, "", WORKSPACE, []
        place = params.get("place")
        if request.method == "exec":
            argv = params.get("argv")
            program = argv[0] if isinstance(argv, list) and argv and isinstance(argv[0], str) else ""
            folder = folder_of(params.get("cwd", WORKSPACE))
        elif request.method.startswith("share."):
            asked = params.get("path", WORKSPACE)
            paths = [asked or WORKSPACE] if isinstance(asked, str) else []
        else:
            return Facts()
        if any("\0" in one for one in (program, folder, *paths)):
            return Facts()
        try:
            async with hand_in(place, sandboxes, room_id, outside) as hand:
                found = await hand.locate(program, paths, cwd=folder)
        except ToolError:  # then there is nothing that it could be about
            return Facts(outside=outside)
        if not found.folder:
            return Facts(outside=outside)
        called = f"{found.named_in.rstrip('/')}/{found.name}" if found.named_in else found.program
        return Facts(found.program, found.folder, tuple(filter(None, found.paths)), called, outside)

    return find
