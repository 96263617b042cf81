"""Two daemons at a real homeserver with real containers, asked by the real command line; in a plain and an encrypted
room; and one that is killed while it works for the other."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from hashlib import sha256

from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon
from tests.mesh.pair import fresh, roommate, trusts, with_both
from tests.patience import until
from tests.processes import sleeping

POLICY = """\
version = 1

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["ping", "who", "exec"]
commands = ["*"]
arguments = ["*"]
places = ["room", "fresh"]
stdin = true
approval = "none"

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
arguments = ["*"]
folders = ["/"]
places = ["bubblewrap", "host"]
user = "daemon"
approval = "none"

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["call", "share.put", "share.get", "share.ls"]
tools = ["run_command"]
paths = ["*"]
approval = "none"
"""


async def takes_files(laptop: Daemon, room: str, *, encrypted: bool) -> None:
    """A file goes there, is listed and comes back as it was; in the open that is said."""
    at, content = ("--peer", "builder", "--room", room), os.urandom(100_000)
    given, got = laptop.cwd / "given", laptop.cwd / f"got-{room[1:9]}"
    given.write_bytes(content)
    done = await roommate(laptop, "share", "put", *at, str(given), "in/a.bin")
    assert (done.code, "not encrypted" in done.errors) == (0, not encrypted), done
    done = await roommate(laptop, "share", "ls", "builder", "--room", room, "--path", "in", "--json")
    assert done.code == 0, done
    assert json.loads(done.out)["entries"] == [{"name": "a.bin", "kind": "file", "size": 100_000}]
    done = await roommate(laptop, "share", "get", *at, "in/a.bin", str(got), "--json")
    assert (done.code, got.read_bytes() == content) == (0, True), done
    assert (json.loads(done.out)["sha256"], json.loads(done.out)["file"]) == (sha256(content).hexdigest(), str(got))
    assert ("not encrypted" in done.errors) != encrypted


async def runs_what_was_judged(laptop: Daemon, room: str) -> None:
    """A name counts where the image gave it, and not where the room did; a fresh container has nothing of the room."""
    at = ("--peer", "builder", "--room", room)
    for argv, printed in (
        (["sh", "-c", "echo $0"], "/usr/bin/sh\n"),
        (["sh", "-c", "ln -s /usr/bin/sh other; mkdir -m 555 own; cd own; pwd"], "/workspace/own\n"),
        (["./other", "-c", "echo $0"], "/usr/bin/dash\n"),
        (["sh", "-c", "chmod 755 own; ln -s /usr/bin/sh own/other; chmod 555 own"], ""),
        (["own/other", "-c", "echo $0"], "/usr/bin/dash\n"),
    ):
        done = await roommate(laptop, "exec", *at, "--", *argv)
        assert (done.code, done.out) == (0, printed), (argv, done)
    done = await roommate(
        laptop, "exec", *at, "--place", "fresh", "--", "sh", "-c", "ls -A . ~; pwd; cat", stdin="in\n"
    )
    assert (done.code, done.out.split()) == (0, [".:", "/home/room:", "/workspace", "in"]), done


async def test_plain_encrypted_and_killed(daemon: MakeDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    laptop, builder = await asyncio.gather(daemon(), daemon())
    (builder.state / "policy.toml").write_text(POLICY)
    await asyncio.gather(trusts(laptop, builder, "builder"), trusts(builder, laptop, "laptop"))
    plain, sealed = [await with_both(alice, laptop, builder, encrypted=how) for how in (False, True)]
    for room in (plain, sealed):
        at = ("--peer", "builder", "--room", room, "--")
        done = await roommate(laptop, "exec", *at, "sh", "-c", "cat; echo oops >&2; exit 5", stdin="hello\n")
        assert (done.code, done.out, done.errors) == (5, "hello\n", "oops\n")
        done = await roommate(laptop, "exec", "--json", *at, "sh", "-c", "echo one; echo oops >&2; exit 5")
        said = json.loads(done.out)
        assert (done.code, said["code"], said["stdout"], said["stderr"]) == (5, 5, "one\n", "oops\n"), done
        done = await roommate(laptop, "exec", *at, "seq", "100000")  # comes as a file
        assert (done.code, done.out) == (0, "".join(f"{n}\n" for n in range(1, 100_001)))
        await takes_files(laptop, room, encrypted=room == sealed)
    offers = json.loads((await roommate(laptop, "who", "builder", "--room", sealed, "--json")).out)
    offered = {one["name"]: one["schema"] for one in offers["tools"]}
    assert {"exec", "call", "share.put"} <= set(offers["methods"])
    assert "command" in offered["run_command"]["properties"]
    run = json.dumps({"command": "echo $((6 * 7)) from the tool"})
    done = await roommate(laptop, "call", "--peer", "builder", "--room", sealed, "run_command", run)
    assert (done.code, "42 from the tool" in done.out) == (0, True), done
    done = await roommate(laptop, "call", "--peer", "builder", "--room", sealed, "run_command", run, "--json")
    assert json.loads(done.out)["ok"] and "42 from the tool" in json.loads(done.out)["text"], done
    done = await roommate(laptop, "call", "--peer", "builder", "--room", sealed, "write_file", "{}")
    assert (done.code, "the policy does not grant it" in done.errors) == (77, True), done
    for seen in alice.seen:
        if seen.room_id == sealed and "state_key" not in seen.event:
            assert seen.type in ("m.room.encrypted", "m.reaction"), seen

    await runs_what_was_judged(laptop, plain)
    assert not fresh(builder)
    refused = await roommate(laptop, "exec", "--peer", "builder", "--room", plain, "--", "/no/such")
    assert refused.code == 77
    assert "the policy does not grant it" in refused.errors
    assert (await roommate(laptop, "exec", "--peer", "nobody", "--", "true")).code == 255
    assert (await roommate(laptop, "ping", "nobody")).code == 255
    assert (await roommate(laptop, "exec", "--", "true")).code == 64
    assert (await roommate(laptop, "who", "builder", "--in", plain)).code == 64

    once = "echo once >>/workspace/ran; sleep 600"
    working = asyncio.create_task(
        roommate(laptop, "exec", "--peer", "builder", "--room", plain, "--", "sh", "-c", once)
    )
    place = ("--place", "fresh", "--", "sh", "-c", "echo aside; sleep 600")
    aside = asyncio.create_task(roommate(laptop, "exec", "--peer", "builder", "--room", plain, *place))

    away = str(90_000 + secrets.randbelow(9_000))
    outside = [
        asyncio.create_task(
            roommate(
                *(laptop, "exec", "--peer", "builder", "--room", plain, "--place", where, "--cwd", "/", "--"),
                *("sh", "-c", f"env -i setsid sleep {away} & echo {where}; env -i sleep {away}"),
            )
        )
        for where in ("bubblewrap", "host")
    ]

    def all_run() -> bool:
        said = [m.body for m in builder.said(alice, plain)]
        return all(any(word in one and "runs" in one for one in said) for word in ("once", "aside", away))

    await alice.wait(all_run, what="the work")
    await until(lambda: len(sleeping(away)) >= 4)
    await until(lambda: bool(fresh(builder)))
    await builder.kill9()
    assert fresh(builder)
    await until(lambda: not sleeping(away))
    await builder.start()
    assert [(await one).code for one in (aside, *outside)] == [255] * 3
    await until(lambda: not fresh(builder))
    done = await working
    assert done.code == 255
    assert "it may have run" in done.errors
    ran = await roommate(laptop, "exec", "--peer", "builder", "--room", plain, "--", "cat", "/workspace/ran")
    assert ran.out == "once\n"
