"""What it costs to believe another daemon: its signature, the policy, and what was seen before."""

from __future__ import annotations

import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nacl.signing import SigningKey
from signedjson.key import decode_signing_key_base64
from unpaddedbase64 import encode_base64

from bench.stage import Figure, Stage, figure
from roommate.domain import EventId, RoomId, UserId
from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Request
from roommate.features.mesh.policy_decision import Facts, decide
from roommate.features.mesh.policy_file import Policy
from roommate.store import Claim, Database, Peer, PeerState, Transaction
from roommate.store.mesh_nonces import claiming

ROOM, ANN = RoomId("!a-room-of-the-benchmark:example.org"), UserId("@ann:example.org")
RULE = f"""
[[allow]]
peers = ["NAME"]
rooms = ["{ROOM}"]
methods = ["exec"]
commands = ["/usr/bin/make"]
arguments = ["test", "-j*"]
environment = ["CI"]
"""
KEYS, OF_A_KEY = 10, 10_000


async def measure(stage: Stage, rounds: int) -> list[Figure]:
    seed = SigningKey.generate()
    public = encode_base64(seed.verify_key.encode())
    key = decode_signing_key_base64("ed25519", envelope.key_id(public), encode_base64(seed.encode()))
    now = int(time.time() * 1000)
    params = {"argv": ["make", "test", "-j4"], "env": {"CI": "1"}, "timeout": 60}
    asked = Request(ROOM, ANN, public, public, "exec", params, envelope.new_id(), now, now + 1, envelope.new_nonce())
    content = envelope.sign(key, asked)

    def judged() -> None:
        found = envelope.read_request(content)
        envelope.verify(content, found.origin, found.sender)

    policy = Policy.read("version = 1\n" + RULE * 99 + RULE.replace("NAME", "laptop"))
    peer = Peer(public, ANN, "laptop", PeerState.PINNED)
    facts = Facts("/usr/bin/make", "/workspace")

    def decided() -> None:
        assert decide(policy, peer, ROOM, "exec", params, facts).allowed

    checks, decisions = _each(judged, 50 * rounds), _each(decided, 50 * rounds)
    checked, decision = figure("a request read and its signature verified", checks, "µs"), figure(
        "a decision of a policy of 100 rules", decisions, "µs"
    )  # fmt: skip
    return [
        replace(checked, goal="≤ 200 µs: 5000 a second", met=checked.value <= 200),
        replace(decision, goal="≤ 200 µs", met=decision.value <= 200),
        *await _nonces(),
    ]


def _each(work: Callable[[], object], times: int) -> list[float]:
    samples = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        samples.append((time.perf_counter() - began) * 1e6)
    return samples


async def _nonces() -> list[Figure]:
    """100 000 requests of ten keys remembered, in transactions of a thousand; then one more."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        database = Database.open(Path(folder))
        try:
            await database.run(lambda c: c.execute("UPDATE mesh_floor SET issued=0"))
            before = _resident()
            samples = []
            for number in range(KEYS * OF_A_KEY // 1000):
                began = time.perf_counter()
                await database.run(_thousand(f"{number % KEYS:043}", number))
                samples.append((time.perf_counter() - began) * 1e3)
            held = _resident() - before
            size = sum(path.stat().st_size for path in Path(folder).glob("roommate.db*")) / (1 << 20)
        finally:
            await database.close()
    memory = figure("memory while 100 000 nonces are remembered", [held], "MiB")
    return [
        figure("a nonce remembered, of 1000 in a transaction", samples, "µs"),
        replace(memory, goal="≤ 50 MiB", met=held <= 50),
        figure("disk of 100 000 nonces", [size], "MiB"),
    ]


def _resident() -> float:
    """MiB of this process, in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def _thousand(key: str, number: int) -> Callable[[Transaction], None]:
    def work(c: Transaction) -> None:
        for one in range(1000):
            name = f"{number:06}{one:020}"
            claim = claiming(key, name[:22] + f"{one:04}", name, EventId(f"${name}"), 1 << 49, 1 << 50, 1)(c)
            assert claim is Claim.NEW, claim

    return work
