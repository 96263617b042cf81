"""Podman's configuration as rooms need it: what the host has, in Podman's order, and what is ours."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from roommate.errors import EngineError
from roommate.sandbox import containers_conf
from roommate.sandbox.host_capabilities import SETUPS


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CONTAINERS_CONF", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def put(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_what_the_host_has_stays(root: Path) -> None:
    put(root / "usr/share/containers/containers.conf", '[engine]\nruntime = "crun"\nenv = ["A=1"]\n')
    put(
        root / "etc/containers/containers.conf", '[engine]\ncgroup_manager = "cgroupfs"\n[containers]\nkeyring = true\n'
    )
    put(root / "etc/containers/containers.conf.d/20-b.conf", '[engine.runtimes]\nkata = ["/usr/bin/k a \\"ta"]\n')
    put(
        root / "etc/containers/containers.conf.d/10-a.conf",
        '[engine]\nruntime = "runc"\nenv = ["B=2", {append=true}]\n',
    )
    put(root / "config/containers/containers.conf", "[containers]\npids_limit = 7\nlog_size_max = -1\n")
    assert tomllib.loads(containers_conf.text(None, root)) == {
        "engine": {
            "runtime": "runc",
            "env": ["A=1", "B=2", {"append": True}],
            "cgroup_manager": "cgroupfs",
            "runtimes": {"kata": ['/usr/bin/k a "ta']},
        },
        "containers": {"keyring": False, "pids_limit": 7, "log_size_max": -1},
    }


def test_a_file_that_somebody_named_is_the_only_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(root / "etc/containers/containers.conf", '[engine]\nruntime = "crun"\n')
    named = put(root / "named", '[engine]\nevents_logger = "file"\n')
    monkeypatch.setenv("CONTAINERS_CONF", str(named))
    assert tomllib.loads(containers_conf.text(None, root)) == {
        "engine": {"events_logger": "file"},
        "containers": {"keyring": False},
    }


def test_one_that_cannot_be_read_is_named(root: Path) -> None:
    path = put(root / "etc/containers/containers.conf", "[engine\n")
    with pytest.raises(EngineError, match=str(path)):
        containers_conf.text(None, root)


@pytest.mark.parametrize("setup", [conf for conf in SETUPS.values() if conf])
def test_ours_are_whole(setup: str) -> None:
    made = tomllib.loads(containers_conf.text(setup))
    assert made.pop("containers") == {"keyring": False}
    assert made == tomllib.loads(setup)
