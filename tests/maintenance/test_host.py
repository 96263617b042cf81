"""What doctor says of this host's systemd, backups and folders."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from roommate.domain import Check
from roommate.maintenance import installation_checks
from roommate.sandbox.container_spec import Limits
from roommate.sandbox.doctor import limits_seen
from roommate.settings import config
from roommate.settings.config import Settings


def settings_in(folder: Path) -> Settings:
    return config.load(None, state_dir=folder / "state")


def check_of(settings: Settings, what: str) -> Check:
    return next(check for check in installation_checks.checks(settings) if check.what == what)


@pytest.mark.parametrize(
    ("printed", "level", "words"),
    [
        ("loaded enabled active", "ok", "loaded, enabled, active"),
        ("loaded disabled active", "warn", "disabled"),
        ("loaded enabled failed", "warn", "failed"),
        ("not-found  inactive", "ok", "there is no roommate.service"),
    ],
)
def test_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, printed: str, level: str, words: str) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\nprintf '%s\\n' {printed}\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = check_of(settings_in(tmp_path), "systemd")
    assert (found.level, words in found.found) == (level, True), found
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert "not here" in check_of(settings_in(tmp_path), "systemd").found


def test_backups_have_an_age(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    assert check_of(settings, "backup").level == "ok", "there is nothing to back up"
    settings.backups.mkdir(parents=True)
    (settings.state_dir / "roommate.db").touch()
    assert check_of(settings, "backup").level == "warn"
    for days, level in ((5, "warn"), (1, "ok")):
        name = time.strftime("roommate-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime(time.time() - days * 86_400))
        (settings.backups / name).touch()
        assert check_of(settings, "backup").level == level


def test_a_folder_that_is_too_deep_for_sockets(tmp_path: Path) -> None:
    found = check_of(config.load(None, state_dir=tmp_path, ipc_base_dir=tmp_path / ("x" * 80)), "socket")
    assert (found.level, "IPC_BASE_DIR" in found.mend) == ("fail", True)


def test_only_a_socket_is_removed_as_one_that_nobody_listens_on(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    settings.run_dir.mkdir(parents=True, mode=0o700)
    path = settings.run_dir / "daemon.sock"
    path.write_text("somebody's")
    found = check_of(settings, "socket")
    assert (found.level, "no socket" in found.found) == ("fail", True), found
    installation_checks.fix(settings)
    assert path.read_text() == "somebody's"
    path.unlink()
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    assert check_of(settings, "socket").level == "warn"
    installation_checks.fix(settings)
    assert not path.exists()


@pytest.mark.parametrize(
    ("printed", "levels"),
    [
        ("memory 1073741824\ncpu 200000 100000\npids 512\n", ["ok", "ok", "ok"]),
        ("memory max\ncpu max 100000\npids 512\n", ["warn", "warn", "ok"]),
        ("memory 9223372036854771712\ncpu -1 100000\npids max\n", ["warn", "warn", "warn"]),
        ("", ["warn", "warn", "warn"]),
    ],
)
def test_limits_as_a_container_has_them(printed: str, levels: list[str]) -> None:
    limits = Limits(memory_mb=1024, cpus=2, pids=512, workspace_mb=0)
    assert [check.level for check in limits_seen(printed, limits)] == levels
