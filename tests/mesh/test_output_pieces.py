"""What a program prints on its way to who asked: none of it is lost, whenever it ends, and no event is too many."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import tracemalloc
from pathlib import Path
from typing import Any

from roommate.domain import JsonObject
from roommate.features.mesh.methods import Work
from roommate.features.mesh.output_pieces import sending
from roommate.features.mesh.output_spool import PART
from roommate.features.mesh.policy_decision import Facts
from tests.mesh.peer import new_key, request


async def test_a_program_that_ends_while_a_piece_is_stored_loses_none() -> None:
    said: list[JsonObject] = []
    storing, stored = asyncio.Event(), asyncio.Event()

    async def say(body: JsonObject) -> int:
        storing.set()
        await stored.wait()
        said.append(body)
        return len(said)

    asked = request(new_key(), "@ann:x", "!r:x", "k" * 43, "exec")

    async def work() -> Any:
        async with sending(Work(asked, Facts(), 60, 1000, say=say, say_at_end=said.append)) as pieces:
            pieces.take("out", b"one ")
            await storing.wait()
            pieces.take("out", b"two")
        return pieces.summary

    working = asyncio.create_task(work())
    await storing.wait()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stored.set()
    summary = await working
    assert b"".join(base64.b64decode(body["data"]) for body in said) == b"one two"
    assert summary["sha256"] == hashlib.sha256(b"one two").hexdigest()


async def test_what_ends_at_once_does_not_say_first_that_it_runs() -> None:
    said: list[JsonObject] = []
    first = asyncio.Event()

    async def start() -> None:
        said.append({"kind": "started"})

    async def say(body: JsonObject) -> int:
        said.append(body)
        first.set()
        return len(said)

    asked = request(new_key(), "@ann:x", "!r:x", "k" * 43, "exec")
    async with sending(Work(asked, Facts(), 60, 1000, start=start, say=say, say_at_end=said.append)) as pieces:
        pieces.take("out", b"all")
    assert [body["kind"] for body in said] == ["output"]

    said.clear()
    first.clear()
    async with sending(Work(asked, Facts(), 60, 1000, start=start, say=say, say_at_end=said.append)) as pieces:
        pieces.take("out", b"one")
        await first.wait()
    assert [body["kind"] for body in said] == ["started", "output"]


async def test_much_output_is_in_memory_by_parts(tmp_path: Path) -> None:
    """Before it was there as a whole, several times."""
    hashed, uploaded, printed = hashlib.sha256(), list[int](), 40 << 20

    async def upload(content: bytes, name: str) -> JsonObject:
        hashed.update(content)
        uploaded.append(len(content))
        return {"url": "mxc://x/y"}

    asked, line = request(new_key(), "@ann:x", "!r:x", "k" * 43, "exec"), b"x" * 65_535 + b"\n"
    work = Work(asked, Facts(), 60, printed + 5, upload=upload, folder=tmp_path)
    tracemalloc.start()
    try:
        async with sending(work) as pieces:
            for number in range(printed // len(line)):
                pieces.take("out", line)
                if number % 16 == 0:
                    await asyncio.sleep(0)
            pieces.take("err", b"oops" * 4)
            assert list(tmp_path.iterdir()) == [], "a kill leaves nothing"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (sum(uploaded), max(uploaded)) == (printed + 5, PART)
    assert uploaded[-1] == 5
    assert pieces.summary == {"truncated": True, "sha256": hashed.hexdigest(), "bytes": printed + 5}
    assert peak < 2.5 * PART


async def test_output_is_cut_where_there_is_no_room_for_it(tmp_path: Path) -> None:
    asked = request(new_key(), "@ann:x", "!r:x", "k" * 43, "exec")
    async with sending(Work(asked, Facts(), 60, 1 << 20, folder=tmp_path / "none")) as pieces:
        pieces.take("out", b"x" * 300_000)
        pieces.take("out", b"more")
    assert pieces.summary["truncated"]
    assert pieces.summary["bytes"] == 0
