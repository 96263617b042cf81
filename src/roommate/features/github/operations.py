"""Which repositories of the forge a room may fetch from and push to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.domain import UserId
from roommate.errors import ForgeError, Misused
from roommate.features.github.forge import Forge
from roommate.operations import Call, Change, OfRoom, Who, changing, changing_if, operation
from roommate.store import Repos, repos


class OfRepository(OfRoom):
    name: Annotated[str, Field(title="OWNER/NAME", description="Or its address.")]


@dataclass(frozen=True, slots=True)
class Granted:
    server: str
    names: Sequence[str]


def _shown(granted: Granted) -> str:
    if not granted.names:
        return f"This room may use no repository of {granted.server} yet. Operators add one: `!repo add OWNER/NAME`."
    lines = "\n".join(f"- `{name}`" for name in granted.names)
    return f"This room may fetch from and push to, at {granted.server}:\n\n{lines}"


@dataclass(frozen=True, slots=True)
class Repositories:
    forge: Forge
    repos: Repos

    @operation("repo.show", reads=_shown, who=Who.ANYONE, chat="repo", cli="repo show")
    async def show(self, params: OfRoom, call: Call) -> Granted:
        """Shows which repositories a room may fetch from and push to."""
        return Granted(self.forge.site.server, await self.repos.of(call.its_room))

    @operation(
        "repo.add",
        who=Who.OPERATORS,
        audit="repo.add",
        subject=lambda params: params.name,
        chat="repo add",
        cli="repo add",
    )
    async def add(self, params: OfRepository, call: Call) -> Change[str]:
        """Lets a room use one repository more."""
        name = self._named(params)
        if not self.forge.site.token:
            raise ForgeError("there is no token for the forge: set `GITHUB_TOKEN`, then start me again")
        try:
            found = await self.forge.repository(name)
        except ForgeError as error:
            raise ForgeError(f"nothing was added: {error}") from error
        text = (
            f"This room may use `{found.name}` now: clone and fetch it, push new branches and propose pull requests. "
            f"`{found.default_branch}` and other protected branches are left to people."
        )
        return changing([repos.granting(call.its_room, found.name, UserId(call.name))], text, found.name)

    @operation(
        "repo.remove",
        who=Who.OPERATORS,
        audit="repo.remove",
        subject=lambda params: params.name,
        chat="repo remove",
        cli="repo remove",
    )
    async def remove(self, params: OfRepository, call: Call) -> Change[str]:
        """Takes a repository away from those."""
        name = self._named(params)
        gone = f"`{name}` is not among this room's repositories"
        revoking = repos.revoking(call.its_room, name)
        return changing_if(revoking, f"{gone} any more.", f"{gone}; `!repo` shows them.", name)

    def _named(self, params: OfRepository) -> str:
        """Raises Misused."""
        if (name := self.forge.site.named(params.name)) is None:
            raise Misused(f"`{params.name}` is no repository of {self.forge.site.server}: write `owner/name`.")
        return name
