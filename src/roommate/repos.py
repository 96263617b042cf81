"""The command ``!repo``: shows which repositories of the forge a room may use, and changes it."""

from __future__ import annotations

from roommate.changes import Change, change
from roommate.chat.commands import Changed
from roommate.errors import ForgeError, NotPermitted
from roommate.house import House
from roommate.store import repos
from roommate.words import RoomId, UserId

USAGE = (
    "`!repo` shows the repositories that this room may fetch from and push to. Operators change it: "
    "`!repo add OWNER/NAME`, `!repo remove OWNER/NAME`."
)


async def obey(argument: str, *, room_id: RoomId, by: UserId, house: House) -> str | Change:
    """Do the command; gives what to answer. Raises NotPermitted."""
    words = argument.split()
    if not words:
        return await _shown(room_id, house)
    if not house.settings.is_operator(by):
        refusal = "Only an operator can change which repositories this room may use; `!repo` shows them."
        raise NotPermitted(refusal, "repo", argument)
    match words:
        case ["add" | "remove" as what, text]:
            name = house.forge.site.named(text)
            if name is None:
                return f"`{text}` is no repository of {house.forge.site.server}: write `owner/name`."
            return await _added(name, room_id, by, house) if what == "add" else _removed(name, room_id)
    return USAGE


async def _added(name: str, room_id: RoomId, by: UserId, house: House) -> str | Change:
    if not house.forge.site.token:
        return "There is no token for the forge: set `GITHUB_TOKEN`, then start me again."
    try:
        repository = await house.forge.repository(name)
    except ForgeError as error:
        return f"Nothing was added: {error}."
    text = (
        f"This room may use `{repository.name}` now: clone and fetch it, push new branches and propose pull requests. "
        f"`{repository.default_branch}` and other protected branches are left to people."
    )
    granted = repos.granting(room_id, repository.name, by)
    return change(granted, text=text, what="repo.add", subject=repository.name)


def _removed(name: str, room_id: RoomId) -> Change:
    revoked = repos.revoking(room_id, name)
    done = Changed(f"`{name}` is not among this room's repositories any more.", "repo.remove", name)
    return Change(
        lambda c: done if revoked(c) else f"`{name}` is not among this room's repositories; `!repo` shows them."
    )


async def _shown(room_id: RoomId, house: House) -> str:
    names, server = await house.repos.of(room_id), house.forge.site.server
    if not names:
        return f"This room may use no repository of {server} yet. Operators add one: `!repo add OWNER/NAME`."
    lines = "\n".join(f"- `{name}`" for name in names)
    return f"This room may fetch from and push to, at {server}:\n\n{lines}"
