"""What encryption costs: a turn in an encrypted room beside one in a plain room, the first message to many devices, and
a start with many sessions."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import vodozemac

from bench.idle import cpu_seconds
from bench.stage import PASSWORD, Figure, Stage, beside, figure
from roommate.domain import RoomId, UserId
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.crypto.own_device import OwnDevice
from roommate.matrix.crypto.records import INBOUND, OLM, ROOM, Records, key, save
from roommate.matrix.room_members import RoomMembers
from roommate.store import CryptoRecords
from tests.e2ee import strict
from tests.e2ee.strict import StrictPerson
from tests.harness import Daemon

JsonObject = dict[str, Any]
BOT, HALL = UserId("@bot:example.org"), RoomId("!hall:example.org")
DEVICES, SESSIONS = 200, 5000


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    turns = await _turns(stage, rounds)
    return [*turns, await _first_message(max(3, rounds // 8)), *await _starts(stage, max(3, rounds // 8))]


async def _turns(stage: Stage, rounds: int) -> list[Figure]:
    """Both rooms at the same client, in turns."""
    daemon = await stage.daemon()
    async with strict.started() as node:
        ann = await strict.person(node, stage.synapse.url, await stage.account("ann"), PASSWORD)
        rooms = [await ann.room_with(daemon.user_id, encrypted=encrypted) for encrypted in (False, True)]
        samples: list[list[float]] = [[], []]
        for number in range(rounds + 3):
            for room, taken in zip(rooms, samples, strict=True):
                seconds = await _asked(ann, room, f"answer {number} END")
                if number >= 3:
                    taken.append(seconds)
        await ann.do("stop")
    plain, encrypted = (
        figure("plain turn at matrix-js-sdk", samples[0]),
        figure("turn in an encrypted room", samples[1]),
    )
    return [plain, beside(encrypted, plain, most=1.15)]


async def _asked(person: StrictPerson, room: str, words: str) -> float:
    began = time.monotonic()
    await person.say(room, f"SAY {words}")
    await person.answer(room, words)
    return time.monotonic() - began


class Crowd:
    """A homeserver with one room, whose people have so many devices that nobody has met."""

    def __init__(self, count: int) -> None:
        self.sent = 0
        self._devices: dict[str, OwnDevice] = {}
        for number in range(count):
            user = UserId(f"@p{number // 4}:example.org")
            self._devices[f"D{number}"] = OwnDevice(user, f"D{number}", vodozemac.Account())

    async def call(
        self, what: str, method: str, path: str, body: JsonObject | None = None, seconds: float = 0, also: int = 0
    ) -> JsonObject:
        if path == "/keys/query":
            found: JsonObject = {}
            for name, one in self._devices.items():
                found.setdefault(one.user_id, {})[name] = one.keys()
            return {"device_keys": found}
        if path == "/keys/claim":
            given: JsonObject = {}
            for name, one in self._devices.items():
                given.setdefault(one.user_id, {})[name] = one.fresh_one_time_keys(1)
            return {"one_time_keys": given}
        if path.startswith("/sendToDevice/"):
            self.sent += sum(map(len, (body or {})["messages"].values()))
        return {}

    async def members(self, room: RoomId) -> set[str]:
        return {one.user_id for one in self._devices.values()}

    async def send(self, room: RoomId, event_type: str, content: JsonObject, txn_id: str) -> Any:
        raise NotImplementedError


async def _first_message(rounds: int) -> Figure:
    """Without a homeserver's time: keys asked for and claimed, sessions begun, and the room's key in each."""
    samples = []
    for _ in range(rounds):
        crowd = Crowd(DEVICES)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            records = CryptoRecords(Path(folder))
            encryption = Encryption(
                records, crowd, crowd, RoomMembers(crowd.members), BOT, Path(folder), required=False, signed_only=False
            )

            def begin(r: Records, records: CryptoRecords = records) -> None:
                OwnDevice.begin(r, records.key, BOT, "BOT")
                save(r, ROOM, HALL, {"algorithm": "m.megolm.v1.aes-sha2"})

            await records.do(begin)
            began = time.process_time()
            await encryption.sealing.seal(HALL, "m.room.message", {"body": "hello", "msgtype": "m.text"}, "first")
            samples.append(time.process_time() - began)
            assert crowd.sent == DEVICES
            await records.close()
    return figure(f"processor time of the first message to {DEVICES} devices", samples)


async def _starts(stage: Stage, rounds: int) -> list[Figure]:
    """The same daemon without sessions and with many: its processor time until it is ready, and its memory then."""
    few, many = await stage.daemon(), await stage.daemon()
    await few.term()
    await many.term()
    file = many.state / "crypto.db"
    before = file.stat().st_size
    await asyncio.to_thread(_fill, many.state)
    samples: list[list[float]] = [[], []]
    memory: list[list[float]] = [[], []]
    for _ in range(rounds):
        for daemon, taken, kept in zip((few, many), samples, memory, strict=True):
            taken.append(await _start(daemon))
            kept.append(daemon.rss() / 2**20)
            await daemon.term()
    baseline = figure("processor time of a start without sessions", samples[0])
    started = figure(
        f"processor time of a start with {SESSIONS:,} sessions of each kind",
        samples[1],
        goal=round(baseline.value + 500),
    )
    per_thousand = [(more - less) * 1000 / SESSIONS for less, more in zip(*memory, strict=True)]
    return [
        baseline,
        beside(started, baseline),
        figure("memory for 1,000 sessions of each kind", per_thousand, "MiB"),
        figure(
            "disk for 1,000 sessions of each kind", [(file.stat().st_size - before) / 2**20 / SESSIONS * 1000], "MiB"
        ),
    ]


async def _start(daemon: Daemon) -> float:
    """Its processor time: a time would be that of what else the machine does."""
    await daemon.start()
    return cpu_seconds(daemon.pid)


def _fill(state: Path) -> None:
    """One session of each kind, so many times, as if each were another device's and another room's."""
    pickle_key = (state / "crypto.key").read_bytes()
    ours, theirs = vodozemac.Account(), vodozemac.Account()
    theirs.generate_one_time_keys(1)
    [one_time] = theirs.one_time_keys.values()
    olm = json.dumps(
        {"pickle": ours.create_outbound_session(theirs.curve25519_key, one_time).pickle(pickle_key), "heard": 0}
    )
    group = vodozemac.InboundGroupSession(vodozemac.GroupSession().session_key)
    inbound = json.dumps({"pickle": group.pickle(pickle_key), "user": BOT, "curve25519": "c", "ed25519": "e"})
    rows: Sequence[tuple[str, str, str]] = [
        row
        for number in range(SESSIONS)
        for row in (
            (OLM, key(f"curve{number}", "s"), olm),
            (INBOUND, key(f"!room{number % 50}", f"s{number}"), inbound),
        )
    ]
    with sqlite3.connect(state / "crypto.db") as c:
        c.executemany("INSERT INTO records VALUES (?, ?, ?, 0)", rows)
    c.close()
