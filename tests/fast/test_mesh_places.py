"""What runs for a peer is what the policy judged: that file, in that folder, and in the place that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fakes.daemon import MemoryDaemon
from tests.fast.conftest import MakePerson
from tests.fast.test_mesh_answering import Meeting, cancel, meet
from tests.patience import until

ALL = (
    'methods = ["exec"]\ncommands = ["*"]\narguments = ["*"]\nfolders = ["*"]\nstdin = true\nplaces = ["room", "fresh"]'
)


FRESH = {"place": "fresh", "cwd": "/"}
"""What stands for a container here has its workspace below a path of its own."""


def granting(*rules: str) -> str:
    about = '[[allow]]\npeers = ["*"]\nrooms = ["*"]\napproval = "none"\n'
    return "version = 1\n" + "".join(f"{about}{rule}\n" for rule in rules)


@pytest.fixture
async def met(bot: MemoryDaemon, person: MakePerson) -> Meeting:
    (bot.state / "policy.toml").write_text(granting(ALL))
    return await meet(bot, person)


def fresh(bot: MemoryDaemon) -> list[str]:
    """What is left of fresh containers: themselves, and their folders."""
    found = [one for one in bot.containers() if "-fresh-" in one]
    return found + [str(one) for one in bot.folder.rglob("fresh-*")]


async def test_the_file_that_was_judged_runs_in_the_folder_that_was_judged(met: Meeting) -> None:
    workspace = Path((await met.given(await met.exec("pwd"))).decode().strip())
    for name in ("granted", "other"):
        (workspace / name).mkdir()
        tool = workspace / name / "tool"
        tool.write_text('#!/bin/sh\necho "$0 in $(/bin/pwd)"\n')
        tool.chmod(0o755)
    granted = workspace / "granted"
    (workspace / "link").symlink_to(granted / "tool")
    (workspace / "way").symlink_to(granted)
    (workspace / "out").symlink_to(workspace / "other")
    met.policy(granting(f'methods = ["exec"]\ncommands = ["{granted}/tool"]\nfolders = ["{granted}"]'))
    for argv0, cwd in (("../link", "granted"), ("./tool", "way"), ("../other/../link", "other/../way")):
        given = await met.given(await met.exec(argv0, cwd=cwd))
        assert given.decode() == f"{granted}/tool in {granted}\n", "as it was judged, not as it was asked for"
    for argv0, cwd in (
        ("tool", "granted"),  # not in PATH
        ("../other/tool", "granted"),  # of the same name elsewhere
        ("./tool", "out"),  # a link out of the folder
        ("./tool", "granted/../other"),
    ):
        assert (await met.ended(await met.exec(argv0, cwd=cwd)))["code"] == "policy"


async def test_a_name_that_the_room_gave_does_not_decide_what_a_program_does(met: Meeting) -> None:
    """As git-upload-archive does, which is git: what was granted is git with other words."""
    workspace = Path((await met.given(await met.exec("pwd"))).decode().strip())
    shell = Path("/bin/sh").resolve()
    (workspace / "rbash").symlink_to(shell)
    given = await met.given(await met.exec("./rbash", "-c", "echo $0"))
    assert given.decode() == f"{shell}\n"


async def test_a_fresh_container_has_nothing_of_the_room_and_leaves_nothing(met: Meeting) -> None:
    room = Path((await met.given(await met.exec("sh", "-c", "echo secret >of-the-room; pwd"))).decode().strip())
    made = await met.given(await met.exec("sh", "-c", "cd ~/../workspace; ls -A; touch made; pwd; ls", **FRESH))
    where, *found = made.decode().split()
    assert ("fresh-" in where, found) == (True, ["made"])
    assert [one.name for one in room.iterdir()] == ["of-the-room"]
    await until(lambda: not fresh(met.bot))


async def test_a_fresh_container_is_gone_after_a_cancel_and_its_time(met: Meeting) -> None:
    asked = await met.exec("sh", "-c", "echo begun; sleep 1000", **FRESH)
    await met.peer.reply(asked, lambda one: one.kind == "output")
    assert fresh(met.bot)
    await cancel(met, asked)
    assert (await met.ended(asked))["code"] == "cancelled"
    assert (await met.ended(await met.exec("sleep", "1000", timeout=1, **FRESH)))["timed_out"]
    await until(lambda: not fresh(met.bot))


async def test_a_place_that_no_rule_names_is_refused_and_nothing_is_made(met: Meeting) -> None:
    met.policy(granting(ALL.replace('"room", "fresh"', '"room"')))
    for place in ("fresh", "host", "bubblewrap"):
        assert (await met.ended(await met.exec("true", place=place)))["code"] == "policy"
    met.policy(granting(ALL.replace('"room", "fresh"', '"fresh"')))
    assert (await met.ended(await met.exec("true")))["code"] == "policy"
    assert not fresh(met.bot)
