"""What a process of uid 1000 in one room does to the daemon's end of its hand, and that no other room feels it."""

from __future__ import annotations

import ast

from roommate.features.model_gateway.gateway import AT_ONCE
from roommate.tunnels.http_server import REQUESTS_A_SECOND, REQUESTS_AT_ONCE
from tests.cli.test_operating import run as operate
from tests.e2e.noise import TwoRooms
from tests.harness import tool
from tests.patience import until

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

LYING = """
entry = json.dumps(["a", "file", 1]).encode() + b","
sizes = {"ten": 10, "huge": 1 << 60, "bye": 0}
calls = {}  # what each still sends, how much it may, and its end
for kind, number, payload in hear(line := dial()):
    if kind == CALL:
        asked = json.loads(payload)
        if asked["op"] == "list":
            calls[number] = [b"[" + entry * (16_000_000 // len(entry)) + b"0]", WINDOW, b'{"total": 1}']
        elif asked["op"] == "read":
            content = b"x" * asked["limit"] if asked["path"] in sizes else b""
            calls[number] = [content, WINDOW, b'{"size": %d}' % sizes.get(asked["path"], 0)]
        else:
            line.sendall(frame(RESULT, number, b'{"jobs": []}'))
        if asked.get("path") == "bye":
            return
    elif kind == CREDIT and number in calls:
        calls[number][1] += credited(payload)
    elif kind == KILL:
        line.sendall(frame(RESULT, number, b"{}"))
        calls.pop(number, None)
    for number, (text, left, end) in list(calls.items()):
        while text and left > COST:
            piece = text[:min(CHUNK, left - COST)]
            line.sendall(frame(DATA, number, piece))
            text, left = text[len(piece):], left - len(piece) - COST
        calls[number] = [text, left, end]
        if not text:
            line.sendall(frame(RESULT, number, end))
            del calls[number]
"""


POURING = """
import selectors
waiting, began = selectors.DefaultSelector(), time.monotonic()
for _ in range(LINES):
    line = socket.create_connection(("127.0.0.1", PORT))
    line.setblocking(False)
    waiting.register(line, selectors.EVENT_READ | selectors.EVENT_WRITE, [FIRST, 0])
sent, answers = 0, []
while time.monotonic() < began + SECONDS and len(answers) < ENOUGH:
    for key, events in waiting.select(1):
        try:
            if events & selectors.EVENT_READ:
                came = key.fileobj.recv(1 << 16)
                answers += [int(answer[:3]) for answer in came.split(b"HTTP/1.1 ")[1:]]
                if not came:
                    waiting.unregister(key.fileobj)
            elif key.data[1] < MOST:
                went = key.fileobj.send(key.data[0])
                key.data[:] = key.data[0][went:] or MORE, key.data[1] + went
                sent += went
            else:
                waiting.modify(key.fileobj, selectors.EVENT_READ, key.data)
        except BlockingIOError:
            pass
        except OSError:
            waiting.unregister(key.fileobj)
return sent, {status: answers.count(status) for status in answers}, time.monotonic() - began
"""
REQUESTS = """
PORT, LINES, MOST, ENOUGH, SECONDS = 8080, 100, 1 << 40, 1 << 20, 3
FIRST = MORE = b"GET /nothing HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" * 200
"""
BODIES = """
PORT, LINES, MOST, ENOUGH, SECONDS = 8080, 40, 31 << 20, 8, 100
FIRST = b"POST /anthropic/v1/messages HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: %d\\r\\n\\r\\n" % (32 << 20)
MORE = memoryview(bytes(1 << 18))
"""


async def test_dialling_in_again_and_again(two_rooms: TwoRooms) -> None:
    (await two_rooms.under(DIALLING)).assert_quiet()


async def test_tunnels_that_end_as_they_open(two_rooms: TwoRooms) -> None:
    quiet = await two_rooms.under(PORTS + CHURN)
    quiet.assert_quiet()
    await two_rooms.memory_returns()


async def test_a_hand_that_lies_about_its_files(two_rooms: TwoRooms) -> None:
    bot = two_rooms.bot

    async def lists() -> bool:
        listing = "\n---\n".join([tool("list_files")] * 2 + ["ECHO"])
        return "this list is too long" in (await two_rooms.mallory.ask(two_rooms.noisy, listing)).body

    async def look() -> None:
        await until(lists, "a list from whom is no hand")
        for path, why in {"ten": "more of a file than it says there is", "huge": "not what it seems"}.items():
            code, out, err = await operate(bot, "workspace", "get", two_rooms.noisy, path)
            assert (code, out) == (1, b"")
            assert why in err
        await operate(bot, "workspace", "get", two_rooms.noisy, "bye")

    (await two_rooms.under(LYING, meanwhile=look)).assert_quiet()


async def test_requests_as_fast_as_they_go(two_rooms: TwoRooms) -> None:
    quiet = await two_rooms.withstands(REQUESTS + POURING)
    await two_rooms.memory_returns()
    _, answers, seconds = ast.literal_eval(quiet.ended.removeprefix("ended "))
    assert 0 < answers[404] <= REQUESTS_AT_ONCE + REQUESTS_A_SECOND * (seconds + 1)


async def test_bodies_that_are_almost_whole(two_rooms: TwoRooms) -> None:
    """At a provider that reads nothing: the others wait where they come from."""
    quiet = await two_rooms.withstands(BODIES + POURING)
    two_rooms.deaf_provider.close()
    await two_rooms.memory_returns()
    sent, answers, _ = ast.literal_eval(quiet.ended.removeprefix("ended "))
    assert sent > 1 << 20, "bodies were on their way"
    assert answers.keys() == {429}
    assert answers[429] >= 40 - AT_ONCE, "the others were refused"
