"""What people are called: by their names, told apart, and never by what another one is called."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import RoomId
from roommate.errors import Transient
from roommate.matrix.display_names import FRESH_SECONDS, LONGEST, DisplayNames, told_apart

ROOM = RoomId("!room:hs")


def test_two_with_one_name_are_told_apart_and_a_name_is_no_id() -> None:
    members = {"@a:hs": "Alice", "@b:hs": "alice", "@c:hs": "Carol", "@d:hs": "@a:hs", "@e:hs": " \u200b", "@f:hs": ""}
    assert told_apart(members) == {"@a:hs": "Alice (@a:hs)", "@b:hs": "alice (@b:hs)", "@c:hs": "Carol"}


@given(st.dictionaries(st.sampled_from(["@a:hs", "@b:hs", "@c:hs"]), st.text(max_size=80)))
def test_no_two_are_called_alike_on_one_line(members: dict[str, str]) -> None:
    shown = told_apart(members)
    assert len({name.casefold() for name in shown.values()}) == len(shown)
    assert all(name.strip() and "\n" not in name and len(name) <= LONGEST + 10 for name in shown.values())


async def test_a_room_is_asked_once_in_a_while_and_its_homeserver_may_be_away() -> None:
    asked, now, away = 0, 0.0, False

    async def ask(room: RoomId) -> Mapping[str, str]:
        nonlocal asked
        asked += 1
        if away:
            raise Transient("it is away")
        return {"@a:hs": "Al*ice*"}

    names = DisplayNames(ask, lambda: now)
    assert await names.of(ROOM, "root on the host") == "root on the host"
    assert [await names.of(ROOM, "@a:hs"), await names.of(ROOM, "@b:hs")] == [r"Al\*ice\*", "@b:hs"]
    assert asked == 1
    away, now = True, FRESH_SECONDS + 1
    assert await names.of(ROOM, "@a:hs") == r"Al\*ice\*", "as it was"
