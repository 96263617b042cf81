"""Where a peer's request would run in a room: which file its program is, and which folders and files it is about, with
symbolic links followed."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.domain import RoomId
from roommate.errors import RoommateError
from roommate.features.mesh.envelope import Request
from roommate.features.mesh.policy_decision import Facts
from roommate.features.mesh.verification import FindFacts
from roommate.rooms.sandboxes_port import Sandboxes

WORKSPACE = "/workspace"
SECONDS = 20.0
MOST_ANSWER = 64 * 1024

# Names may have any byte but NUL, which no name has and which ends each answer.
_LOOK = r"""
realpath -ze .
case "$1" in
"") printf '\0' ;;
*/*) realpath -ze -- "$1" 2>/dev/null || printf '\0' ;;
*)
    found=
    IFS=:
    for dir in $PATH; do
        if [ -f "$dir/$1" ] && [ -x "$dir/$1" ]; then found=$dir/$1; break; fi
    done
    [ -n "$found" ] && realpath -ze -- "$found" 2>/dev/null || printf '\0' ;;
esac
shift
for path; do realpath -zm -- "$path" 2>/dev/null || printf '\0'; done
"""


def folder_of(cwd: object) -> str:
    """Where a program would run: what is no absolute path is meant within the workspace."""
    text = cwd if isinstance(cwd, str) else ""
    return text if text.startswith("/") else f"{WORKSPACE}/{text}".rstrip("/")


def finding_facts(sandboxes: Sandboxes) -> FindFacts:
    async def find(room_id: RoomId, request: Request) -> Facts:
        params, program, folder, paths = request.params, "", WORKSPACE, []
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
            found = await _look(sandboxes, room_id, folder, [program, *paths])
        except RoommateError:  # then there is nothing that it could be about
            return Facts()
        return Facts(executable=found[1], folder=found[0], paths=tuple(one for one in found[2:] if one))

    return find


async def _look(sandboxes: Sandboxes, room_id: RoomId, folder: str, asked: Sequence[str]) -> Sequence[str]:
    """The folder, and each of what is asked of; where one leads nowhere it is empty. Raises ToolError for no folder."""
    hand, said = await sandboxes.hand(room_id), bytearray()

    def take(piece: bytes) -> None:
        said.extend(piece[: MOST_ANSWER - len(said)])

    program = ["/bin/sh", "-c", _LOOK, "sh", *asked]
    await hand.run(program, cwd=folder, timeout=SECONDS, on_output=take, on_errors=lambda _: None)
    found = said.decode(errors="surrogateescape").split("\0")[:-1]
    return found if len(found) == 1 + len(asked) else [""] * (1 + len(asked))
