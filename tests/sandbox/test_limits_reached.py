"""Everyday commands that end what they did not mean, or use up what a room has: the next command runs all the same."""

from __future__ import annotations

import asyncio
import signal

import pytest

from roommate.domain import Hand, RoomId
from roommate.errors import HandLost
from roommate.sandbox.room_containers import RoomSandboxes
from tests.patience import PATIENCE, until
from tests.sandbox.conftest import sh

HERE = RoomId("!limits:example.org")


@pytest.fixture
async def hand(lodge: RoomSandboxes) -> Hand:
    return await lodge.hand(HERE)


async def who_runs_it(hand: Hand) -> str:
    return (await sh(hand, "pgrep -x roommate-hand; pgrep -x roommate-keep")).text


@pytest.mark.parametrize("means", [["python3"], ["-f", "python"], ["-f", "while :"], ["-f", "hand.py"], ["sh"]])
async def test_what_ends_all_of_a_kind_spares_who_runs_the_room(hand: Hand, means: list[str]) -> None:
    us = await who_runs_it(hand)
    assert len(us.split()) == 2
    for number in ("TERM", "KILL"):
        await hand.run(["pkill", f"-{number}", *means])
    assert await who_runs_it(hand) == us


async def test_signals_to_all_that_run_spare_it_as_well(hand: Hand) -> None:
    us = await who_runs_it(hand)
    for number in ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2"):
        other = asyncio.ensure_future(hand.run(["sleep", "60"]))
        await hand.run(f"until pgrep -fx 'sleep 60'; do :; done; kill -{number} -1")
        assert (await other).signal == signal.Signals[f"SIG{number}"], "commands have the usual signals"
    assert await who_runs_it(hand) == us


async def test_a_killed_hand_is_back_and_finds_its_jobs(lodge: RoomSandboxes, hand: Hand) -> None:
    keeper = (await sh(hand, "pgrep -x roommate-keep")).text
    job = await hand.start_job("while [ ! -e go ]; do sleep 0.05; done; echo went on; sleep 1001")
    with pytest.raises(HandLost):
        await hand.run("pkill -KILL -x roommate-hand; sleep 5")
    hand = await lodge.hand(HERE)
    await hand.write("go", b"")
    assert (await hand.job(job.id)).exit is None
    async with asyncio.timeout(PATIENCE):
        while (await hand.read(job.log)).content != b"went on\n":
            await asyncio.sleep(0.05)
    assert (await hand.stop_job(job.id)).exit is not None
    assert (await sh(hand, "pgrep -x roommate-keep; rm go; pgrep -fx 'sleep 1001'")).text == keeper, (
        "in the same container"
    )


@pytest.mark.parametrize(("times", "command"), [(200, "true"), (100, "sleep 0.1; true"), (100, "exit 3")])
async def test_a_burst_beyond_the_process_limit_waits_in_line(hand: Hand, times: int, command: str) -> None:
    ended = await asyncio.gather(*(hand.run(command, timeout=PATIENCE) for _ in range(times)))
    assert {one.code for one in ended} == {3 if "exit" in command else 0}


async def test_commands_step_back_behind_who_has_to_end_them(hand: Hand) -> None:
    busy = "sleep 0.3; nice; for n in $(seq 40); do while :; do :; done & done; wait"
    ours = int((await sh(hand, "ps -o ni= -p $(pgrep -x roommate-hand)")).text)
    assert (await sh(hand, busy, timeout=2.3)).text == f"{min(19, ours + 10)}\n"
    assert (await sh(hand, "pgrep --count --exact bash; :")).text == "1\n"


async def test_a_call_beside_many_that_are_cancelled_does_not_wait_for_them(hand: Hand) -> None:
    """What ending them takes does not grow with their square: seconds of processor, as those of a busy machine lie."""
    calls = [asyncio.ensure_future(hand.run("sleep 60 & wait")) for _ in range(24)]
    await asyncio.sleep(0.5)
    before = await used_by_hand(hand)
    for call in calls:
        call.cancel()
    await hand.run("true")
    await until(lambda: all(call.done() for call in calls))
    assert (await sh(hand, "while pgrep -x sleep; do sleep 0.1; done >/dev/null; echo none")).text == "none\n"
    assert await used_by_hand(hand) - before < 2.0


async def used_by_hand(hand: Hand) -> float:
    fields = (await sh(hand, "cat /proc/$(pgrep -x roommate-hand)/stat")).text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


async def test_a_full_tmp_says_so_and_stops_nobody(hand: Hand) -> None:
    full = await sh(hand, "head -c 600M /dev/zero >/tmp/big")
    assert "[/tmp is full: it has 48 MiB, of the room's memory, 48 of them in '/tmp/big'." in full.text
    assert (await sh(hand, "echo fine; rm /tmp/big")).text == "fine\n"


async def test_memory_that_ran_out_says_so(hand: Hand) -> None:
    used = await sh(hand, "head -c 20M /dev/zero >/tmp/some; exec python3 -c 'bytearray(10**9)'")
    assert "[the room's memory ran out: it has 256 MiB; /tmp holds 20 MiB of it]" in used.text
    assert (await hand.run("rm /tmp/some")).code == 0
