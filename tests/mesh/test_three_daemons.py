"""Three daemons at one homeserver, in a plain and an encrypted room: one asks the two others, gives one of them 50 MB,
and one is killed while it is given a file."""

from __future__ import annotations

import asyncio
import hashlib
import os

from roommate.features.mesh.envelope import REQUEST
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon
from tests.mesh.pair import roommate, trusts, with_both

MIB = 1 << 20
POLICY = """\
version = 1

[limits]
output_bytes = 100000000

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec", "share.put"]
commands = ["*"]
arguments = ["*"]
paths = ["*"]
approval = "none"
"""


class Most:
    """How much memory daemons have taken at most, beside what they had at first; in bytes."""

    def __init__(self, *daemons: Daemon) -> None:
        self._began = {one: one.rss() for one in daemons}
        self.of = dict.fromkeys(daemons, 0)
        self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            for one, before in self._began.items():
                self.of[one] = max(self.of[one], one.rss() - before)
            await asyncio.sleep(0.02)

    def end(self) -> None:
        self._looking.cancel()


async def test_two_are_asked_at_once_one_is_given_50_mb_and_one_is_killed(
    daemon: MakeDaemon, person: MakePerson
) -> None:
    alice = await person("alice")
    laptop, builder, tester = await asyncio.gather(daemon(), daemon(), daemon())
    for one, name in ((builder, "builder"), (tester, "tester")):
        (one.state / "policy.toml").write_text(POLICY)
        await asyncio.gather(trusts(laptop, one, name), trusts(one, laptop, "laptop"))
    plain, sealed = [await with_both(alice, laptop, builder, tester, encrypted=how) for how in (False, True)]

    async def exec(name: str, room: str, *argv: str) -> str:
        done = await roommate(laptop, "exec", "--peer", name, "--room", room, "--", *argv)
        assert done.code == 0, done
        return done.out

    both = [(name, room) for room in (plain, sealed) for name in ("builder", "tester")]
    said = await asyncio.gather(*(exec(name, room, "echo", f"{name} in {room}") for name, room in both))
    assert said == [f"{name} in {room}\n" for name, room in both]

    content = os.urandom(50 * MIB)
    (laptop.cwd / "large").write_bytes(content)
    most = Most(laptop, builder)
    done = await roommate(laptop, "share", "put", "--peer", "builder", "--room", sealed, "large", "in/large")
    most.end()
    assert done.code == 0, done
    assert (await exec("builder", sealed, "sha256sum", "in/large")).split()[0] == hashlib.sha256(content).hexdigest()
    taken = [f"{most.of[one] / MIB:.0f} MiB" for one in (laptop, builder)]
    print("memory during 50 MB, of who gives and who gets it:", *taken)
    assert most.of[laptop] < 120 * MIB, taken  # a part and its encrypted copy
    assert most.of[builder] < 150 * MIB, taken  # the file, and the same of a part

    giving = asyncio.create_task(
        roommate(laptop, "share", "put", "--peer", "tester", "--room", plain, "large", "in/large")
    )
    await alice.wait(
        lambda: any(one.type == REQUEST and one.content["method"] == "share.put" for one in alice.seen),
        what="the request",
    )
    await tester.kill9()
    await tester.start()
    done = await giving
    there = await exec("tester", plain, "sh", "-c", "sha256sum in/large 2>/dev/null || true")
    whole = there.startswith(hashlib.sha256(content).hexdigest())
    assert (done.code, whole) == (0, True) or (done.code == 255 and "it may have run" in done.errors), (done, there)
