"""Two daemons at a real homeserver with real containers, asked by the real command line; in a plain and an encrypted
room; and one that is killed while it works for the other."""

from __future__ import annotations

import asyncio

from tests.conftest import MakeDaemon, MakePerson
from tests.mesh.pair import roommate, trusts, with_both

POLICY = """\
version = 1

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["ping", "who", "exec"]
commands = ["*"]
arguments = ["*"]
stdin = true
approval = "none"
"""


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
        done = await roommate(laptop, "exec", *at, "seq", "100000")  # comes as a file
        assert (done.code, done.out) == (0, "".join(f"{n}\n" for n in range(1, 100_001)))
    for seen in alice.seen:
        if seen.room_id == sealed and "state_key" not in seen.event:
            assert seen.type in ("m.room.encrypted", "m.reaction"), seen

    refused = await roommate(laptop, "exec", "--peer", "builder", "--room", plain, "--", "/no/such")
    assert refused.code == 77
    assert "the policy does not grant it" in refused.errors
    assert (await roommate(laptop, "exec", "--peer", "nobody", "--", "true")).code == 255
    assert (await roommate(laptop, "exec", "--", "true")).code == 64

    once = "echo once >>/workspace/ran; sleep 600"
    working = asyncio.create_task(
        roommate(laptop, "exec", "--peer", "builder", "--room", plain, "--", "sh", "-c", once)
    )
    await alice.wait(lambda: any("once" in m.body for m in builder.said(alice, plain)), what="the work")
    await builder.kill9()
    await builder.start()
    done = await working
    assert done.code == 255
    assert "it may have run" in done.errors
    ran = await roommate(laptop, "exec", "--peer", "builder", "--room", plain, "--", "cat", "/workspace/ran")
    assert ran.out == "once\n"
