"""The tool create_pull_request as a model calls it: a real git in the workspace, the broker, a forge of its own."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.demo.synapse_config import free_port
from roommate.domain import Destination, Exit, Hand, ToolCall, ToolResult
from roommate.features.egress.gate import Gate
from roommate.features.github import pull_request_tool
from roommate.features.github.forge import Forge, Site
from roommate.features.github.git_server import GitServer
from roommate.features.github.pull_request_tool import BRANCHES_TRIED
from roommate.features.github.pull_requests import RoomProposals
from roommate.tools import RoomTools, TurnPorts
from roommate.tools.room_tools import SOURCES
from tests.broker.conftest import ROOM, Memory, People
from tests.forge import TOKEN
from tests.forge import Forge as LocalForge
from tests.live_hand import LiveHand, live_hand
from tests.patience import PATIENCE

REPO = "acme/widget"


class Room:
    """`call` is what the model does, `sh` what somebody does in the workspace; `forge` is the world outside."""

    def __init__(self, hand: LiveHand, forge: LocalForge, port: int) -> None:
        self.forge, self.files, self.memory = forge, hand.workspace, Memory()
        self._hand = hand.host
        self.memory.repos.append(REPO)

        async def none() -> tuple[Destination, ...]:
            return ()

        there = Forge(Site.of(forge.url, token=TOKEN))
        gate = Gate(self.memory, People(), registries=none, wait=0.1)
        self.server = GitServer(
            there, self.memory, gate.refusal, self.memory, protected=("release/*",), folder=hand.folder
        )
        hand.host.serve(port, functools.partial(self.server.serve, ROOM))
        proposals = RoomProposals(ROOM, there, self.memory, self.memory, protected=("release/*",))
        ports = TurnPorts(command_timeout=PATIENCE, longest_timeout=PATIENCE)
        self.tools = RoomTools(self._bring_up, ports, (*SOURCES, pull_request_tool.offered(proposals)))

    async def _bring_up(self) -> Hand:
        return self._hand

    async def propose(self, title: str = "A change", **more: str) -> ToolResult:
        arguments = {"title": title, "body": "Because.", **more}
        return await self.tools.call(ToolCall("1", "create_pull_request", json.dumps(arguments)), lambda _: None)

    async def sh(self, script: str) -> str:
        printed = bytearray()
        ended: Exit = await self._hand.run(f"set -e; {script}", on_output=printed.extend)
        assert ended.code == 0, printed.decode()
        return printed.decode().strip()

    async def clone(self, folder: str = "w", name: str = REPO) -> None:
        await self.sh(f"git clone -q {self.forge.url}/{name} {folder}")


@pytest.fixture
async def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Room]:
    port = free_port()
    async with LocalForge() as forge:
        forge.add(REPO, private=True)
        # As in a room's container, with nothing of who runs the tests.
        monkeypatch.setenv("HOME", str(tmp_path))
        for name in ("EMAIL", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
        monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.http://127.0.0.1:{port}/.insteadOf")
        monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"{forge.url}/")
        async with live_hand() as hand:
            room = Room(hand, forge, port)
            await room.sh("true")
            yield room
            await room.server.close()


async def test_what_is_not_committed_becomes_a_branch_of_its_own(room: Room) -> None:
    await room.clone()
    await room.sh("echo 1 >w/new; echo 2 >>w/README")
    made = await room.propose("  Größere\n Änderung  ")
    assert made.ok
    assert made.title == f"PR #1 · {room.forge.url}/{REPO}/pull/1"
    assert made.text.startswith(f"{room.forge.url}/{REPO}/pull/1\n[PR #1 of acme/widget is open now")
    branch = "roommate/grossere-anderung"
    assert [(pull["head"], pull["base"], pull["title"]) for pull in room.forge.pulls] == [
        (branch, "main", "Größere Änderung")
    ]
    assert room.forge.git(REPO, "log", "-1", "--format=%s %ae", branch) == "Größere Änderung roommate@localhost"
    assert room.forge.git(REPO, "diff", "--name-only", "main", branch) == "README\nnew"
    assert await room.sh("git -C w status --short --branch") == f"## {branch}...origin/{branch}"
    assert [(deed.what, deed.detail) for deed in room.memory.deeds] == [
        ("push", f"refs/heads/{branch}"),
        ("pull-request", ""),
    ]


async def test_a_branch_that_somebody_made_is_pushed_as_it_is(room: Room) -> None:
    await room.clone()
    await room.sh("cd w; git switch -q -c mine; git config user.email me@x; git config user.name me; echo 1 >a;"
                  "git add a; git commit -qm one; echo 2 >b")  # fmt: skip
    assert (await room.propose()).ok
    assert room.forge.git(REPO, "log", "--format=%s %ae", "main..mine") == "A change me@x\none me@x"
    await room.sh("echo 3 >w/c")
    again = await room.propose("More")
    assert "PR #1 of acme/widget was open already, and has these commits now" in again.text
    assert room.forge.git(REPO, "log", "-1", "--format=%s", "mine") == "More"
    assert len(room.forge.pulls) == 1


async def test_commits_that_were_made_on_a_protected_branch_or_on_none(room: Room) -> None:
    await room.clone()
    commit = "git -c user.name=x -c user.email=x@x commit -qam x"
    await room.sh(f"cd w; echo 1 >>README; {commit}")
    assert "`roommate/a-change`" in (await room.propose()).text
    await room.sh(f"cd w; git switch -q --detach origin/main; echo 2 >>README; {commit}")
    assert "`roommate/a-change-2`" in (await room.propose()).text, "the first one is taken"
    await room.sh(f"cd w; git switch -q -c release/1 origin/main; echo 3 >>README; {commit}")
    assert "`roommate/a-change-3`" in (await room.propose()).text
    assert len(room.forge.pulls) == 3


async def test_nothing_to_propose(room: Room) -> None:
    told = await room.propose()
    assert "there is no clone to propose" in told.text
    assert "none: clone one first" in told.text
    await room.clone()
    await room.sh("mkdir -p w/.roommate; echo x >w/.roommate/x")
    told = await room.propose()
    assert "there is nothing to propose: w has no change that `main` does not have" in told.text
    assert await room.sh("git -C w branch --format='%(refname:short)'") == "main", "and nothing was done"
    assert room.forge.pulls == []


async def test_a_workspace_that_is_a_clone(room: Room) -> None:
    """What Roommate keeps in it is not committed, whether git is told to overlook it or not."""
    await room.clone(".")
    for ignored in ("", "echo .roommate >.gitignore"):
        await room.sh(f"mkdir -p .roommate; echo x >.roommate/x; echo {ignored or 1} >>new; {ignored}")
        assert (await room.propose()).ok
        assert ".roommate/" not in room.forge.git(REPO, "ls-tree", "-r", "--name-only", "roommate/a-change")


async def test_several_clones(room: Room) -> None:
    room.forge.add("acme/other")
    room.memory.repos.append("acme/other")
    await room.clone("one")
    await room.clone("deep/two", "acme/other")
    await room.sh("git init -q three; git init -q four; git -C four remote add origin https://elsewhere.invalid/a/b")
    told = await room.propose()
    assert "[say which with `repo`]" in told.text and "2 clones fit" in told.title
    assert "acme/other in deep/two, acme/widget in one" in told.text
    for which in ("one", "/workspace/one/", "Acme/Widget"):
        assert "one has no change" in (await room.propose(repo=which)).text
    assert "no clone fits" in (await room.propose(repo="acme/nothing")).text
    await room.sh("echo 1 >deep/two/new")
    room.memory.repos.remove("acme/other")
    told = await room.propose(repo="acme/other")
    assert (
        "acme/other is not among this room's repositories: ask an operator to type `!repo add acme/other`" in told.text
    )


async def test_what_git_says_is_told(room: Room) -> None:
    await room.clone()
    await room.sh("printf '#!/bin/sh\\necho no tabs please; exit 1' >w/.git/hooks/pre-commit;"
                  "chmod +x w/.git/hooks/pre-commit; echo 1 >w/new")  # fmt: skip
    told = await room.propose()
    assert not told.ok
    assert "no tabs please" in told.text
    await room.sh("rm w/.git/hooks/pre-commit; cd w; git switch -q -c behind")
    room.forge.commit(REPO, "behind", {"theirs": "1"})
    told = await room.propose()
    assert "`git push --quiet` failed in w" in told.text
    assert "behind" in told.text
    room.forge.rest = False
    assert "with status 500" in (await room.propose()).text


async def test_names_run_out(room: Room) -> None:
    await room.clone()
    await room.sh("echo 1 >w/new")
    for number in range(1, BRANCHES_TRIED):
        room.forge.git(REPO, "branch", "roommate/a-change" + (f"-{number}" if number > 1 else ""), "main")
    assert "no branch could be made" in (await room.propose()).text


def test_it_is_there_with_a_token_only(room: Room) -> None:
    assert "create_pull_request" in [spec.name for spec in room.tools.specs]
    ports = TurnPorts(command_timeout=1, longest_timeout=1)
    without = RoomTools(room._bring_up, ports, (pull_request_tool.offered(None),))
    assert "create_pull_request" not in [spec.name for spec in without.specs]
