"""The policy: what is not granted is denied, what is not known is a mistake with its place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.domain import HostPlace, RoomId, UserId
from roommate.errors import ConfigError
from roommate.features.mesh.policy_decision import (
    Decision,
    Facts,
    concerned,
    decide,
    is_never_granted,
    is_within,
    may_ask,
)
from roommate.features.mesh.policy_file import Policy, PolicyFile, PolicyMistake, matching
from roommate.features.mesh.policy_trials import tried
from roommate.features.mesh.refusals import Code
from roommate.store import Peer, PeerState

ROOM = RoomId("!room:example.org")
ANN = Peer("k" * 43, UserId("@ann:example.org"), "laptop", PeerState.PINNED)
TEXT = f"""
version = 1

[limits]
seconds = 60

[[allow]]
peers = ["laptop"]
rooms = ["{ROOM}"]
methods = ["exec", "ping"]
commands = ["/usr/bin/make"]
arguments = ["test", "lint", "-j*", "--dir=*"]
not_arguments = ["*..*"]
folders = ["/workspace/app"]
environment = ["CI", "LANG*"]
approval = "none"
seconds = 300

[[allow]]  # a second rule, asked for what the first one leaves
peers = ["*"]
rooms = ["*"]
methods = ["exec"]
argv = [
  ["/usr/bin/git", "status"],
]

[[outgoing]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
"""
POLICY = Policy.read(TEXT)
MAKE = Facts("/usr/bin/make", "/workspace/app")


def asked(facts: Facts = MAKE, peer: Peer = ANN, room: RoomId = ROOM, method: str = "exec", **params: Any) -> Decision:
    return decide(POLICY, peer, room, method, {"argv": ["make", "test"], **params}, facts)


def test_what_a_rule_grants_with_the_lower_limit_and_its_line() -> None:
    found = asked()
    assert (found.allowed, found.line, found.approval, found.limits.seconds) == (True, "line 7", None, 300)
    assert asked(timeout=10).limits.seconds == 10
    assert asked(timeout=900).limits.seconds == 300
    status = asked(Facts("/usr/bin/git", "/workspace"), argv=["git", "status"])
    assert (status.allowed, status.line, status.approval, status.limits.seconds) == (True, "line 19", "operators", 60)


@pytest.mark.parametrize(
    ("facts", "params"),
    [
        pytest.param(Facts("/workspace/make", "/workspace/app"), {}, id="a program of the same name elsewhere"),
        pytest.param(Facts("", "/workspace/app"), {}, id="no such program"),
        pytest.param(Facts("/usr/bin/make", "/workspace/app2"), {}, id="a folder that begins alike"),
        pytest.param(Facts("/usr/bin/make", "/etc"), {"cwd": "/workspace/app"}, id="a folder that is a link elsewhere"),
        pytest.param(Facts("/usr/bin/make", "/workspace/app/../../etc"), {}, id="dots"),
        pytest.param(Facts("/usr/bin/make", ""), {}, id="no such folder"),
        pytest.param(MAKE, {"argv": ["make", "test", "deploy"]}, id="one argument more"),
        pytest.param(MAKE, {"argv": ["make", "test deploy"]}, id="arguments joined"),
        pytest.param(MAKE, {"argv": ["make", "--dir=../x"]}, id="what is ruled out"),
        pytest.param(MAKE, {"argv": ["make", "test\n"]}, id="a line more"),
        pytest.param(MAKE, {"argv": ["make", "test\0x"]}, id="a null byte"),
        pytest.param(MAKE, {"argv": "make test"}, id="a text for a list"),
        pytest.param(MAKE, {"argv": []}, id="nothing"),
        pytest.param(MAKE, {"argv": ["make", 1]}, id="a number"),
        pytest.param(MAKE, {"env": {"HOME": "/"}}, id="an ungranted variable"),
        pytest.param(MAKE, {"env": {"LD_PRELOAD": "x"}}, id="a preload"),
        pytest.param(MAKE, {"env": {"LANG_TOKEN": "x"}}, id="a secret that a glob would grant"),
        pytest.param(MAKE, {"env": {"CI": 1}}, id="a variable that is no text"),
        pytest.param(MAKE, {"env": []}, id="no environment"),
        pytest.param(MAKE, {"pty": {"rows": 1}}, id="a terminal"),
        pytest.param(MAKE, {"stdin": True}, id="input"),
        pytest.param(MAKE, {"place": "fresh"}, id="another place"),
        pytest.param(MAKE, {"place": "host"}, id="the bare host"),
        pytest.param(MAKE, {"place": None}, id="no place"),
        pytest.param(Facts("/usr/bin/git", "/workspace"), {"argv": ["git", "push"]}, id="other words of an argv"),
        pytest.param(Facts("/usr/bin/git", "/etc"), {"argv": ["git", "status"]}, id="an argv elsewhere"),
    ],
)
def test_what_no_rule_grants_is_denied(facts: Facts, params: dict[str, Any]) -> None:
    found = asked(facts, **params)
    assert (found.allowed, found.code) == (False, Code.POLICY)
    assert found.line in ("line 7", "line 19")
    assert found.why.startswith(found.line)


def test_a_star_and_a_question_mark_stand_for_others_and_nothing_else_does() -> None:
    arguments = matching(["--only=[abc]", "a?c", "x*", "!", "[!z]"])
    assert [one for one in ("--only=[abc]", "abc", "x", "x\ny", "[!z]") if not arguments.fullmatch(one)] == []
    assert [one for one in ("--only=a", "ac", "ax", "y", "abc\n") if arguments.fullmatch(one)] == []


def test_a_peer_a_room_and_a_method_that_no_rule_names() -> None:
    eve = Peer("e" * 43, UserId("@eve:example.org"), "", PeerState.PINNED)
    for found in (
        asked(peer=eve),
        asked(room=RoomId("!other:example.org")),
        asked(method="call", tool="read_file"),
        asked(method="share.get"),
        decide(Policy.read("version = 1"), ANN, ROOM, "ping", {}, Facts()),
    ):
        assert (found.allowed, found.code) == (False, Code.POLICY)
    broken = decide(None, ANN, ROOM, "ping", {}, Facts())
    assert (broken.allowed, broken.code) == (False, Code.POLICY_BROKEN)


OUTSIDE = Policy.read(
    """
version = 1
[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
commands = ["/usr/bin/make"]
folders = ["/srv/app"]
places = ["host"]
user = "builder"
approval = "none"
[[allow]]
peers = ["laptop"]
rooms = ["*"]
methods = ["exec"]
commands = ["/usr/bin/make"]
folders = ["/srv/app"]
places = ["bubblewrap", "host"]
user = "other"
network = true
[[test]]
peer = "laptop"
room = "!a:b"
method = "exec"
words = ["/usr/bin/make"]
folder = "/srv/app"
place = "host"
expect = "allow"
[[test]]
peer = "laptop"
room = "!a:b"
method = "exec"
words = ["/usr/bin/make"]
folder = "/srv/app"
place = "bubblewrap"
expect = "operators"
[[test]]
peer = "laptop"
room = "!a:b"
method = "exec"
words = ["/usr/bin/make"]
folder = "/srv/app"
expect = "deny"
"""
)


@pytest.mark.parametrize(
    ("place", "outside", "line"),
    [
        ("host", HostPlace("host", "builder"), "line 3"),
        ("host", HostPlace("host", "other"), "line 12"),
        ("bubblewrap", HostPlace("bubblewrap", "other", True), "line 12"),
        ("bubblewrap", HostPlace("bubblewrap", "other"), ""),
        ("bubblewrap", HostPlace("bubblewrap", "builder"), ""),
        ("host", HostPlace("host", "root"), ""),
        ("host", None, ""),
        ("room", HostPlace("host", "builder"), ""),
        ("room", None, ""),
        (None, None, ""),
    ],
)
def test_a_place_outside_of_containers_is_what_a_rule_and_the_request_name(
    place: str | None, outside: HostPlace | None, line: str
) -> None:
    params = {"argv": ["make"]} | ({"place": place} if place else {})
    found = decide(OUTSIDE, ANN, ROOM, "exec", params, Facts("/usr/bin/make", "/srv/app", outside=outside))
    assert (found.allowed, found.line if found.allowed else "") == (bool(line), line)


def test_where_to_look_is_what_rules_name_for_that_place() -> None:
    found = [concerned(OUTSIDE, ANN, ROOM, "exec", {"place": one}) for one in ("host", "bubblewrap", "room", "fresh")]
    assert found == [
        [HostPlace("host", "builder"), HostPlace("host", "other")],
        [HostPlace("bubblewrap", "other", True)],
        [],
        [],
    ]


def test_a_policy_is_tried_in_each_place() -> None:
    assert [tried(OUTSIDE, one, 0).found for one in OUTSIDE.tests] == ["allow", "operators", "deny"]


def test_what_our_own_model_may_ask_for() -> None:
    assert may_ask(POLICY, ANN, ROOM, "exec")
    assert not may_ask(POLICY, ANN, ROOM, "call")
    assert not may_ask(None, ANN, ROOM, "exec")


RULE = '[[allow]]\npeers = ["a"]\nrooms = ["*"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: version: it is missing"),
        ("version = 2", "line 1, column 1: version"),
        ("version = 1\nallow = 5", "line 2, column 1: allow"),
        ("version = 1\n\n  surprise = 1", "line 3, column 3: surprise: there is no such key"),
        ("version = 1\n[limits]\nsecond = 1", "line 3, column 1: limits.second: there is no such key"),
        (f"version = 1\n{RULE}", "line 2, column 1: allow.methods: it is missing"),
        (f'version = 1\n{RULE}methods = ["exec"]', "line 2, column 1: allow: exec needs"),
        (f'version = 1\n{RULE}methods = ["fly"]', "line 5, column 1: allow.methods: there is no method 'fly'"),
        (f'version = 1\n{RULE}methods = []', "line 5, column 1: allow.methods: it must not be empty"),
        (f'version = 1\n{RULE}methods = ["exec"]\ncommands = ["make"]', "line 6, column 1: allow.commands: 'make'"),
        (f'version = 1\n{RULE}methods = ["exec"]\ncommands = ["/a/../b"]', "line 6, column 1: allow.commands"),
        (f'version = 1\n{RULE}methods = ["ping"]\nseconds = 1.5', "line 6, column 1: allow.seconds"),
        (f'version = 1\n{RULE}methods = ["ping"]\npty = 1', "line 6, column 1: allow.pty"),
        (f'version = 1\n{RULE}methods = ["ping"]\napproval = "nobody"', "line 6, column 1: allow.approval"),
        (f'version = 1\n{RULE}methods = ["ping"]\nplaces = ["host"]', "line 2, column 1: allow: the place `host`"),
        (f'version = 1\n{RULE}methods = ["ping"]\nuser = "b"', "line 2, column 1: allow: `user` is for the places"),
        (f'version = 1\n{RULE}methods = ["ping"]\nnetwork = true', "line 2, column 1: allow: `network` is for"),
        (f'version = 1\n{RULE}methods = ["ping"]\nuser = "0"', "line 6, column 1: allow.user"),
        (f'version = 1\n{RULE}methods = ["ping"]\n{RULE}methods = [\n "x",\n]', "line 9, column 1: allow.methods"),
        ("version = 1\nx = ", "line 2, column 5"),
        ('version = 1\n[limits\n', "line 2, column 8"),
        ("version = 1\nversion = 1", "line 2, column 12"),
    ],
)  # fmt: skip
def test_a_mistake_has_its_line_and_column(text: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as raised:
        Policy.load(file)
    assert f"policy.toml, {said}" in str(raised.value)


def test_a_file_is_read_anew_when_it_changes_and_one_with_a_mistake_grants_nothing(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    policy = PolicyFile(file)
    nothing = policy.now()
    assert nothing is not None
    assert (nothing.allow, policy.problem) == ((), "")
    file.write_text(TEXT)
    found = policy.now()
    assert found is not None
    assert len(found.allow) == 2
    assert policy.now() is found, "it is read once"
    for broken in (b"version =", b"\xff", b"#" * 300_000):
        file.write_bytes(broken)
        assert policy.now() is None
        assert policy.problem
    file.with_name("new").write_text(TEXT)
    os.replace(file.with_name("new"), file)
    assert policy.now() is not None
    assert policy.problem == ""


def test_rules_that_stand_in_one_line_are_two() -> None:
    rule = '{peers=["a"], rooms=["*"], methods=["ping"], approval="%s"}'
    policy = Policy.read(
        "version = 1\nallow = [" + rule % "people" + ", " + (rule % "none").replace('"a"', '"laptop"') + "]"
    )
    found = decide(policy, ANN, ROOM, "ping", {}, Facts())
    assert (found.allowed, found.approval, found.line) == (True, None, "line 2")


@pytest.mark.parametrize(
    "name", ["PATH", "LD_PRELOAD", "ld_preload", "MY_API_KEY", "DB_PASSWORD", "A=B", "", "X\0", "GIT_SSH_COMMAND"]
)
def test_variables_that_no_policy_grants(name: str) -> None:
    assert is_never_granted(name)


def test_folders_are_compared_by_whole_names() -> None:
    assert is_within("/a/b", ["/a"])
    assert is_within("/a", ["/a"])
    assert is_within("/x", ["/"])
    for path in ("/ab", "/a/../b", "a", "", "/a\0"):
        assert not is_within(path, ["/a"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["argv", "env", "cwd", "timeout", "pty", "stdin", "place", "tool"]), JSON),
    st.builds(Facts, st.text(max_size=12), st.text(max_size=12), st.lists(st.text(max_size=9)).map(tuple)),
)
def test_whatever_is_asked_for_is_decided_and_never_granted_by_chance(params: dict[str, Any], facts: Facts) -> None:
    for method in ("exec", "call", "share.put", "fly"):
        assert not decide(POLICY, ANN, ROOM, method, params, facts).allowed


@given(st.text(alphabet='version=1[]allowpers"\n #*.{}', max_size=60) | st.text(max_size=40))
def test_any_text_is_a_policy_or_a_mistake_with_its_place(text: str) -> None:
    try:
        Policy.read(text)
    except PolicyMistake as error:
        assert str(error).startswith("line ")
