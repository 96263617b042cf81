"""Two daemons, or more, at a real homeserver: made to know each other and to ask, by the real command line."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import dataclass

from tests.harness import ROOMMATE, Daemon, no_settings
from tests.patience import PATIENCE
from tests.person import Person
from tests.sandbox_image import podman


@dataclass
class Done:
    code: int
    out: str
    errors: str


async def roommate(bot: Daemon, *arguments: str, stdin: str | None = None) -> Done:
    """As an operator types it on the host of this bot."""

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [ROOMMATE, *arguments],
            env={**no_settings(), **bot.settings},
            cwd=bot.cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
        )

    done = await asyncio.to_thread(run)
    return Done(done.returncode, done.stdout, done.stderr)


async def trusts(one: Daemon, other: Daemon, name: str) -> None:
    added = await roommate(one, "trust", "add", await key_of(other), other.user_id, "--everywhere", "--name", name)
    assert added.code == 0, added.errors


async def key_of(bot: Daemon) -> str:
    shown = await roommate(bot, "identity", "--json")
    return str(json.loads(shown.out)["key"])


async def with_both(alice: Person, *bots: Daemon, encrypted: bool) -> str:
    room = await alice.create_room([bot.user_id for bot in bots], encrypted=encrypted)
    for bot in bots:
        await alice.wait_for_member(room, bot.user_id)
    return room


def fresh(bot: Daemon) -> str:
    """The containers that were made for one request each and are not removed yet."""
    label = f"label=io.roommate.state={bot.state}"
    return podman("ps", "--all", "--filter", label, "--filter", "label=io.roommate.fresh", "--format", "{{.Names}}")
