"""Where a peer's request would run: in which container, which file its program is, and which folders and files it is
about, with symbolic links followed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

from roommate.domain import Hand, HostPlace, RoomId
from roommate.errors import ToolError
from roommate.features.mesh.envelope import Request
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.verification import FindFacts
from roommate.rooms.sandboxes_port import Sandboxes

WORKSPACE = "/workspace"
SECONDS = 20.0
MOST_ANSWER = 64 * 1024

# Names may have any byte but NUL, which no name has and which ends each answer. What a program is called decides what
# some do: a name counts where the room's own programs cannot have given it.
_LOOK = r"""
set -f
found=
case "$1" in
"") ;;
*/*) found=$1 ;;
*)
    IFS=:
    for dir in $PATH; do
        if [ -f "$dir/$1" ] && [ -x "$dir/$1" ]; then found=$dir/$1; break; fi
    done ;;
esac
name=${found##*/} dir=${found%/*}/
[ -n "$found" ] && [ ! -w "$dir" ] && [ ! -O "$dir" ] || name= dir=
shift
[ -e "$found" ] || found=
printf '%s\0%s\0%s\0' "$name" "${found:+found}" "${dir:+named}"
# One process for all: what is gone by now leaves too few of them.
exec realpath -zm -- . ${found:+"$found"} ${dir:+"$dir"} "$@" 2>/dev/null
"""


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
                found = await _look(hand, folder, [program, *paths])
        except ToolError:  # then there is nothing that it could be about
            return Facts(outside=outside)
        at, executable, named_in, name, *rest = found
        called = f"{named_in.rstrip('/')}/{name}" if named_in else executable
        return Facts(executable, at, tuple(one for one in rest if one), called, outside)

    return find


async def _look(hand: Hand, folder: str, asked: Sequence[str]) -> Sequence[str]:
    """The folder; the program's file, the folder that its name is in, and that name; and each path. What leads nowhere
    is empty. Raises ToolError for no folder."""
    said = bytearray()

    def take(piece: bytes) -> None:
        said.extend(piece[: MOST_ANSWER - len(said)])

    program = ["/bin/sh", "-c", _LOOK, "sh", *asked]
    await hand.run(program, cwd=folder, timeout=SECONDS, on_output=take, on_errors=lambda _: None)
    _, *paths = asked
    match said.decode(errors="surrogateescape").split("\0")[:-1]:
        case [name, is_file, is_named, *found] if len(found) == 1 + bool(is_file) + bool(is_named) + len(paths):
            at = found.pop(0)
            executable = found.pop(0) if is_file else ""
            return [at, executable, found.pop(0) if is_named else "", name, *found]
    return [""] * (3 + len(asked))
