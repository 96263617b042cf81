"""What would the policy say? For operators, before somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from roommate.domain import RoomId, UserId
from roommate.errors import NotFound, RoommateError
from roommate.features.mesh.policy_decision import Decision, Facts, concerned, decide, first, judgements
from roommate.features.mesh.policy_file import Expected, Place, Policy, PolicyFile
from roommate.operations import Call, Params, Table, Who, operation
from roommate.store import Peer, Peers, PeerState
from roommate.text.printable import plain, span


class Nothing(Params):
    pass


class Explained(Params):
    peer: Annotated[str, Field(min_length=1, title="PEER", description="Its name in the policy, or its key.")]
    room: Annotated[str, Field(min_length=1, description="A room's id, the beginning of one, or a room's name.")]
    method: Annotated[str, Field(min_length=1, title="METHOD", description="exec, call, share.put …")]
    words: Annotated[
        list[str],
        Field(title="WORD", description="The command with its program's whole path, the tool, or the shared paths."),
    ] = []  # noqa: RUF012 — pydantic copies it
    folder: Annotated[str, Field(title="FOLDER", description="Where the command would run.")] = "/workspace"
    place: Annotated[Place, Field(description="room, fresh, bubblewrap or host.")] = "room"


@dataclass(frozen=True, slots=True)
class Checked:
    file: str
    rules: int
    outgoing: int
    problem: str


@dataclass(frozen=True, slots=True)
class Explanation:
    allowed: bool
    approval: str | None
    line: str
    why: str
    seconds: int
    output_bytes: int
    rules: Sequence[tuple[int, str]]
    """Line of each rule that is about them, and why it does not grant it; empty where it does."""


@dataclass(frozen=True, slots=True)
class Tested:
    line: int
    expected: str
    found: str
    why: str


def _checked(one: Checked) -> str:
    if one.problem:
        return f"Nothing is granted: {plain(one.problem)}"
    return f"{span(one.file)} is right: it has {one.rules} rules, and {one.outgoing} for what this daemon asks."


def _explained(one: Explanation) -> str:
    rows = [f"- line {line}: {plain(against) or 'grants it'}" for line, against in one.rules]
    return "\n".join([_verdict(one), *rows])


def _verdict(one: Explanation) -> str:
    if not one.allowed:
        return f"✘ Denied: {plain(one.why)}."
    asked = f", when {one.approval} say yes" if one.approval else ""
    return f"✔ Granted by {one.line}{asked}: {one.seconds} s and {one.output_bytes} bytes of output at the most."


def _tested(found: Sequence[Tested]) -> str:
    wrong = [one for one in found if one.expected != one.found]
    rows = [f"- line {one.line}: {one.expected} expected, it is {one.found} ({plain(one.why)})" for one in wrong]
    return "\n".join([f"{len(found) - len(wrong)} of {len(found)} tests in the policy are as expected.", *rows])


def _test_table(found: Sequence[Tested]) -> Table | str:
    rows = [("✔" if one.expected == one.found else "✘", f"line {one.line}", one.expected, one.found, one.why)
            for one in found]  # fmt: skip
    return Table(rows, ("", "test", "expected", "found", "why")) if rows else "the policy has no [[test]]"


class PolicyOperations:
    def __init__(self, policy: PolicyFile, peers: Peers) -> None:
        self._policy, self._peers = policy, peers

    @operation(
        "policy.check",
        reads=_checked,
        wrong=lambda one: bool(one.problem),
        who=Who.OPERATORS,
        chat="policy",
        cli="policy check",
    )
    async def check(self, params: Nothing, call: Call) -> Checked:
        """Says whether the policy can be read, and where its mistake is."""
        found = self._policy.now()
        rules = (len(found.allow), len(found.outgoing)) if found else (0, 0)
        return Checked(str(self._policy.path), *rules, self._policy.problem)

    @operation("policy.explain", reads=_explained, who=Who.OPERATORS, cli="policy explain")
    async def explain(self, params: Explained, call: Call) -> Explanation:
        """Says whether a peer may do something in a room, and by which line of the policy."""
        policy, room = self._read(), call.its_room
        peer = await self._peer(params.peer)
        asked, facts = _asked(params.method, params.words, params.folder, params.place)
        decision, places = _decided(policy, peer, room, params.method, asked, facts)
        rules = dict[int, str]()
        for there in places:
            for one in judgements(policy, peer, room, params.method, asked, there):
                if one.line not in rules or (one.rule and one.rule.outside(params.place) == there.outside):
                    rules[one.line] = one.against
        limits, found = decision.limits, (decision.allowed, decision.approval, decision.line, decision.why)
        return Explanation(*found, limits.seconds, limits.output_bytes, list(rules.items()))

    @operation(
        "policy.test",
        reads=_tested,
        terminal=_test_table,
        wrong=lambda found: any(one.expected != one.found for one in found),
        who=Who.OPERATORS,
        cli="policy test",
    )
    async def test(self, params: Nothing, call: Call) -> Sequence[Tested]:
        """Tries each `[[test]]` of the policy, and says which does not come out as it expects."""
        policy = self._read()
        return [tried(policy, one, line) for one, line in zip(policy.tests, policy.test_lines, strict=True)]

    def _read(self) -> Policy:
        if (policy := self._policy.now()) is None:
            raise RoommateError(f"nothing is granted: {self._policy.problem}")
        return policy

    async def _peer(self, name: str) -> Peer:
        found = [one for one in await self._peers.pinned() if name in (one.name, one.key)]
        if not found:
            raise NotFound(f"no daemon that is trusted is called {name!r}: `roommate trust ls` lists them")
        return found[0]


def tried(policy: Policy, one: Expected, line: int) -> Tested:
    peer = Peer("", UserId(""), one.peer, PeerState.PINNED)
    params, facts = _asked(one.method, one.words, one.folder, one.place)
    params |= {"env": dict.fromkeys(one.environment, "")} if one.environment else {}
    decision, _ = _decided(policy, peer, RoomId(one.room), one.method, params, facts)
    return Tested(line, one.expect, _outcome(decision), decision.why)


def _decided(
    policy: Policy, peer: Peer, room: RoomId, method: str, asked: dict[str, Any], facts: Facts
) -> tuple[Decision, Sequence[Facts]]:
    """And the facts as they are taken to be, in each place that rules name for it."""
    places = [replace(facts, outside=one) for one in concerned(policy, peer, room, method, asked) or [None]]
    decision, _ = first([(decide(policy, peer, room, method, asked, one), one) for one in places])
    return decision, places


def _outcome(decision: Decision) -> str:
    return (decision.approval or "allow") if decision.allowed else "deny"


def _asked(method: str, words: Sequence[str], folder: str, place: str) -> tuple[dict[str, Any], Facts]:
    """A request of that kind, where everything is what it looks like."""
    match method:
        case "exec":
            asked = {"argv": list(words)} | ({"place": place} if place != "room" else {})
            return asked, Facts(executable=words[0] if words else "", folder=folder)
        case "call":
            return {"tool": words[0] if words else ""}, Facts()
        case _:
            return {}, Facts(paths=tuple(words))
