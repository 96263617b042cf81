"""Two daemons, each at a homeserver of its own, in rooms of both: what one asks goes there and back by federation."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from roommate.demo.embedded_synapse import Synapse
from tests.conftest import PASSWORD, settings_of
from tests.harness import Daemon
from tests.mesh.federation import one_slow_of_two, two_homeservers
from tests.mesh.pair import roommate, trusts, with_both
from tests.nursery import Nursery
from tests.person import Person

POLICY = """\
version = 1

[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
commands = ["/usr/bin/dash"]  # what sh is in the image
arguments = ["*"]
stdin = true
approval = "none"
"""


async def test_one_runs_what_one_of_another_homeserver_asks(
    image: str, learned: Path, nursery: Nursery, tmp_path: Path
) -> None:
    async with two_homeservers(tmp_path) as (here, there), contextlib.AsyncExitStack() as ends:
        person = (await here.register("alice", PASSWORD)).user_id

        async def bot(homeserver: Synapse, name: str) -> Daemon:
            user_id = (await homeserver.register(name, PASSWORD)).user_id
            settings = settings_of(image, None) | {"ALLOWED_USERS": person}  # by default those of its own homeserver
            one = Daemon(homeserver.url, user_id, PASSWORD, settings, learned, nursery)
            ends.push_async_callback(one.discard)
            return await one.start()

        laptop, builder = await asyncio.gather(bot(here, "laptop"), bot(there, "builder"))
        (builder.state / "policy.toml").write_text(POLICY)
        await asyncio.gather(trusts(laptop, builder, "builder"), trusts(builder, laptop, "laptop"))
        async with await Person.at(here.url, person, PASSWORD) as alice:
            for encrypted in (False, True):
                room = await with_both(alice, laptop, builder, encrypted=encrypted)
                at = ("exec", "--peer", "builder", "--room", room, "--")
                done = await roommate(laptop, *at, "sh", "-c", "cat; echo oops >&2; exit 5", stdin="hello\n")
                assert (done.code, done.out, done.errors) == (5, "hello\n", "oops\n")
            refused = await roommate(laptop, *at, "ls")
            assert (refused.code, "the policy does not grant it" in refused.errors) == (77, True), refused
            said = {seen.type for seen in alice.seen if seen.room_id == room and "state_key" not in seen.event}
            assert said <= {"m.room.encrypted", "m.reaction"}


async def test_an_invite_counts_that_is_heard_of_before_who_invites_has_stored_it(
    image: str, learned: Path, nursery: Nursery, tmp_path: Path
) -> None:
    """Homeservers store an invite one after the other: whoever takes it at once is refused by the first of them."""
    async with one_slow_of_two(tmp_path) as (here, there, slow), contextlib.AsyncExitStack() as ends:
        person = (await here.register("alice", PASSWORD)).user_id
        user_id = (await there.register("builder", PASSWORD)).user_id
        settings = settings_of(image, None) | {"ALLOWED_USERS": person}
        builder = Daemon(there.url, user_id, PASSWORD, settings, learned, nursery)
        ends.push_async_callback(builder.discard)
        await builder.start()
        async with await Person.at(here.url, person, PASSWORD) as alice:
            room = await alice.create_room()
            inviting = asyncio.create_task(alice.invite(room, user_id))
            await builder.wait_for_log("the homeserver did not let the bot join: M_FORBIDDEN")
            slow.goes.set()
            await inviting
            await alice.wait_for_member(room, user_id)
