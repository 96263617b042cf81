"""Two daemons in a room, from a person's end: trust, a program there, a refusal, a yes, a file, a model that asks."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from typing import Any

import pytest

from roommate.cli.shell_terminal import exit_code
from roommate.errors import ControlError
from tests.fakes.daemon import MemoryDaemon
from tests.fakes.model import MemoryModel
from tests.fast.conftest import MakeDaemon, MakePerson
from tests.fast.test_mesh_asking import Stream
from tests.fast.test_operations import found, typed
from tests.harness import tool
from tests.person import Person, Shown

POLICY = """\
version = 1

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["ping", "who", "exec"]
commands = ["*"]
folders = ["*"]
arguments = ["*"]
not_arguments = ["*approve*"]
stdin = true
approval = "none"

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
commands = ["*"]
folders = ["*"]
arguments = ["*approve*"]
approval = "people"
"""
OUTGOING = """\
version = 1

[[outgoing]]
peers = ["builder"]
rooms = ["*"]
methods = ["exec", "who"]
"""


async def befriend(one: MemoryDaemon, other: MemoryDaemon, name: str) -> None:
    """An operator of `one` trusts the other, by what that shows of itself."""
    identity = await found(other, "identity")
    await typed(one, "trust", "add", identity["key"], other.user_id, "--everywhere", "--name", name)


@dataclass
class Two:
    laptop: MemoryDaemon
    builder: MemoryDaemon
    alice: Person
    room: str

    async def exec(self, *argv: str, **more: Any) -> tuple[Any, str]:
        stream = Stream(self.laptop).ask("mesh.exec", peer="builder", argv=list(argv), **more)
        result = await stream.result()
        return result, bytes(stream.out).decode()


@pytest.fixture
async def two(daemon: MakeDaemon, person: MakePerson, model: MemoryModel) -> Two:
    alice = await person("alice")
    laptop, builder = await daemon(model=model, ANSWER_EVERYTHING="true"), await daemon(OPERATORS=alice.user_id)
    room = await laptop.room_with(alice)
    await alice.invite(room, builder.user_id)
    await alice.wait_for_member(room, builder.user_id)
    (builder.state / "policy.toml").write_text(POLICY)
    (laptop.state / "policy.toml").write_text(OUTGOING)
    await befriend(laptop, builder, "builder")
    await befriend(builder, laptop, "laptop")
    return Two(laptop, builder, alice, room)


async def shows(two: Two, bot: MemoryDaemon, *words: str) -> None:
    await two.alice.wait(
        lambda: any(all(word in m.body for word in words) for m in bot.said(two.alice, two.room)),
        what=f"what {bot.user_id} shows",
    )


async def test_a_peer_that_goes_over_to_another_key_says_how_what_ran_there_ended(two: Two) -> None:
    stream = Stream(two.laptop).ask("mesh.exec", peer="builder", argv=["sh", "-c", "echo up; exec sleep 1000"])
    while bytes(stream.out) != b"up\n":
        await asyncio.sleep(0.01)
    before = await found(two.builder, "identity")
    after = await found(two.builder, "identity", "rotate")
    assert after["key"] != before["key"]
    with pytest.raises(ControlError, match=r"it may have run: .* has another key"):
        await asyncio.wait_for(stream.result(), 20)
    assert (await found(two.laptop, "ping", "builder"))["peer"] == "builder"


def is_answer(message: Shown) -> bool:
    return bool(message.content.get("io.roommate.turn", {}).get("state") == "done")


async def test_a_day_of_two_daemons(two: Two) -> None:
    assert (await found(two.laptop, "ping", "builder"))["peer"] == "builder"
    assert "exec" in (await found(two.laptop, "who", "builder"))["methods"]
    result, printed = await two.exec("sh", "-c", "echo one; echo two >&2; exit 7")
    assert (result["code"], printed) == (7, "one\n")
    late, _ = await two.exec("sleep", "1000", timeout=1)
    assert exit_code(late) == 124, "as timeout(1) has it"
    await shows(two, two.laptop, "exit code 7")  # each shows it from its end
    await shows(two, two.builder, "exit 7")
    given = iter([b"a\n" * 30_000, b"b\n", b""])
    stream = Stream(two.laptop).ask("mesh.exec", lambda _: next(given), peer="builder", argv=["sha256sum"], stdin=True)
    assert (await stream.result())["code"] == 0
    assert stream.out.startswith(hashlib.sha256(b"a\n" * 30_000 + b"b\n").hexdigest().encode())
    _, printed = await two.exec("sh", "-c", "i=0; while [ $i -lt 40000 ]; do echo line $i; i=$((i+1)); done")
    assert printed == "".join(f"line {n}\n" for n in range(40_000))  # in a file

    asking = asyncio.create_task(two.exec("echo", "approve me"))
    card = await two.alice.wait(
        lambda: next((m for m in two.builder.said(two.alice, two.room) if m.is_card and "approve me" in m.body), None),
        what="the card",
    )
    assert card is not None
    assert card.content["m.mentions"] == {"user_ids": [two.alice.user_id]}, "it rings for operators, whoever may answer"
    await two.alice.react(two.room, card.event_id, "✅")
    result, printed = await asking
    assert (result["code"], printed) == (0, "approve me\n")
    heard = await two.alice.say(two.room, "SAY I heard you")
    assert (await two.alice.answer_to(heard)).body.startswith("I heard you")
    answered = {m.content["io.roommate.turn"]["prompt"] for m in two.laptop.said(two.alice, two.room) if is_answer(m)}
    assert answered == {heard}, "what a daemon asks its people, and shows them, is no prompt for another"

    (two.builder.state / "policy.toml").write_text("version = 1\n")
    with pytest.raises(ControlError, match="the policy does not grant it") as refused:
        await two.exec("true")
    assert refused.value.exit_code == 77


async def test_a_model_asks_another_daemon_and_its_room_sees_it(two: Two) -> None:
    look, goes_on = tool("peers"), "echo one; until [ -e go ]; do sleep 0.05; done; echo hello there"
    script = look + "\n---\n" + tool("exec_on_peer", peer="@builder", argv=["sh", "-c", goes_on]) + "\n---\nECHO"
    asked = await two.alice.say(two.room, script, mentions=[two.laptop.user_id])
    for bot in (two.laptop, two.builder):  # both show it while it runs
        await shows(two, bot, "\none", "runs" if bot is two.builder else "exec_on_peer")
    await two.exec("touch", "go")
    answer = await two.alice.answer_to(asked)
    assert "hello there" in answer.body
    assert '<peer-output from="builder">' in answer.body


async def test_why_a_peer_refuses_is_told_to_the_model_as_its_words(two: Two) -> None:
    (two.builder.state / "policy.toml").write_text("version = 1\n")
    script = tool("exec_on_peer", peer="@builder", argv=["true"]) + "\n---\nECHO"
    asked = await two.alice.say(two.room, script, mentions=[two.laptop.user_id])
    said = (await two.alice.answer_to(asked)).body
    begins, why, ends = (said.index(part) for part in ('<peer-output from="builder">', "builder refuses", "</peer-"))
    assert begins < why < ends
