"""May this peer do this here: pure, by the policy, what is asked, and what is known of where it would run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roommate.domain import HostPlace, RoomId
from roommate.features.mesh.policy_file import ANY, Limits, People, Policy, Rule
from roommate.features.mesh.refusals import Code
from roommate.store import Peer

_NEVER = re.compile(
    r"LD_.*|DYLD_.*|PATH|IFS|ENV|BASH_.*|SHELLOPTS|BASHOPTS|PS[0-4]|PROMPT_COMMAND|HOME|USER|SHELL|GIT_.*|SSH_.*"
    r"|PYTHON.*|NODE_.*|NPM_.*|PERL.*|RUBY.*|JAVA_.*|JDK_.*|_JAVA_.*|LUA_.*|GCONV_PATH|LOCPATH|NLSPATH|.*PRELOAD.*"
    r"|EDITOR|VISUAL|PAGER|BROWSER|.*_PROXY|GLIBC_.*|MALLOC_.*|HOSTALIASES|RES_OPTIONS|TMPDIR|CDPATH|FPATH"
    r"|.*(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|API_?KEY|PRIVATE|ACCESS_?KEY|AUTH|COOKIE|SESSION).*"
    r"|.*_KEY|KEY",
    re.IGNORECASE,
)
"""Environment that changes which program runs, or is shaped like a secret: no policy grants it."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true where a request would run, whatever it says: found out there, with symbolic links followed. What is
    run has to be just that."""

    executable: str = ""
    """The file that the first word of the command leads to; empty where there is none."""
    folder: str = ""
    """The folder that it would run in; empty where there is none."""
    paths: tuple[str, ...] = ()
    """The files or folders that a share is about."""
    called: str = ""
    """What the program finds as its own name: the one that it was asked for by, where nothing that runs there can have
    given it that name, else its file's."""
    outside: HostPlace | None = None
    """Where that was found out, if in no container: there it runs, too."""


NO_FACTS = Facts()


@dataclass(frozen=True, slots=True)
class Decision:
    allowed: bool
    code: Code | None
    """Why not."""
    line: str
    """Of the policy: where the rule begins that decides, such as ``line 12``; empty where there is none."""
    limits: Limits
    approval: People | None = None
    """Who has to say yes first."""
    why: str = ""
    """For our own people and the audit log."""
    position: int = 0
    """Line of that rule, or else of the last that is about them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What came of one rule."""

    line: int
    against: str
    """Why it does not grant it; empty where it does."""
    rule: Rule | None = None


def decide(
    policy: Policy | None, peer: Peer, room_id: RoomId, method: str, params: Mapping[str, Any], facts: Facts
) -> Decision:
    """The first rule that grants it decides; where none does it is denied."""
    if policy is None:
        return Decision(False, Code.POLICY_BROKEN, "", Limits(), why="the policy cannot be read")
    last = Judged(0, "no rule is about this peer, room and method")
    for judged in judgements(policy, peer, room_id, method, params, facts):
        if judged.rule and not judged.against:
            limits = limits_of(policy, judged.rule, params)
            approval = None if judged.rule.approval == "none" else judged.rule.approval
            line = f"line {judged.line}"
            return Decision(True, None, line, limits, approval, f"{line} grants it", judged.line)
        last = judged
    line = f"line {last.line}" if last.line else ""
    return Decision(False, Code.POLICY, line, policy.limits, why=f"{line}: {last.against}" if line else last.against)


def first(decisions: Sequence[tuple[Decision, Facts]]) -> tuple[Decision, Facts]:
    """Of those about one request, in each place that rules name for it: that of the first rule that grants it."""
    return min(decisions, key=lambda one: (not one[0].allowed, one[0].position))


def concerned(
    policy: Policy | None, peer: Peer, room_id: RoomId, method: str, params: Mapping[str, Any]
) -> Sequence[HostPlace | None]:
    """Where it would run by the rules about them and that place, None for containers. Where there is no such rule,
    nothing has to be found out to deny it."""
    if policy is None:
        return []
    place = params.get("place", "room") if method == "exec" else None
    about = [rule for rule in policy.allow if _is_about(rule, peer, room_id, method)]
    return list(dict.fromkeys(rule.outside(place) for rule in about if place in (None, *rule.places)))


def judgements(
    policy: Policy, peer: Peer, room_id: RoomId, method: str, params: Mapping[str, Any], facts: Facts
) -> Iterator[Judged]:
    """What each rule that is about this peer, room and method says."""
    for rule, line in zip(policy.allow, policy.lines, strict=True):
        if _is_about(rule, peer, room_id, method):
            yield Judged(line, _against(rule, method, params, facts), rule)


def may_ask(policy: Policy | None, peer: Peer, room_id: RoomId, method: str) -> bool:
    """May the model of this room ask that peer for this?"""
    if policy is None:
        return False
    return any(
        _names(rule.peers, peer) and _has(rule.rooms, room_id) and method in rule.methods for rule in policy.outgoing
    )


def limits_of(policy: Policy, rule: Rule, params: Mapping[str, Any]) -> Limits:
    """The lowest of the rule's, or else the file's, and of what is asked for."""
    found = {name: getattr(rule, name) or getattr(policy.limits, name) for name in Limits.model_fields}
    for name, asked in (("seconds", params.get("timeout")), ("output_bytes", params.get("output_bytes"))):
        if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0:
            found[name] = min(found[name], asked)
    return Limits(**found)


def is_never_granted(name: str) -> bool:
    """Is this the name of a variable that no policy lets a peer set?"""
    return _NEVER.fullmatch(name) is not None or _NAME.fullmatch(name) is None


def is_within(path: str, folders: Sequence[str]) -> bool:
    """By whole names; both have no symbolic links any more. What is not absolute, or has ``..``, is nowhere."""
    if not path.startswith("/") or "\0" in path or ".." in path.split("/"):
        return False
    return any(one in (ANY, "/", path) or path.startswith(f"{one}/") for one in folders)


def _is_about(rule: Rule, peer: Peer, room_id: RoomId, method: str) -> bool:
    return _names(rule.peers, peer) and _has(rule.rooms, room_id) and method in rule.methods


def _names(peers: Sequence[str], peer: Peer) -> bool:
    """By the name that our operators gave it, or by its key; never by what it calls itself."""
    return ANY in peers or peer.key in peers or (bool(peer.name) and peer.name in peers)


def _has(rooms: Sequence[str], room_id: RoomId) -> bool:
    return ANY in rooms or room_id in rooms


def _against(rule: Rule, method: str, params: Mapping[str, Any], facts: Facts) -> str:
    match method:
        case "ping" | "who":
            return ""
        case "exec":
            return _against_exec(rule, params, facts)
        case "call":
            tool = params.get("tool")
            if not isinstance(tool, str) or not rule.tools_match.fullmatch(tool):
                return f"its `tools` have no {tool!r}"
            return ""
        case "share.put" | "share.get" | "share.ls":
            if not facts.paths:
                return "there is no such path"
            outside = [path for path in facts.paths if not is_within(path, rule.paths)]
            return f"{outside[0]!r} is not within its `paths`" if outside else ""
    return f"there is no method {method!r}"


def _against_exec(rule: Rule, params: Mapping[str, Any], facts: Facts) -> str:
    argv, env = params.get("argv"), params.get("env", {})
    if not isinstance(argv, list) or not argv or not all(isinstance(one, str) and "\0" not in one for one in argv):
        return "`argv` is no list of texts"
    if not isinstance(env, dict) or not all(isinstance(one, str) for pair in env.items() for one in pair):
        return "`env` is no object of texts"
    place = params.get("place", "room")
    if place not in rule.places:
        return f"its `places` have no {place!r}"
    if facts.outside != rule.outside(place):
        return "it is about another user, or about another network"
    if not facts.executable:
        return f"there is no program {argv[0]!r}"
    if said := _against_words(rule, facts.executable, argv[1:]):
        return said
    if not is_within(facts.folder, rule.folders):
        return f"{facts.folder or params.get('cwd')!r} is not within its `folders`"
    for name in env:
        if is_never_granted(name):
            return f"no rule grants the variable {name!r}"
        if not rule.environment_match.fullmatch(name):
            return f"its `environment` has no {name!r}"
    for wanted in ("pty", "stdin"):  # a terminal has input
        if params.get(wanted, False) is not False and not getattr(rule, wanted):
            return f"it does not grant `{wanted}`"
    return ""


def _against_words(rule: Rule, executable: str, arguments: Sequence[str]) -> str:
    if [executable, *arguments] in rule.argv:
        return ""
    if executable not in rule.commands and ANY not in rule.commands:
        return f"its `commands` and `argv` have no {executable!r} with these arguments"
    for one in arguments:
        if rule.not_arguments_match.fullmatch(one):
            return f"its `not_arguments` have {one!r}"
        if not rule.arguments_match.fullmatch(one):
            return f"its `arguments` have no {one!r}"
    return ""
