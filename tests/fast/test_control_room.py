"""What operators are told of failures: of every room, theirs too."""

import contextvars
import logging

from roommate import logs
from tests.fast.conftest import MakeDaemon, MakePerson

log = logging.getLogger("roommate.rooms.room")


def fails(room: str, what: str, **extra: str) -> None:
    logs.about(room=room)
    log.error("%s", what, extra=extra)


def does_not_send(room: str) -> None:
    fails(room, "the homeserver did not send", **{logs.NOT_SENT_INTO: room})


async def test_a_failure_in_the_control_room_is_told_there(daemon: MakeDaemon, person: MakePerson) -> None:
    """But for one of telling itself, which would be told again and again."""
    alice = await person("alice")
    control = await alice.create_room()
    bot = await daemon(OPERATORS=alice.user_id, CONTROL_ROOM=control)
    await alice.invite(control, bot.user_id)
    await alice.wait_for_member(control, bot.user_id)
    for one in ((does_not_send, control), (fails, control, "a turn broke"), (does_not_send, "!elsewhere")):
        contextvars.Context().run(*one)
    told = await alice.wait(
        lambda: next((m for m in bot.said(alice, control) if "Something failed" in m.body), None), what="the failure"
    )
    assert told
    assert told.body.splitlines()[-3:-1] == [
        f"{control}: a turn broke",
        "!elsewhere: the homeserver did not send",
    ]
