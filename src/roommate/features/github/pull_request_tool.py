"""The tool create_pull_request: what a clone in the workspace has becomes a branch at the forge and a pull request."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import Field

from roommate.domain import Clock, Hand, Repository
from roommate.errors import ToolError
from roommate.features.github.pull_requests import RoomProposals
from roommate.tools.arguments import Arguments, Text
from roommate.tools.bounded import Bounded
from roommate.tools.files import WRITES
from roommate.tools.outcome import Outcome
from roommate.tools.sanitized_text import sanitized
from roommate.tools.tool import Call, Tool, tool
from roommate.tools.yielding_lock import yielding

WORKSPACE = "/workspace"
PREFIX = "roommate/"
"""Of the branches that are made here."""
SECONDS = 300.0
PRINTED = 8000
BRANCHES_TRIED = 50

_CLONES = (
    "find . -maxdepth 4 -name .git -not -path './.roommate/*' -print 2>/dev/null | sort | head -n 200 | "
    'while read -r git; do folder="${git%/.git}"; '
    'url="$(git -C "$folder" config --get remote.origin.url)" && printf "%s\\t%s\\n" "$folder" "$url"; done; true'
)
OURS = ".roommate"
"""What Roommate itself keeps in a workspace, which may be a clone as a whole."""
_AUTHOR = ("-c", "user.name=Roommate", "-c", "user.email=roommate@localhost")


class CreatePullRequest(Arguments):
    """Propose the changes in a clone as a pull request: commits what is not committed yet, on a new branch where the \
current one is protected, pushes it and opens the pull request. Answers with its address."""

    title: Text = Field(description="One line: what the change does; the commit gets it as well")
    body: str = Field(description="What was changed, why, and how it was tested, in Markdown")
    repo: Text | None = Field(
        None, description="owner/name, or the folder of its clone; needed where the workspace has several"
    )


@dataclass(frozen=True, slots=True)
class Clone:
    """`folder` in the workspace, `name` of the repository that it is of."""

    folder: str
    name: str
    hand: Hand
    clock: Clock | None = None

    async def git(self, *words: str) -> str:
        """What it prints. Raises ToolError with that when it fails."""
        code, printed = await self.tried(*words)
        if code != 0:
            told = [word for word in words if word not in _AUTHOR][:2]
            raise ToolError(f"`git {' '.join(told)}` failed in {self.folder}:\n{printed or f'exit code {code}'}")
        return printed

    async def tried(self, *words: str) -> tuple[int | None, str]:
        return await _run(self.hand, ["git", "-C", self.folder, *words], self.clock)


def offered(proposals: RoomProposals | None) -> Sequence[Tool[CreatePullRequest]]:
    """Where there is a forge to push to."""
    if proposals is None:
        return ()
    create = partial(_create_in_turn, proposals)
    return [tool("create_pull_request", CreatePullRequest, create, title=("title",))]


async def _create_in_turn(proposals: RoomProposals, asked: CreatePullRequest, call: Call) -> Outcome:
    """Nobody writes files meanwhile, but while people decide about what a hook of the repository wants."""
    async with yielding(call.ports.locks[WRITES], call.ports.clock):
        return await _create(proposals, asked, call)


async def _create(proposals: RoomProposals, asked: CreatePullRequest, call: Call) -> Outcome:
    title = " ".join(asked.title.split())
    clone = _chosen(await _clones(proposals, call), asked.repo)
    repository = await proposals.repository(clone.name)
    base = repository.default_branch
    await clone.git("fetch", "--quiet", "origin", f"refs/heads/{base}")
    uncommitted = await clone.git("status", "--porcelain", "--", ".", f":(exclude,top){OURS}")
    if not uncommitted and await clone.git("rev-list", "--count", "FETCH_HEAD..HEAD") == "0":
        raise ToolError(f"there is nothing to propose: {clone.folder} has no change that `{base}` does not have")
    branch = await _branch(clone, repository, proposals, title)
    if uncommitted:
        await _commit(clone, title)
    await clone.git("push", "--quiet", "--set-upstream", "origin", f"HEAD:refs/heads/{branch}")
    made = await proposals.propose(repository, branch=branch, title=title, body=asked.body)
    how = "is open now" if made.is_new else "was open already, and has these commits now"
    text = f"{made.url}\n[PR #{made.number} of {repository.name} {how}: `{branch}` into `{base}`]"
    return Outcome(text, f"PR #{made.number} · {made.url}")


async def _clones(proposals: RoomProposals, call: Call) -> list[Clone]:
    hand, clock = call.hand, call.ports.clock
    _, printed = await _run(hand, ["sh", "-c", _CLONES], clock)
    found = []
    for line in printed.splitlines():
        folder, _, url = line.partition("\t")
        if name := proposals.named(url):
            found.append(Clone(folder.removeprefix("./") or ".", name, hand, clock))
    return found


def _chosen(clones: Sequence[Clone], wanted: str | None) -> Clone:
    """Raises ToolError when it is not clear which one is meant."""
    if wanted is not None:
        folder = wanted.removeprefix(WORKSPACE).strip("/").removeprefix("./") or "."
        fitting = [one for one in clones if one.folder == folder] or [
            one for one in clones if one.name.lower() == wanted.lower()
        ]
    else:
        fitting = list(clones)
    if len(fitting) == 1:
        return fitting[0]
    there = ", ".join(f"{one.name} in {one.folder}" for one in clones) or "none: clone one first"
    which = f"{len(fitting)} clones fit" if fitting else "no clone fits" if wanted else "there is no clone to propose"
    raise ToolError(f"{which}. Clones of the forge's repositories in the workspace: {there}", "say which with `repo`")


async def _branch(clone: Clone, repository: Repository, proposals: RoomProposals, title: str) -> str:
    """The branch to push: the current one, or a new one where people have not made one for this."""
    code, current = await clone.tried("symbolic-ref", "--quiet", "--short", "HEAD")
    if code == 0 and not proposals.is_protected(repository, current):
        return current
    listed = await clone.git("ls-remote", "--heads", "origin", f"{PREFIX}*")
    taken = set(re.findall(r"refs/heads/(\S+)", listed))
    name = PREFIX + _slug(title)
    for branch in [name, *(f"{name}-{number}" for number in range(2, BRANCHES_TRIED))]:
        if branch not in taken and (await clone.tried("switch", "--quiet", "--create", branch))[0] == 0:
            return branch
    raise ToolError(f"no branch could be made: `{name}` and the like are there already", "make one with git")


async def _commit(clone: Clone, title: str) -> None:
    await clone.git("add", "--all")
    # Adding all but a path fails where .gitignore has that path as well.
    await clone.git("reset", "--quiet", "--", f":(top){OURS}")
    code, _ = await clone.tried("config", "user.email")
    await clone.git(*(_AUTHOR if code != 0 else ()), "commit", "--quiet", "--message", title)


def _slug(title: str) -> str:
    plain_letters = unicodedata.normalize("NFKD", title.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain_letters).strip("-")[:40].strip("-") or "change"


async def _run(hand: Hand, command: Sequence[str], clock: Clock | None) -> tuple[int | None, str]:
    printed = Bounded(PRINTED // 2, PRINTED // 2)
    ended = await hand.run(command, timeout=SECONDS, on_output=printed.add, clock=clock)
    excerpt = printed.excerpt()
    gap = b"" if not excerpt.left_out else b"\n[...]\n"
    text = sanitized(excerpt.head + gap + excerpt.tail).strip()
    if ended.timed_out:
        raise ToolError(f"`{' '.join(command[:4])}` did not end within {SECONDS:.0f} s:\n{text}")
    return ended.code, text
