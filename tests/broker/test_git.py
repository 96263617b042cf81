"""git through the broker as whoever types it meets it: a real git here, a forge with real git behind it."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import pytest
from yarl import URL

from roommate.demo.synapse_config import free_port
from roommate.domain import Destination, RoomId
from roommate.features.egress.gate import Gate
from roommate.features.github.forge import Forge, Site
from roommate.features.github.git_server import GitServer
from roommate.features.github.git_wire import FLUSH, NOTHING, pkt
from tests.broker.conftest import ROOM, Memory, People, connect
from tests.forge import TOKEN
from tests.forge import Forge as LocalForge
from tests.live_hand import LiveHand
from tests.patience import PATIENCE, until

REPO = "acme/widget"


HIDDEN = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()


class Room:
    """`git` runs it in `folder`, in an environment such as a room's."""

    def __init__(self, hand: LiveHand, forge: LocalForge, folder: Path, token: str) -> None:
        self.forge, self.folder, self.people = forge, folder, People()
        self.memory = Memory(Destination("127.0.0.1", URL(forge.url).port or 0))
        self.said = ""
        """Everything that git printed."""

        async def none() -> Sequence[Destination]:
            return ()

        gate = Gate(self.memory, self.people, registries=none, wait=0.2)
        protected = ("main", "release/*")
        site = Site.of(forge.url, token=token)
        self.server = GitServer(Forge(site), self.memory, gate.refusal, self.memory, protected=protected, folder=folder)
        port = free_port()
        self.at = f"http://127.0.0.1:{port}/"
        hand.host.serve(port, functools.partial(self.server.serve, ROOM))

    async def git(self, *words: str, ok: bool = True, folder: str = "") -> str:
        """What it prints, stderr as well."""
        configured = ("-c", f"url.{self.at}.insteadOf={self.forge.url}/", "-c", "gc.auto=0", "-c", "user.name=room")
        environment = {
            "PATH": os.environ["PATH"], "HOME": str(self.folder), "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C",
            "GIT_TERMINAL_PROMPT": "0", "EMAIL": "room@localhost",
        }  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            "git", *configured, *words, cwd=self.folder / folder, env=environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        async with asyncio.timeout(PATIENCE):
            printed = (await process.communicate())[0].decode()
        self.said += printed
        print(f"$ git {' '.join(words)}\n{printed}")
        assert (process.returncode == 0) == ok, printed
        return printed

    async def clone(self, *options: str, name: str = REPO, folder: str = "clone") -> None:
        await self.git("clone", "--quiet", *options, f"{self.forge.url}/{name}", folder)

    async def commit(self, text: str, *, folder: str = "clone", file: str = "file") -> str:
        (self.folder / folder / file).write_text(text)
        await self.git("add", "--all", folder=folder)
        await self.git("commit", "--quiet", "--message", text[:40], folder=folder)
        return (await self.git("rev-parse", "HEAD", folder=folder)).strip()

    async def push(self, *words: str, ok: bool = True, folder: str = "clone") -> str:
        return await self.git("push", *words, ok=ok, folder=folder)

    async def refused(self, *words: str) -> str:
        """What git prints about a push that must change nothing."""
        before = self.forge.git(REPO, "for-each-ref")
        printed = await self.push("origin", *words, ok=False)
        assert self.forge.git(REPO, "for-each-ref") == before
        return printed


@pytest.fixture
async def forge() -> AsyncIterator[LocalForge]:
    async with LocalForge() as forge:
        forge.add(REPO, private=True)
        yield forge


async def _room(hand: LiveHand, forge: LocalForge, folder: Path, token: str = TOKEN) -> Room:
    room = Room(hand, forge, folder, token)
    assert (await hand.host.run(["true"])).code == 0  # so that its ports are open
    return room


@pytest.fixture
async def room(hand: LiveHand, forge: LocalForge, tmp_path: Path) -> AsyncIterator[Room]:
    room = await _room(hand, forge, tmp_path)
    yield room
    assert TOKEN not in room.said
    assert HIDDEN not in room.said
    await room.server.close()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [], "nothing of a push is left"


@pytest.fixture
async def granted(room: Room) -> Room:
    room.memory.repos.append("Acme/Widget")
    return room


# ── What is let through ──────────────────────────────────────────────────────────────────────────


async def test_a_fetch_that_git_compresses(granted: Room) -> None:
    """It does where what it has to tell of its own commits is long."""
    await granted.clone()
    for number in range(40):
        await granted.git("commit", "--quiet", "--allow-empty", "-m", f"{number}", folder="clone")
    made = granted.forge.commit(REPO, "main", {"README": "Read me again.\n"})
    await granted.git("fetch", "origin", folder="clone")
    assert made == (await granted.git("rev-parse", "origin/main", folder="clone")).strip()


async def test_clone_change_push(granted: Room) -> None:
    await granted.clone()
    assert (granted.folder / "clone/README").read_text() == "Read me.\n"
    await granted.git("switch", "-c", "feature", folder="clone")
    for number in range(3):
        made = await granted.commit(f"change {number}\n" * 100)
        await granted.push("origin", "feature")
        assert granted.forge.branches(REPO)["feature"] == made
    await granted.git("tag", "v1", folder="clone")
    await granted.push("origin", "v1")
    granted.forge.commit(REPO, "main", {"README": "Read me again.\n"})
    await granted.git("fetch", "origin", folder="clone")
    assert [line for line in granted.forge.asked if "compare" in line] == [], "each pack proved itself"
    assert granted.people.asked == []
    assert [(deed.what, deed.subject, deed.detail) for deed in granted.memory.deeds] == [
        *[("push", "Acme/Widget", "refs/heads/feature")] * 3,
        ("push", "Acme/Widget", "refs/tags/v1"),
    ]
    assert set(granted.forge.shown) == {f"Basic {HIDDEN}", f"Bearer {TOKEN}"}


async def test_a_large_push(granted: Room) -> None:
    """git asks with an empty request first, and then sends in pieces."""
    await granted.clone()
    for name in ("one", "two"):
        (granted.folder / "clone" / name).write_bytes(os.urandom(3 << 20))
        made = await granted.commit(name)
        await granted.push("origin", "HEAD:large")
        assert granted.forge.branches(REPO)["large"] == made


async def test_a_push_from_a_shallow_clone(granted: Room) -> None:
    for number in range(3):
        granted.forge.commit(REPO, "main", {"README": f"{number}\n"})
    await granted.git("clone", "--depth", "1", f"{granted.forge.url}/{REPO}", "clone")
    await granted.commit("one")
    await granted.push("origin", "HEAD:new")
    made = await granted.commit("two")
    await granted.push("origin", "HEAD:new")
    assert granted.forge.branches(REPO)["new"] == made


async def test_history_that_the_forge_has_is_asked_of_it(granted: Room) -> None:
    """A branch that grows by what is on another branch already: the pack says nothing of it."""
    await granted.clone()
    await granted.push("origin", "HEAD:grows", "HEAD:builds")
    theirs = granted.forge.commit(REPO, "main", {"README": "1\n"})
    granted.forge.commit(REPO, "main", {"README": "2\n"})
    await granted.git("pull", "--quiet", folder="clone")
    await granted.push("origin", f"{theirs}:grows")
    made = await granted.commit("on top")
    await granted.push("origin", "HEAD:builds")
    there = granted.forge.branches(REPO)
    assert (there["grows"], there["builds"]) == (theirs, made)
    assert len([line for line in granted.forge.asked if "compare" in line]) == 2
    assert "history would be rewritten" in await granted.refused("--force", "main~2:builds")
    assert "history would be rewritten" in await granted.refused("--force", "main~3:grows")


async def test_the_first_push_to_an_empty_repository(granted: Room) -> None:
    granted.forge.add("acme/fresh", empty=True)
    granted.memory.repos.append("acme/fresh")
    await granted.clone(name="acme/fresh")
    made = await granted.commit("first")
    await granted.push("origin", "HEAD:main")
    assert granted.forge.branches("acme/fresh") == {"main": made}
    await granted.commit("second")
    assert "a protected branch" in await granted.push("origin", "HEAD:main", ok=False)
    assert "a protected branch" in await granted.push("origin", "HEAD:release/1", ok=False)


# ── What is refused, and what people see of it ───────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pushed", "said"),
    [
        (["HEAD:main"], "[remote rejected] HEAD -> main (a protected branch: push to a new branch)"),
        (["--force", "HEAD:main"], "(a protected branch: push to a new branch)"),
        (["HEAD:refs/heads/MAIN"], "(a protected branch: push to a new branch)"),
        (["HEAD:refs/heads/release/2"], "(a protected branch: push to a new branch)"),
        (["--delete", "theirs"], "[remote rejected] theirs (nothing is deleted from a room)"),
        (["--delete", "main"], "(nothing is deleted from a room)"),
        (["--force", "HEAD:theirs"], "HEAD -> theirs (history would be rewritten, or may be: push to a new branch)"),
        (["+HEAD:theirs", "HEAD:refs/heads/fine"], "HEAD -> fine (refused together with the others)"),
        (["--force", "HEAD:refs/tags/v1"], "(a tag that is there stays as it is)"),
        (["HEAD:refs/notes/x"], "(only branches and tags are pushed from a room)"),
        (["--mirror"], "(nothing is deleted from a room)"),
    ],
)  # fmt: skip
async def test_what_is_not_pushed(granted: Room, pushed: list[str], said: str) -> None:
    granted.forge.commit(REPO, "theirs", {"theirs": "1\n"})
    granted.forge.git(REPO, "tag", "v1", "theirs")
    await granted.clone("--no-tags")
    await granted.commit("mine")
    printed = await granted.refused(*pushed)
    assert said in printed
    assert "remote: Roommate: nothing was pushed. From a room branches only grow" in printed
    assert granted.memory.deeds == []


async def test_a_repository_that_is_not_granted(room: Room) -> None:
    room.forge.private.clear()
    await room.clone()
    assert room.forge.shown == [], "read as anybody may"
    await room.commit("mine")
    printed = await room.refused("HEAD:new")
    assert "remote: Roommate: acme/widget is not among this room's repositories." in printed
    assert "An operator lets this room use it with `!repo add acme/widget`." in printed
    room.memory.kept.clear()
    printed = await room.git("fetch", ok=False, folder="clone")
    assert "is not allowed in this room. People were asked and have not answered yet" in printed
    assert [question.subject for question in room.people.asked] == [URL(room.forge.url).authority]


async def test_what_nobody_may_see_without_a_grant(room: Room) -> None:
    for name in (REPO, "acme/nothing"):
        printed = await room.git("clone", f"{room.forge.url}/{name}", ok=False)
        assert f"has no {name}, or does not show it to everybody." in printed
        assert f"`!repo add {name}`" in printed
        assert "Username" not in printed, "no password is asked for"


async def test_a_token_that_is_missing_or_dead(hand: LiveHand, forge: LocalForge, tmp_path: Path) -> None:
    forge.private.clear()
    for token, said in (("", "the operator has set no GITHUB_TOKEN"), ("dead", "does not take the GITHUB_TOKEN")):
        room = await _room(hand, forge, tmp_path, token)
        room.memory.repos.append(REPO)
        if not token:
            await room.clone()
            await room.commit("mine")
        assert said in await room.push("origin", "HEAD:new", ok=False)
        assert "ZGVhZ" not in room.said
        await room.server.close()


async def test_a_forge_that_is_away(granted: Room) -> None:
    await granted.clone()
    await granted.forge.close()
    assert "cannot be reached" in await granted.git("fetch", ok=False, folder="clone")


# ── Whoever speaks HTTP instead of git ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "acme/widget"),
        ("GET", "acme/widget.git/HEAD"),
        ("GET", "acme/widget.git/objects/info/packs"),
        ("GET", "acme/widget.git/info/refs"),
        ("GET", "acme/widget.git/info/refs?service=git-upload-archive"),
        ("GET", "acme/widget.git/info/refs?service=git-upload-pack&x=1"),
        ("POST", "acme/widget.git/info/refs?service=git-upload-pack"),
        ("GET", "acme/widget.git/git-upload-pack"),
        ("POST", "acme/widget.git/git-upload-pack?x=1"),
        ("POST", "acme/widget.git/info/lfs/objects/batch"),
        ("POST", "api/v3/repos/acme/widget/pulls"),
        ("GET", "acme/../widget/info/refs?service=git-upload-pack"),
        ("GET", "acme/../acme/widget/info/refs?service=git-upload-pack"),
        ("GET", "acme/..%2fwidget/info/refs?service=git-upload-pack"),
        ("GET", "acme/widget%00/info/refs?service=git-upload-pack"),
        ("GET", "a@b/widget/info/refs?service=git-upload-pack"),
        ("DELETE", "acme/widget.git/git-receive-pack"),
    ],
)
async def test_nothing_else_is_served(granted: Room, method: str, path: str) -> None:
    async with aiohttp.request(method, URL(granted.at + path, encoded=True), allow_redirects=False) as answer:
        assert answer.status == 404
        assert (await answer.text()).startswith("Roommate: only git's clone, fetch and push")
    assert granted.forge.asked == []


async def test_no_answer_asks_for_a_password_or_shows_the_token(granted: Room) -> None:
    """The forge of the tests names what it was shown when it refuses it."""
    granted.forge.token = "another"
    for service in ("git-upload-pack", "git-receive-pack"):
        url = f"{granted.at}{REPO}.git/info/refs?service={service}"
        async with aiohttp.request("GET", url, headers={"Authorization": "Basic mine", "Cookie": "a=b"}) as answer:
            assert answer.status == 403
            assert "WWW-Authenticate" not in answer.headers
            assert HIDDEN not in await answer.text() + str(answer.headers)
    assert granted.forge.shown == [f"Basic {HIDDEN}"] * 2, "what the room shows is dropped"


async def test_a_redirect_is_not_followed(granted: Room) -> None:
    granted.forge.moved["/Acme/Widget.git/info/refs"] = "https://elsewhere.invalid/"
    printed = await granted.git("ls-remote", f"{granted.forge.url}/{REPO}", ok=False)
    assert "use its new name" in printed
    assert "elsewhere" not in printed


NEW = "1" * 40
MAIN = pkt(f"{NOTHING} {NEW} refs/heads/main\0report-status side-band-64k")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "its commands do not end"),
        (b"garbage", "not in the form of git"),
        (MAIN, "its commands do not end"),
        (pkt(f"shallow {NEW}") * 10_000, "its commands do not end"),
        (MAIN + MAIN.replace(b"\0", b"\n") + FLUSH, "not understood"),
        (pkt(f"{NOTHING} {NEW} refs/heads/../../main\0") + FLUSH, "an impossible name"),
        (pkt("push-cert\0push-cert") + pkt(f"{NOTHING} {NEW} refs/heads/x\n") + pkt("push-cert-end\n") + FLUSH,
         "a command that is not understood"),
        (pkt(f"{NOTHING} {NEW} HEAD\0") + FLUSH, "a command that is not understood"),
    ],
)  # fmt: skip
async def test_a_push_that_is_none(granted: Room, body: bytes, said: str) -> None:
    async with aiohttp.request("POST", f"{granted.at}{REPO}/git-receive-pack", data=body) as answer:
        text = (await answer.read()).decode()
    assert re.search(said, text), text
    assert not [line for line in granted.forge.asked if "git-receive-pack" in line]


async def test_a_probe_is_answered_here(granted: Room) -> None:
    async with aiohttp.request("POST", f"{granted.at}{REPO}/git-receive-pack", data=FLUSH) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    assert granted.forge.asked == []


async def test_a_push_has_an_end(granted: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roommate.features.github.git_spool.PUSH_BYTES", 1 << 20)
    await granted.clone()
    (granted.folder / "clone/large").write_bytes(os.urandom(2 << 20))
    await granted.commit("large")
    assert "(a push may have 1 MiB: push it in parts)" in await granted.refused("HEAD:large")


async def test_what_rooms_push_leaves_room_for_others(
    granted: Room, hand: LiveHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A room that pushes and never ends takes its part of the disk: who comes then has to have less, not nothing."""
    monkeypatch.setattr("roommate.features.github.git_spool.ALL_BYTES", 8 << 20)
    monkeypatch.setattr("roommate.features.github.git_spool.LEFT_FREE", 0)
    port = free_port()
    hand.host.serve(port, functools.partial(granted.server.serve, RoomId("!other:example.org")))
    _, writer = await connect(port)
    head = f"POST /{REPO}/git-receive-pack HTTP/1.1\r\nHost: x\r\nContent-Length: {5 << 20}\r\n\r\n"
    writer.write(head.encode() + MAIN + FLUSH + bytes(4 << 20))
    await until(lambda: sum(granted.server._spool._taken.values()) > 3 << 20)
    await granted.clone()
    (granted.folder / "clone/some").write_bytes(os.urandom(1 << 20))
    await granted.commit("some")
    await granted.push("origin", "HEAD:some")
    (granted.folder / "clone/more").write_bytes(os.urandom(3 << 20))
    await granted.commit("more")
    full = "HEAD -> more (there is no space for a push of this size just now: try again in some minutes)"
    assert full in await granted.refused("HEAD:more")
    writer.close()
    await until(lambda: not granted.server._spool._taken)
    await granted.push("origin", "HEAD:more")
    assert granted.server._spool._taken == {}
    monkeypatch.setattr("roommate.features.github.git_spool.LEFT_FREE", 1 << 60)
    await granted.git("switch", "-c", "small", "origin/main", folder="clone")
    await granted.commit("small")
    await granted.push("origin", "small")
    (granted.folder / "clone/more").write_bytes(os.urandom(1 << 20))
    await granted.commit("more")
    assert "there is no space for a push of this size" in await granted.refused("HEAD:full")


async def test_a_forge_that_is_away_when_a_push_is_judged(granted: Room) -> None:
    await granted.clone()
    await granted.commit("mine")
    granted.forge.rest = False
    assert "(http://127.0.0.1" in (printed := await granted.refused("HEAD:new"))
    assert "refused this for Acme/Widget with status 500)" in printed
