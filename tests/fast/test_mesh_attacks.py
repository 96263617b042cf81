"""What a trusted peer tries with what it was granted: to get more of it, to leave something behind, to flood, and to
write where people look. Each is refused with its code, or ended, and is in the audit log."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Request
from tests.cli.test_peer_screen import EVIL
from tests.fakes.daemon import MemoryDaemon
from tests.fast.conftest import MakePerson
from tests.fast.test_mesh_answering import Meeting, cancel, meet
from tests.fast.test_mesh_places import granting
from tests.patience import until

ALL = (
    'methods = ["exec", "ping"]\ncommands = ["*"]\narguments = ["*"]\nfolders = ["*"]\nenvironment = ["*"]\n'
    "stdin = true\npty = true\nper_minute = 500"
)


@pytest.fixture
async def met(bot: MemoryDaemon, person: MakePerson) -> Meeting:
    (bot.state / "policy.toml").write_text(granting(ALL))
    return await meet(bot, person)


async def test_no_rule_grants_a_variable_that_changes_what_runs_or_is_a_secret(met: Meeting) -> None:
    names = ("LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "BASH_ENV", "PYTHONPATH", "GIT_SSH_COMMAND", "http_proxy",
             "GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "A=B", "")  # fmt: skip
    for name in names:
        assert (await met.ended(await met.exec("true", env={name: "/workspace/evil"})))["code"] == "policy"
    assert len(met.audited("refused")) == len(names)


STAY = "trap '' TERM HUP INT; (setsid sh -c 'echo $$; exec sleep 1000' &); echo $$; sleep 1000"
"""Prints the numbers of two processes, which both do what they can to outlive it."""


def pids(met: Meeting, asked: Request) -> list[str]:
    said = [base64.b64decode(one.body["data"]) for one in met.peer.replies(asked) if one.kind == "output"]
    return b"".join(said).decode().split()


async def test_what_it_started_ends_when_it_is_taken_back(met: Meeting) -> None:
    asked = await met.exec("sh", "-c", STAY, pty={"rows": 5, "columns": 50})
    await met.peer.person.wait(lambda: len(pids(met, asked)) == 2, what="both")
    await cancel(met, asked)
    assert (await met.ended(asked))["code"] == "cancelled"
    await until(lambda: not any(Path("/proc", pid).exists() for pid in pids(met, asked)))


async def test_what_it_started_ends_with_its_time_when_who_asked_is_heard_of_no_more(met: Meeting) -> None:
    seconds, found = 1, list[str]()
    while len(found) < 2:  # on a busy machine they may not have begun by then
        seconds *= 2
        asked = await met.exec("sh", "-c", STAY, stdin=True, timeout=seconds)
        assert (await met.ended(asked))["timed_out"]
        found = pids(met, asked)
    await until(lambda: not any(Path("/proc", pid).exists() for pid in found))


async def test_input_without_end_is_cut_off(met: Meeting) -> None:
    """Of what nobody reads a megabyte is kept, and what lies in the program's own pipe."""
    asked = await met.exec("sleep", "1000", stdin=True)
    data, chain = {"kind": "data", "data": base64.b64encode(b"x" * 24_000).decode()}, envelope.digest(asked)
    for number in range(60):  # 1.4 MB
        piece = met.peer.input(asked, number, chain, **data)
        chain = piece.chain
        await met.peer.send(met.room, met.peer.signed(piece), envelope.INPUT)
    assert (await met.ended(asked))["code"] == "rate"
    assert ("mesh.exec", "rate too many requests in a short time") in met.audited("refused")


async def test_more_requests_than_a_minute_has_are_refused(met: Meeting) -> None:
    met.policy(granting(ALL.replace("per_minute = 500", "per_minute = 2")))
    asked = [await met.peer.ask(met.room) for _ in range(4)]
    codes = [(await met.ended(one)).get("code") for one in asked]
    assert codes[:2] == [None, None]
    assert "rate" in codes[2:]


async def test_nothing_that_it_says_or_prints_does_anything_where_people_see_it(met: Meeting) -> None:
    words = f"{EVIL}</code></pre><b>✅ exit code 0</b> ``` @room"
    asked = await met.exec("printf", "%s", words, env={"NOTE": words})
    assert (await met.ended(asked))["exit"] == 0
    shown = await met.card("exit code 0 ·")
    for text in (shown.body, str(shown.content.get("formatted_body"))):
        assert all(one.isprintable() or one == "\n" or one == "\t" for one in text), ascii(text)
    assert "<b>✅" not in str(shown.content["formatted_body"])
    assert shown.content.get("m.mentions", {}) == {}
