"""What a process of uid 1000 in one room does to the daemon's end of its hand, and that no other room feels it."""

from __future__ import annotations

from tests.e2e.noise import TwoRooms

DIALLING = """
until = time.monotonic() + 4
while time.monotonic() < until:
    try:
        dial()
    except BlockingIOError:  # nobody took the ones before
        time.sleep(0.001)
"""


async def test_dialling_in_again_and_again(two_rooms: TwoRooms) -> None:
    (await two_rooms.under(DIALLING)).assert_quiet()
