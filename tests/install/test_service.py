"""From a fresh clone to a service that answers, through updates and hangs, and away again without a trace."""

from __future__ import annotations

from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, MakePerson, register
from tests.install.conftest import ALIEN, sees
from tests.machine import Machine
from tests.origin import commit, git
from tests.shell import HOME

ROOT = f"{HOME}/.local/share/roommate"

HANGS = "[Service]\nWatchdogSec=4\nTimeoutAbortSec=1\nRestartSec=0\n"
GIVES_UP = "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=0\n"
"""The unit, but with less patience."""
RESTART = "systemctl --user reset-failed roommate; systemctl --user restart roommate"


async def test_a_service_from_a_clone_to_its_end(
    machine: Machine, homeserver: Synapse, image: str, person: MakePerson, origin: Path
) -> None:
    alice = await person("alice")
    bot = await register(homeserver, "installed")
    await machine.give_image(image)
    before = await machine.files()

    # One command.
    await machine.write("clone/.env", f"SANDBOX_IMAGE={image}  # the test's\n")
    flags = f"--homeserver {homeserver.url} --user {bot} --password {PASSWORD!r} --operators {alice.user_id}"
    install = f"clone/scripts/install-service.sh -- --yes {flags}"
    assert "would" in await machine.run(install.replace("--", "--dry-run --", 1))
    assert [path for path in await machine.files() - before if not path.startswith(ALIEN)] == [], (
        "a dry run leaves something behind"
    )
    said = await machine.run(install)
    assert "would" not in said
    assert PASSWORD not in said
    assert "Main PID" in await machine.run("systemctl --user status roommate --no-pager")

    # The first answer: a room with a container of its own.
    room = await alice.create_room([bot])
    await alice.wait_for_member(room, bot)
    assert "Python 3." in (await alice.ask(room, "run: python3 --version")).body
    containers = await machine.run("podman ps --quiet --filter label=io.roommate.room")
    assert len(containers.split()) == 1

    # Once more changes nothing, and nothing stops.
    pid = await property_of(machine, "MainPID")
    again = await machine.run("clone/scripts/install-service.sh")
    assert "the release stays" in again
    assert await property_of(machine, "MainPID") == pid
    assert await machine.run("cat clone/.env") != await machine.run(f"cat {ROOT}/.env")

    # A loop that hangs is seen, ended and started again; the room's container goes on.
    units = f"{HOME}/.config/systemd/user/"
    assert await machine.run(f"systemd-analyze verify --user --man=no {units}/roommate*.service") == ""
    await machine.write(f"{units}/roommate.service.d/test.conf", HANGS)
    await machine.run(f"systemctl --user daemon-reload; {RESTART}")
    pid = await property_of(machine, "MainPID")
    await machine.run(f"kill -STOP {pid}")
    await machine.until(f"systemctl --user is-active roommate && ! kill -0 {pid}")
    assert "Watchdog timeout" in await machine.run(
        "journalctl _SYSTEMD_USER_UNIT=roommate.service + USER_UNIT=roommate.service", user="root"
    )
    assert await machine.run("podman ps --quiet --filter label=io.roommate.room") == containers
    assert "still here" in (await alice.ask(room, "run: echo still here")).body

    # A release with something new in it, asked for in chat: systemd sees nothing of it. Then from the shell.
    await machine.write(f"{units}/roommate.service.d/test.conf", GIVES_UP)
    await machine.run(f"systemctl --user daemon-reload; {RESTART}")
    pid = await property_of(machine, "MainPID")
    old, new = git(origin, "rev-parse", "HEAD"), commit(origin, "Something new")
    await alice.say(room, "!redeploy")
    await alice.react(room, (await sees(alice, room, bot, "Something new")).event_id, "✅")
    await sees(alice, room, bot, "✅ `", f"→ `{new[:12]}`")
    assert new[:12] in await machine.run(".local/bin/roommate version")
    identity = "-c user.name=Ann -c user.email=ann@localhost"
    await machine.run(
        f"cd clone && git {identity} commit --quiet --allow-empty --message Mine && echo mine >>README.md"
    )
    said = await machine.run("clone/scripts/deploy.sh")
    assert "is what is installed" in said
    assert "not pushed: 1;" in said
    assert "not committed: 1 files" in said
    await machine.run("cd clone && git reset --quiet --hard @{upstream}")
    assert "new as well" in (await alice.ask(room, "run: echo new as well")).body
    assert await property_of(machine, "MainPID") == pid

    # A release that cannot start any more: systemd gives up, and the one before comes back.
    await machine.run(f"echo 'raise SystemExit(1)' >{ROOT}/current/src/roommate/daemon.py")
    await machine.try_to(RESTART)
    await machine.until(f".local/bin/roommate version | grep {old[:12]}", seconds=120)
    await machine.until("systemctl --user is-active roommate")
    assert "back again" in (await alice.ask(room, "run: echo back again")).body

    # What another release would not change is no reason to go back: a state that is in use (75), a wrong setting (78).
    skipped = "journalctl _SYSTEMD_USER_UNIT=roommate-rollback.service + USER_UNIT=roommate-rollback.service"
    state = f"{HOME}/.local/state/roommate"
    await machine.run("systemctl --user stop roommate")
    await machine.run(f"flock {state}/lock sleep 600 >/dev/null 2>&1 & echo $! >holder")
    await machine.try_to(RESTART)
    await machine.until("systemctl --user is-failed roommate")
    assert await property_of(machine, "ExecMainStatus") == "75"
    await machine.until(f"{skipped} | grep -i 'exec-condition'", user="root")
    await machine.run("pkill -P $(cat holder); rm holder")
    await machine.run(f"cp {ROOT}/.env kept.env; echo IPC_BASE_DIR=/proc/sockets >>{ROOT}/.env")
    await machine.try_to(RESTART)
    await machine.until("systemctl --user is-failed roommate")
    assert await property_of(machine, "ExecMainStatus") == "78"
    await machine.until(f"test $({skipped} | grep -ci 'exec-condition') = 2", user="root")
    await machine.run(f"mv kept.env {ROOT}/.env")
    assert old[:12] in await machine.run(".local/bin/roommate version")

    # The Python goes under all releases, as with an upgrade of the distribution: systemd gives up, and it is made anew.
    for link in ("current", "previous"):
        await machine.run(f"ln -sfn /usr/bin/python3.gone {ROOT}/{link}/.venv/bin/python")
    await machine.try_to(RESTART)
    await machine.until("systemctl --user is-active roommate")
    assert old[:12] in await machine.run(".local/bin/roommate version")
    assert "with another Python" in (await alice.ask(room, "run: echo with another Python")).body

    # A new host, which has a backup and nothing else.
    await alice.ask(room, "run: echo kept >note.txt")
    await machine.run("cp $(.local/bin/roommate backup) backup.tar.gz && clone/scripts/uninstall.sh --yes")
    await machine.run(f"rm -rf {ROOT} {state}")
    await machine.run("clone/scripts/install-service.sh --restore backup.tar.gz && rm backup.tar.gz")
    assert "kept" in (await alice.ask(room, "run: cat note.txt")).body

    # Away: what people made stays, until it is purged.
    said = await machine.run("clone/scripts/uninstall.sh --yes")
    assert f"kept: {ROOT}/.env" in said
    assert await machine.run("podman ps --all --quiet") == ""
    assert "could not be found" in (await machine.try_to("systemctl --user status roommate"))[1]
    left = {path for path in await machine.files() - before if not path.startswith(ALIEN)}
    assert {path for path in left if not path.startswith(state)} == {ROOT, f"{ROOT}/.env", f"{HOME}/.local/state"}
    said = await machine.run("clone/scripts/uninstall.sh --yes --purge")
    assert f"backups in {state}/backups go as well" in said
    left = {path for path in await machine.files() - before if not path.startswith(ALIEN)}
    assert left == set()
    assert await machine.run("podman image ls --all --quiet") == ""
    assert "not any more" in await machine.run("clone/scripts/uninstall.sh --yes --purge")


async def property_of(machine: Machine, name: str) -> str:
    return (await machine.run(f"systemctl --user show --property {name} --value roommate")).strip()


async def test_scripts_and_units_are_sound(machine: Machine) -> None:
    scripts = await machine.run("grep -lE '^#!/bin/sh|shellcheck shell=sh' -r /srv/roommate/scripts")
    assert "install-service.sh" in scripts
    await machine.run(f"cd /srv/roommate && shellcheck -x -S warning {' '.join(scripts.split())}")
