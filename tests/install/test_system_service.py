"""The same as a service of the system, which root installs."""

from __future__ import annotations

from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, MakePerson, register
from tests.install.conftest import ALIEN, sees
from tests.machine import Machine
from tests.origin import commit


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

    # A new host, which has a backup and nothing else: the same account, rooms, conversations and files. What is
    # remembered of encryption goes back to no earlier day, so there it is another device.
    await machine.run("cd stands && cp $(roommate backup) backup.tar.gz", user="root")
    login = "roommate auth status --json | grep device"
    device = await machine.run(login, user="root")
    await machine.run("/opt/roommate/current/scripts/uninstall.sh --yes", user="root")
    await machine.run("rm -rf /opt/roommate /var/lib/roommate", user="root")
    restore = "cd stands && /home/ann/clone/scripts/install-service.sh --restore backup.tar.gz --remote /srv/roommate"
    await machine.run(f"export UV_CACHE_DIR=/home/ann/.cache/uv; {restore}", user="root")
    assert await machine.run(login, user="root") != device
    assert "a note" in (await alice.ask(room, "run: cat note.txt")).body
    assert "settings in /opt/roommate already" in await machine.run(restore, user="root", fails=True)
    await machine.run("rm -r stands", user="root")

    await machine.run("/opt/roommate/current/scripts/uninstall.sh --yes --purge", user="root")
    assert [path for path in await machine.files() - before if not path.startswith(ALIEN)] == []
    await machine.run("test -e /opt/roommate || test -e /var/lib/roommate", user="root", fails=True)
