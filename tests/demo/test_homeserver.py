"""The embedded homeserver: a second start finds everything, a killed parent leaves nothing, a stranger is not it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from roommate.errors import MatrixError
from tests.conftest import MakePerson
from tests.patience import PATIENCE
from tests.person import Person, SaidNo


async def test_people_see_what_happens(person: MakePerson) -> None:
    alice, bob = await person("alice"), await person("bob")
    room = await alice.create_room([bob.user_id], name="Kitchen")
    await bob.wait(lambda: bob.invited.get(room) == alice.user_id)
    await bob.join(room)
    first = await alice.say(room, "Hello")
    live = await bob.say(room, "thinking …", msgtype="m.notice")
    await bob.react(room, first, "👀")
    await bob.edit(room, live, "Hello Alice")
    await alice.redact(room, first)
    answer = await alice.answer_to(first)
    assert (answer.body, answer.edits, answer.looks) == ("Hello Alice", 1, ["thinking …", "Hello Alice"])
    assert alice.reactions(room, first) == [(bob.user_id, "👀")]
    await alice.wait(lambda: alice.messages(room)[0].redacted)
    file = await alice.upload(room, "a.bin", b"\0\1")
    await bob.wait(lambda: [m for m in bob.messages(room) if m.event_id == file])
    assert await bob.download(bob.messages(room)[-1].content["url"]) == b"\0\1"
    await alice.kick(room, bob.user_id)
    await bob.wait(lambda: room in bob.left)


async def test_a_second_start_serves_the_same(tmp_path: Path) -> None:
    async with Synapse(tmp_path) as synapse:
        url = synapse.url
        account = await synapse.register("alice", "secret")
        async with await Person.at(url, "alice", "secret") as alice:
            room = await alice.create_room()
        again = await synapse.register("alice", "secret")
        assert again.user_id == account.user_id == "@alice:localhost"
        assert synapse.pid is not None
        os.kill(synapse.pid, signal.SIGKILL)
    async with Synapse(tmp_path) as synapse:
        assert synapse.url == url
        async with await Person.at(url, "alice", "secret") as alice:
            assert room in (await alice.call("GET", "joined_rooms"))["joined_rooms"]
        private = [path.name for path in tmp_path.iterdir() if path.suffix in (".yaml", ".json")]
        assert len(private) == 3
        assert all((tmp_path / name).stat().st_mode & 0o077 == 0 for name in private)


async def test_a_taken_port_is_another_ones(tmp_path: Path) -> None:
    """A stranger on our port answers like a homeserver: the next start takes another port, and is not fooled."""
    async with Synapse(tmp_path) as synapse:
        url = synapse.url

    async def versions(_: web.Request) -> web.Response:
        return web.json_response({"versions": ["v1.1"]})

    stranger = web.AppRunner(app := web.Application())
    app.router.add_get("/_matrix/client/versions", versions)
    await stranger.setup()
    await web.TCPSite(stranger, "127.0.0.1", int(url.rpartition(":")[2])).start()
    try:
        async with Synapse(tmp_path) as synapse:
            assert synapse.url != url
            assert (await synapse.register("alice", "secret")).homeserver == synapse.url
    finally:
        await stranger.cleanup()


async def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    program = """
import asyncio, pathlib, sys
from roommate.demo.embedded_synapse import Synapse
async def main():
    synapse = Synapse(pathlib.Path(sys.argv[1]))
    await synapse.start()
    print(synapse.pid, flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.kill()
    await parent.wait()
    async with asyncio.timeout(PATIENCE):
        while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
            await asyncio.sleep(0.01)


async def test_limits_are_the_default_ones_unless_lifted(homeserver: Synapse, person: MakePerson) -> None:
    alice = await person("alice")
    limited = await homeserver.register("limited", "secret")
    room = await alice.create_room([limited.user_id])
    async with await Person.at(homeserver.url, "limited", "secret") as bob:
        await bob.join(room)
        await asyncio.gather(*(alice.say(room, f"{n}") for n in range(15)))
        with pytest.raises(SaidNo, match="M_LIMIT_EXCEEDED"):
            await asyncio.gather(*(bob.say(room, f"{n}") for n in range(15)))


async def test_a_python_without_synapse_is_said(tmp_path: Path) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'synapse'\" >&2; exit 1\n")
    program.chmod(0o755)
    with pytest.raises(MatrixError, match="extra `demo`"):
        await Synapse(tmp_path / "hs", python=str(program)).start()
