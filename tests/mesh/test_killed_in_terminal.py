"""A program in a terminal at another daemon, while one of the two is killed: who sits there has their terminal back and
is told, nothing runs twice or without anybody who could type, and it has one end."""

from __future__ import annotations

import asyncio

from roommate.features.mesh.envelope import REPLY, REQUEST
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import ROOMMATE, Daemon, no_settings
from tests.mesh.pair import roommate, trusts, with_both
from tests.person import Person
from tests.terminal import Terminal

POLICY = """\
version = 1

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
arguments = ["*"]
pty = true
approval = "none"
"""


def sitting(laptop: Daemon, word: str) -> Terminal:
    """Somebody at a program that waits for what is typed, and notes that it runs, and that it was told to end."""
    program = f"trap 'echo {word}-ended >>ran; exit' HUP TERM; echo {word} >>ran; echo begun; read line; echo $line"
    command = ("exec", "--peer", "builder", "--pty", "--timeout", "600", "--", "sh", "-c", program)
    return Terminal(str(ROOMMATE), *command, environment={**no_settings(), **laptop.settings})


def ends(alice: Person, word: str) -> list[str]:
    """The last words that the room has to it."""
    asked = {one.content["id"] for one in alice.seen if one.type == REQUEST and word in str(one.content["params"])}
    bodies = [one.content["body"] for one in alice.seen if one.type == REPLY and one.content["request"] in asked]
    return [str(body.get("code", body["kind"])) for body in bodies if body["kind"] in ("result", "refused")]


async def test_either_is_killed(daemon: MakeDaemon, person: MakePerson) -> None:
    alice = await person("alice")
    laptop, builder = await asyncio.gather(daemon(), daemon())
    (builder.state / "policy.toml").write_text(POLICY)
    await asyncio.gather(trusts(laptop, builder, "builder"), trusts(builder, laptop, "laptop"))
    await with_both(alice, laptop, builder, encrypted=False)

    async with sitting(laptop, "first") as terminal:
        await terminal.see("begun")
        await terminal.until_raw()
        await builder.kill9()
        await builder.start()
        assert await terminal.ended() == 255
        assert terminal.is_as_before()
        await terminal.see("it may have run")
    assert ends(alice, "first") == ["unknown"]

    async with sitting(laptop, "second") as terminal:
        await terminal.see("begun")
        await terminal.until_raw()
        await laptop.kill9()
        assert await terminal.ended() == 255
        assert terminal.is_as_before()
        await terminal.see("hung up")
    assert ends(alice, "second") == []
    await laptop.start()
    await alice.wait(lambda: ends(alice, "second"), what="the end of what nobody sits at")
    assert ends(alice, "second") == ["cancelled"]

    async def ran() -> list[str]:
        done = await roommate(laptop, "exec", "--peer", "builder", "--", "cat", "ran")
        assert done.code == 0, done
        return done.out.split()

    noted = [one for one in await ran() if not one.endswith("-ended")]
    assert noted == ["first", "second"], noted
    assert [ends(alice, word) for word in ("first", "second")] == [["unknown"], ["cancelled"]]
