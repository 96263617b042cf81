"""The rooms' seccomp profile, derived from any default one."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from roommate.sandbox import seccomp

SYSCALLS = (
    "read",
    "mount",
    "unshare",
    "clone",
    "clone3",
    "socket",
    "ptrace",
    "io_uring_setup",
    "openat",
    "bpf",
    "exit",
)
rules = st.fixed_dictionaries(
    {
        "names": st.lists(st.sampled_from(SYSCALLS), max_size=4),
        "action": st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"]),
    },
    optional={"includes": st.just({"caps": ["CAP_SYS_ADMIN"]}), "args": st.just([])},
)
profiles = st.fixed_dictionaries({"defaultAction": st.just("SCMP_ACT_ERRNO"), "syscalls": st.lists(rules, max_size=6)})


def allowed(profile: dict[str, Any]) -> set[str]:
    return {name for rule in profile["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}


@given(profiles)
def test_it_only_takes_away(default: dict[str, Any]) -> None:
    before = copy.deepcopy(default)
    derived = seccomp.derive(default)
    assert default == before
    assert allowed(derived) <= allowed(default) | {"clone", "socket", "prlimit64"}
    assert not allowed(derived) & {"mount", "unshare", "clone3", "ptrace", "io_uring_setup", "bpf"}
    assert allowed(default) - allowed(derived) <= {"mount", "unshare", "clone3", "ptrace", "io_uring_setup", "bpf"}
    assert derived["defaultAction"] == default["defaultAction"]


@given(profiles)
def test_some_are_allowed_only_with_conditions(default: dict[str, Any]) -> None:
    for rule in seccomp.derive(default)["syscalls"]:
        if {"clone", "socket", "prlimit64"} & set(rule["names"]):
            assert rule["action"] == "SCMP_ACT_ALLOW"
            assert rule["args"]


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    default = tmp_path / "default.json"
    default.write_text(
        json.dumps({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW"}]})
    )
    assert seccomp.write(default, tmp_path / "new" / "ours.json")
    written = json.loads((tmp_path / "new" / "ours.json").read_text())
    assert allowed(written) == {"read", "clone", "socket", "prlimit64"}


def test_no_default_no_profile(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert not seccomp.write(tmp_path / "missing.json", tmp_path / "ours.json")
    assert not seccomp.write(broken, tmp_path / "ours.json")
    assert not (tmp_path / "ours.json").exists()
