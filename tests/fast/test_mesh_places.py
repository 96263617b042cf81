"""What runs for a peer is what the policy judged: that file, in that folder, and in the place that it names."""

from __future__ import annotations

import base64
import os
import pwd
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from roommate.features.mesh import envelope, place_checks
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes
from tests.fakes.daemon import MemoryDaemon
from tests.fast.conftest import MakePerson
from tests.fast.test_mesh_answering import Meeting, cancel, meet
from tests.patience import until
from tests.processes import sleeping

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


# ── Outside of containers ────────────────────────────────────────────────────────────────────────

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
STRANGER = "daemon"
"""A user that each Debian has, and whose nothing here is."""
OUTSIDE = f'{ALL}\npty = true\nenvironment = ["GREETING"]\nuser = "{STRANGER}"\n'.replace('"room", "fresh"', "{}")
BUBBLEWRAP, HOST = OUTSIDE.replace("{}", '"bubblewrap"'), OUTSIDE.replace("{}", '"host"')


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Of the stranger, with a way out of it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        for one in ("granted", "other"):
            (folder / one).mkdir()
            shutil.chown(folder / one, STRANGER)
        (folder / "granted/out").symlink_to(folder / "other")
        yield folder


@ROOT
@pytest.mark.parametrize(("place", "rule"), [("bubblewrap", BUBBLEWRAP), ("host", HOST)])
async def test_a_place_outside_of_containers_is_another_user_without_rights(
    met: Meeting, place: str, rule: str, open_folder: Path
) -> None:
    met.policy(granting(rule))
    at: dict[str, Any] = {
        "place": place,
        "cwd": "/workspace" if place == "bubblewrap" else str(open_folder / "granted"),
    }
    script = (
        "id -u; id -G; grep -e CapEff -e NoNewPrivs /proc/self/status; echo $HOME $GREETING $STATE_DIR; touch x; ls x"
    )
    given = (await met.given(await met.exec("sh", "-c", script, env={"GREETING": "hi"}, **at))).decode().split()
    user = pwd.getpwnam(STRANGER)
    home = "/home/room" if place == "bubblewrap" else user.pw_dir
    assert given == [
        *(str(user.pw_uid), str(user.pw_gid)), "CapEff:", "0000000000000000", "NoNewPrivs:", "1", home, "hi", "x"
    ]  # fmt: skip
    state = str(met.bot.state)
    for script in (f"ls {state}", f"cat {state}/identity.key", f"touch {state}/x", "cat /etc/shadow", "kill -9 1"):
        assert (await met.ended(await met.exec("sh", "-c", script, **at)))["exit"] not in (0, None), script
    ended = await met.ended(await met.exec("env", env={"PATH": "/tmp"}, **at))
    assert ended["code"] == "policy"
    talked = await met.exec("sh", "-c", "stty size; read line; echo got $line; exit 3", **at,
                            pty={"rows": 7, "columns": 31})  # fmt: skip
    await met.peer.reply(talked, lambda one: one.kind == "output")
    of = envelope.digest(talked)
    data = {"data": base64.b64encode(b"word\n").decode()}
    await met.peer.send(met.room, met.peer.signed(met.peer.input(talked, 0, of, kind="data", **data)), envelope.INPUT)
    assert (await met.ended(talked))["exit"] == 3
    assert {b"7 31", b"got word"} <= set((await met.given(talked)).replace(b"\r", b"").split(b"\n"))


@ROOT
async def test_bubblewrap_has_no_network_no_namespaces_and_only_its_folder(met: Meeting) -> None:
    met.policy(granting(BUBBLEWRAP))
    at = {"place": "bubblewrap"}
    script = (
        "cat /proc/net/dev | tail -n +3 | cut -d: -f1; unshare -U true 2>&- || echo none; ls -A /workspace /home/room; "
    )
    script += "touch /etc/x /x /usr/x 2>/dev/null; ls -d /var /root /srv /t 2>/dev/null; ps ax | wc -l"
    given = (await met.given(await met.exec("sh", "-c", script, **at))).decode()
    net, none, *rest = [one.strip() for one in given.splitlines() if one.strip()]
    assert (net, none, rest[:2]) == ("lo", "none", ["/home/room:", "/workspace:"])
    assert int(rest[-1]) < 10
    assert len(rest) == 3
    met.policy(granting(BUBBLEWRAP + "network = true\n"))
    devices = (await met.given(await met.exec("cat", "/proc/net/dev", **at))).decode()
    assert devices.count(":") == Path("/proc/net/dev").read_text().count(":")


@ROOT
async def test_a_folder_of_the_host_is_the_one_that_the_policy_names(met: Meeting, open_folder: Path) -> None:
    met.policy(granting(HOST.replace('folders = ["*"]', f'folders = ["{open_folder}/granted"]')))
    asked = await met.exec("pwd", place="host", cwd=f"{open_folder}/granted")
    assert (await met.given(asked)).decode() == f"{open_folder}/granted\n"
    for cwd in (f"{open_folder}/granted/out", f"{open_folder}/granted/../other", "/", "/workspace", str(met.bot.state)):
        assert (await met.ended(await met.exec("pwd", place="host", cwd=cwd)))["code"] == "policy", cwd
    assert (await met.ended(await met.exec("pwd", place="host")))["code"] == "policy"


@ROOT
@pytest.mark.parametrize(("place", "rule"), [("bubblewrap", BUBBLEWRAP), ("host", HOST)])
async def test_what_left_its_session_outside_of_containers_is_gone_after_a_cancel_and_its_time(
    met: Meeting, place: str, rule: str
) -> None:
    met.policy(
        granting(rule.replace(STRANGER, {"bubblewrap": "news", "host": "uucp"}[place]))
    )  # who forks for no other
    seconds = str(90_000 + secrets.randbelow(9_000))
    # Daemons, without the environment that would give them away, and a loop that forks as fast as it can.
    script = f"(env -i setsid sh -c 'env -i setsid sleep {seconds} & sleep {seconds}') & "
    script += f"while :; do sleep {seconds} & done 2>/dev/null"
    asked = await met.exec("sh", "-c", f"echo begun; {script}", place=place, cwd="/")
    await met.peer.reply(asked, lambda one: one.kind == "output")
    await until(lambda: len(sleeping(seconds)) > 20)
    await cancel(met, asked)
    assert (await met.ended(asked))["code"] == "cancelled"
    await until(lambda: not sleeping(seconds))
    ended = await met.ended(
        await met.exec("sh", "-c", f"setsid sleep {seconds} & sleep {seconds}", place=place, cwd="/", timeout=1)
    )
    assert ended["timed_out"]
    await until(lambda: not sleeping(seconds))
    given = await met.given(await met.exec("sh", "-c", f"setsid sleep {seconds} >/dev/null 2>&1 & echo over",
                                           place=place, cwd="/"))  # fmt: skip
    assert given == b"over\n"
    await until(lambda: not sleeping(seconds))


@ROOT
async def test_who_could_read_the_daemons_secrets_is_refused_as_a_user(met: Meeting) -> None:
    for user in ("root", "nobody-of-that-name"):
        for place in ("host", "bubblewrap"):
            met.policy(granting(OUTSIDE.replace("{}", f'"{place}"').replace(STRANGER, user)))
            assert (await met.ended(await met.exec("true", place=place, cwd="/")))["code"] == "failed", (user, place)
    met.policy(granting(BUBBLEWRAP.replace(f'user = "{STRANGER}"', "")))
    assert (await met.ended(await met.exec("true", place="bubblewrap")))["code"] == "failed"
    details = " ".join(detail for _, detail in met.audited("refused"))
    assert "is root" in details
    assert "there is no user" in details
    assert "needs a `user`" in details


@ROOT
async def test_of_two_users_the_rule_that_grants_it_decides(met: Meeting) -> None:
    first, second = (HOST.replace(STRANGER, one) for one in ("games", "daemon"))
    for rule, other in ((first, second), (second, first)):
        met.policy(granting(rule.replace('commands = ["*"]', 'commands = ["/usr/bin/id"]'), other))
        names = [rule.split('user = "')[1].split('"')[0], other.split('user = "')[1].split('"')[0]]
        given = [await met.given(await met.exec(*argv, place="host", cwd="/")) for argv in (("id", "-un"), ("whoami",))]
        assert [one.decode().strip() for one in given] == names


@ROOT
async def test_doctor_starts_each_place_that_the_policy_names(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    file = tmp_path / "policy.toml"
    sandboxes = RoomSandboxes(
        state=tmp_path, run=tmp_path, image="none", daemon="@none:x", limits=Limits(), idle_seconds=1
    )
    file.write_text(granting(ALL))
    assert await place_checks.examine(file, sandboxes) == []
    file.write_text(granting(BUBBLEWRAP, HOST.replace(STRANGER, "root"), HOST))
    found = {(one.what, one.ok): one.found for one in await place_checks.examine(file, sandboxes)}
    assert list(found) == [("place bubblewrap", True), ("place host", False), ("place host", True)]
    assert "is root" in found["place host", False]
    tmp_path.chmod(0o755)
    [problem] = {one.found for one in await place_checks.examine(file, sandboxes) if "could read" in one.found}
    assert STRANGER in problem
