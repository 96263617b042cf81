"""Roommate in a folder that systemd knows nothing of, and a homeserver of one's own."""

from __future__ import annotations

import json
import re
import socket

import pytest

from roommate.demo.embedded_synapse import Synapse
from roommate.demo.synapse_config import free_port
from roommate.errors import MatrixError
from roommate.user_client import homeserver_accounts
from tests.conftest import PASSWORD, MakePerson, register
from tests.install.conftest import ALIEN
from tests.machine import Machine
from tests.person import Person
from tests.shell import HOME


async def test_bare_and_away(machine: Machine, homeserver: Synapse, image: str, person: MakePerson) -> None:
    alice, bot = await person("alice"), await register(homeserver, "bare")
    await machine.give_image(image)
    before = await machine.files()
    root = f"{HOME}/bare"
    await machine.run("clone/scripts/setup")
    await machine.run(f"clone/.venv/bin/roommate update --root {root} --remote /srv/roommate")
    settings = f"MATRIX_USER={bot}\nMATRIX_PASSWORD={PASSWORD!r}\nOPERATORS={alice.user_id}\nSANDBOX_IMAGE={image}\n"
    await machine.write("bare/.env", f"MATRIX_HOMESERVER={homeserver.url}\n{settings}")
    await machine.run(f"cd {root} && chmod 600 .env && current/.venv/bin/roommate start")
    room = await alice.create_room([bot])
    await alice.wait_for_member(room, bot)
    assert "uid=1000" in (await alice.ask(room, "run: id")).body

    # The unit of another install folder is none of its business.
    units = f"{HOME}/.config/systemd/user"
    await machine.write(f"{units}/roommate.service", "[Service]\nWorkingDirectory=/elsewhere\nExecStart=/bin/true\n")
    uninstall = f"clone/scripts/uninstall.sh --root {root} --yes"
    pid = json.loads(await machine.run(f"cd {root} && current/.venv/bin/roommate status --json"))["pid"]
    assert "would run" in await machine.run(f"{uninstall} --dry-run")
    await machine.run(f"kill -0 {pid}")
    said = await machine.run(uninstall)
    assert "Stopped." in said
    assert f"kept: {root}/.env" in said
    await machine.run(f"kill -0 {pid}", fails=True)
    assert await machine.run("podman ps --all --quiet") == ""
    await machine.run(f"test ! -e {root}/releases && test -e {units}/roommate.service && rm -r {HOME}/.config")
    await machine.run(f"{uninstall} --purge")
    assert [path for path in await machine.files() - before if not path.startswith(ALIEN)] == []


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
        await homeserver_accounts.register(url, "stranger", "a password")

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
