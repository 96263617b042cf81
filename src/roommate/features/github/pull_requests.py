"""A room's pull requests: made from the host, for the repositories that the room was given."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.domain import DAEMON, Deed, PullRequest, Repository, RoomId
from roommate.errors import ForgeError, ToolError
from roommate.features.github import push_rules
from roommate.features.github.forge import Forge
from roommate.features.github.git_server import Audit, RepoStore


class RoomProposals:
    """How a room proposes changes to its repositories. `protected` are globs of branches. Raises ToolError."""

    def __init__(
        self, room_id: RoomId, forge: Forge, repos: RepoStore, audit: Audit, *, protected: Sequence[str]
    ) -> None:
        self._room_id, self._forge, self._repos, self._audit = room_id, forge, repos, audit
        self._protected = tuple(protected)

    def named(self, url: str) -> str | None:
        """``owner/name`` of the repository with this URL; None when it is none of the forge."""
        return self._forge.site.named(url)

    async def repository(self, name: str) -> Repository:
        """One that the room may use."""
        granted = await self._repos.granted(self._room_id, name)
        if granted is None:
            raise ToolError(f"{name} is not among this room's repositories: ask an operator to type `!repo add {name}`")
        try:
            return await self._forge.repository(granted)
        except ForgeError as error:
            raise ToolError(str(error)) from error

    def is_protected(self, repository: Repository, branch: str) -> bool:
        return push_rules.is_protected(branch, self._protected, repository.default_branch)

    async def propose(self, repository: Repository, *, branch: str, title: str, body: str) -> PullRequest:
        """A pull request from a branch that was pushed to the default branch; the one that is open already, if any."""
        try:
            found = await self._forge.open_pull_request(repository.name, branch)
            if found is not None:
                return found
            made = await self._forge.create_pull_request(
                repository.name, branch=branch, base=repository.default_branch, title=title, body=body
            )
        except ForgeError as error:
            raise ToolError(f"`{branch}` was pushed, and no pull request was made: {error}") from error
        await self._audit.record(Deed(DAEMON, "tool", "pull-request", room_id=self._room_id, subject=made.url))
        return made
