"""From a fresh clone to a service that answers, through updates and hangs, and away again without a trace."""

from __future__ import annotations

import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.demo.homeserver import Synapse
from roommate.demo.instance import free_port
from roommate.errors import MatrixError
from roommate.person import accounts
from tests.conftest import PASSWORD, MakePerson, register
from tests.machine import Machine
from tests.origin import commit, git, make
from tests.person import Person, Shown
from tests.shell import HOME

ROOT = f"{HOME}/.local/share/roommate"


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("origin") / "roommate")


@pytest.fixture(scope="module")
async def machine(origin: Path, image: str) -> AsyncIterator[Machine]:
    async for one in booted(origin, image):
        yield one


@pytest.fixture
async def machine_of_root(origin: Path, image: str) -> AsyncIterator[Machine]:
    async for one in booted(origin, image, cgroups=True):
        yield one


async def booted(origin: Path, image: str, *, cgroups: bool = False) -> AsyncIterator[Machine]:
    one = await Machine.boot(f"{origin}:/srv/roommate:ro", cgroups=cgroups)
    await one.run("git config --system --add safe.directory '*'", user="root")
    await one.give_image(image)
    await one.run("git clone --quiet /srv/roommate clone")
    yield one
    one.discard()


ALIEN = (f"{HOME}/clone", f"{HOME}/.cache", f"{HOME}/.local/share/containers", "/var/lib/systemd/timers")
"""The clone, and what uv and Podman keep for all who use them."""

HANGS = "[Service]\nWatchdogSec=4\nTimeoutAbortSec=1\nRestartSec=0\n"
GIVES_UP = "[Unit]\nStartLimitBurst=2\n[Service]\nRestartSec=0\n"
"""The unit, but with less patience."""
RESTART = "systemctl --user reset-failed roommate; systemctl --user restart roommate"


async def test_a_service_from_a_clone_to_its_end(
    machine: Machine, homeserver: Synapse, image: str, person: MakePerson, origin: Path
) -> None:
    alice = await person("alice")
    bot = await register(homeserver, "installed")
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


async def sees(who: Person, room: str, bot: str, *words: str) -> Shown:
    """The bot's message with all these words in it, as soon as it is there."""

    def look() -> Shown | None:
        return next((one for one in who.messages(room, bot) if all(word in one.body for word in words)), None)

    found = await who.wait(look, what=f"a message with {words}")
    assert found is not None
    return found


async def test_a_service_of_the_system(
    machine_of_root: Machine, homeserver: Synapse, image: str, person: MakePerson, origin: Path
) -> None:
    """With all that the system's unit forbids it, and with its umask."""
    machine = machine_of_root
    alice, bot = await person("alice"), await register(homeserver, "of-the-system")
    before = await machine.files()
    flags = f"--homeserver {homeserver.url} --user {bot} --password {PASSWORD!r} --operators {alice.user_id}"
    await machine.give_image(image, user="root")
    await machine.write("/opt/roommate/.env", f"SANDBOX_IMAGE={image}\n", user="root")
    install = f"/home/ann/clone/scripts/install-service.sh --remote /srv/roommate -- --yes {flags}"
    said = await machine.run(f"export UV_CACHE_DIR=/home/ann/.cache/uv; {install}", user="root")
    assert "  model              the built-in rehearsal" in said
    assert f"  image              {image}, stage base" in said
    assert "  not there yet      coding agents: none in the image" in said
    assert "STATE_DIR=/var/lib/roommate\n" in await machine.run("cat /opt/roommate/.env", user="root")
    verified = "systemd-analyze verify --man=no roommate.service roommate-rollback.service"
    assert await machine.run(verified, user="root") == ""
    room = await alice.create_room([bot])
    await alice.wait_for_member(room, bot)
    assert "uid=1000" in (await alice.ask(room, "run: id && ls /run/spool/in")).body
    modes = "stat --format %a /opt/roommate /opt/roommate/.env /var/lib/roommate /var/lib/roommate/roommate.db"
    assert (await machine.run(modes, user="root")).split() == ["700", "600", "700", "600"]

    # To a newer release and back, asked for in chat.
    old, new = await machine.run("git -C clone rev-parse HEAD"), commit(origin, "New for the system")
    await alice.say(room, "!redeploy")
    await alice.react(room, (await sees(alice, room, bot, "New for the system")).event_id, "✅")
    await sees(alice, room, bot, "✅ `", f"→ `{new[:12]}`")
    await alice.say(room, "!rollback")
    await alice.react(room, (await sees(alice, room, bot, "Go back from")).event_id, "✅")
    await sees(alice, room, bot, "✅ `", f"→ `{old[:12]}`")

    # The command of the install folder takes paths from where one stands.
    await machine.run(
        f"mkdir -p stands && cd stands && echo a note >note.txt && roommate workspace put '{room}' note.txt note.txt"
        f" && roommate workspace get '{room}' note.txt back.txt && cmp note.txt back.txt",
        user="root",
    )
    refused = await machine.run(f"cd stands && roommate workspace put '{room}' nowhere x", user="root", fails=True)
    assert refused == "roommate: /root/stands/nowhere: No such file or directory\n"

    # A new host, which has a backup and nothing else: the same login, rooms, conversations and files.
    await machine.run("cd stands && cp $(roommate backup) backup.tar.gz", user="root")
    login = "roommate auth status --json | grep device"
    device = await machine.run(login, user="root")
    await machine.run("/opt/roommate/current/scripts/uninstall.sh --yes", user="root")
    await machine.run("rm -rf /opt/roommate /var/lib/roommate", user="root")
    restore = "cd stands && /home/ann/clone/scripts/install-service.sh --restore backup.tar.gz --remote /srv/roommate"
    await machine.run(f"export UV_CACHE_DIR=/home/ann/.cache/uv; {restore}", user="root")
    assert await machine.run(login, user="root") == device
    assert "a note" in (await alice.ask(room, "run: cat note.txt")).body
    assert "settings in /opt/roommate already" in await machine.run(restore, user="root", fails=True)
    await machine.run("rm -r stands", user="root")

    await machine.run("/opt/roommate/current/scripts/uninstall.sh --yes --purge", user="root")
    assert [path for path in await machine.files() - before if not path.startswith(ALIEN)] == []
    await machine.run("test -e /opt/roommate || test -e /var/lib/roommate", user="root", fails=True)


async def test_scripts_and_units_are_sound(machine: Machine) -> None:
    scripts = await machine.run("grep -lE '^#!/bin/sh|shellcheck shell=sh' -r /srv/roommate/scripts")
    assert "install-service.sh" in scripts
    await machine.run(f"cd /srv/roommate && shellcheck -x -S warning {' '.join(scripts.split())}")


async def test_a_homeserver_of_ones_own(machine: Machine) -> None:
    port = free_port()
    before = await machine.files()
    setup = f"clone/scripts/setup-synapse.sh --port {port} --operator ann"
    assert "would" in await machine.run(f"{setup} --dry-run")
    code, _ = await machine.try_to(f"clone/scripts/setup-synapse.sh --port {port} --bind 0.0.0.0")
    assert code == 1, "a server that others reach needs a name"
    lines = (await machine.run(setup)).splitlines()
    settings = dict(line.split("=", 1) for line in lines if re.match(r"[A-Z_]+=", line))
    assert settings["MATRIX_USER"] == "@roommate:localhost"
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        said = await machine.run(f"clone/scripts/setup-synapse.sh --port {taken} --operator ann", fails=True)
        assert "its last words:" in said
        assert f"Failed to listen on TCP port ({taken})" in said
    await machine.run(setup)
    assert settings["OPERATORS"] == "@ann:localhost"
    password = re.search(r"@ann:localhost has the password (\S+),", "\n".join(lines))
    assert password

    # Once more gives the same, into a file.
    await machine.run(f"{setup} --env {HOME}/clone/.env.new")
    written = (await machine.run("cat clone/.env.new")).splitlines()
    assert dict(line.split("=", 1) for line in written) == settings

    # The bot sends without a limit; nobody else registers; the person is there.
    url = settings["MATRIX_HOMESERVER"]
    async with (
        await Person.at(url, settings["OPERATORS"], password[1]) as ann,
        await Person.at(url, settings["MATRIX_USER"], settings["MATRIX_PASSWORD"]) as bot,
    ):
        room = await ann.create_room([bot.user_id])
        await bot.join(room)
        for number in range(15):
            await bot.say(room, f"line {number}")
    with pytest.raises(MatrixError, match="lets nobody register"):
        await accounts.register(url, "stranger", "a password")

    await machine.run("clone/scripts/setup-synapse.sh --remove --purge")

    # As the predecessor had it: reached at the machine's address, with a password that somebody has chosen.
    await machine.write("clone/.env.vps", "VPS_IP=127.0.0.2 # ours\nMATRIX_ADMIN_PASSWORD='a chosen # one'\n")
    said = await machine.run(f"clone/scripts/setup-synapse.sh --port {port} --env {HOME}/clone/.env.vps")
    assert f"it listens on 127.0.0.1 127.0.0.2, and is reached at http://127.0.0.2:{port}" in said
    assert "a chosen" not in said
    async with await Person.at(f"http://127.0.0.2:{port}", "@admin:127.0.0.2", "a chosen # one"):
        pass
    assert "MATRIX_USER=@matrixbot:127.0.0.2" in await machine.run("cat clone/.env.vps")
    await machine.run("clone/scripts/setup-synapse.sh --remove --purge; rm clone/.env.vps")
    left = {path for path in await machine.files() - before if not path.startswith(ALIEN)}
    assert left - before == set()
