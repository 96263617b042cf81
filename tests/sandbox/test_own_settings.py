"""What operators set for a room alone holds in its container, and in no other."""

from __future__ import annotations

from dataclasses import dataclass, field

from roommate.domain import RoomId
from roommate.sandbox.hand import HandHost
from roommate.sandbox.room_container_settings import Own
from tests.sandbox.conftest import ROOM, Make, sh

OTHER = RoomId("!other:example.org")
SEEN = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null; echo [$TEAM]"


@dataclass
class Given:
    """`OwnSettings`: of ROOM alone."""

    own: Own
    ran: list[str] = field(default_factory=list)

    async def of(self, room_id: RoomId) -> Own:
        return self.own if room_id == ROOM else Own()

    async def set_up(self, room_id: RoomId, hand: HandHost, script: str, name: str) -> bool:
        self.ran.append((await sh(hand, script)).text.strip())
        return True


async def test_limits_and_environment_hold_in_that_room_and_a_restart_finds_what_was_changed(
    make: Make, image: str
) -> None:
    given = Given(Own(memory_mb=96, cpus=0.5, environment={"TEAM": "blue"}, setup="echo set up for $TEAM"))
    sandboxes = make()
    sandboxes.differ(given)
    assert (await sh(await sandboxes.hand(ROOM), SEEN)).text.split() == [f"{96 << 20}", "[blue]"]
    assert (await sh(await sandboxes.hand(OTHER), SEEN)).text.split() == [f"{256 << 20}", "[]"]
    assert given.ran == ["set up for blue"]
    await sandboxes.close()

    again = make()  # the container runs as it should: it is found, and not set up again
    again.differ(given)
    await again.reconcile([ROOM, OTHER])
    assert again.up(ROOM)
    assert given.ran == ["set up for blue"]
    await again.close()

    given.own = Own(image=image, environment={"TEAM": "green"})  # set, and killed before anything was stopped
    later = make(image="localhost/no-such-image:ever")
    later.differ(given)
    await later.reconcile([ROOM, OTHER])
    assert not later.up(ROOM)
    assert (await sh(await later.hand(ROOM), SEEN)).text.split() == [f"{256 << 20}", "[green]"]
    assert len(given.ran) == 1
