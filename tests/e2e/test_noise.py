"""What a process of uid 1000 in one room does to the daemon's end of its hand, and that no other room feels it."""

from __future__ import annotations

from tests.e2e.noise import MIB, TwoRooms

DIALLING = """
until = time.monotonic() + 4
while time.monotonic() < until:
    try:
        dial()
    except OSError:  # nobody took the ones before
        time.sleep(0.001)
"""

CHURN = """
pair = b"".join(frame(OPEN, TUNNEL + n, port_bytes(port)) + frame(RESULT, TUNNEL + n) for n in (1, 2) for port in PORTS)
line = dial()
for kind, _, payload in hear(line):
    if kind == LISTEN and port_of(payload) == PORTS[-1]:
        break
line.settimeout(4)
line.sendall(pair * 12_000)
"""
PORTS = "PORTS = 3128, 8080, 9418\n"


async def test_dialling_in_again_and_again(two_rooms: TwoRooms) -> None:
    (await two_rooms.under(DIALLING)).assert_quiet()


async def test_tunnels_that_end_as_they_open(two_rooms: TwoRooms) -> None:
    quiet = await two_rooms.under(PORTS + CHURN)
    quiet.assert_quiet()
    assert quiet.after.rss < quiet.before.rss + 20 * MIB
