"""The socket's place on the disk: what is mended, what is refused."""

from __future__ import annotations

import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from roommate.control.socket_file import listen
from roommate.errors import StateError


@pytest.fixture
def run() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="run-") as folder:
        yield Path(folder) / "ipc"


def test_folder_and_socket_are_their_owners_alone(run: Path) -> None:
    path = run / "daemon.sock"
    with listen(path):
        assert stat.S_IMODE(run.stat().st_mode) == 0o700
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with listen(path) as second, socket.socket(socket.AF_UNIX) as caller:  # what is there is stale
        caller.connect(str(path))
        second.accept()


def test_a_folder_that_others_could_look_into_is_closed(run: Path) -> None:
    run.mkdir()
    run.chmod(0o755)
    listen(run / "daemon.sock").close()
    assert stat.S_IMODE(run.stat().st_mode) == 0o700


def test_a_folder_that_others_live_in_is_not_closed(run: Path) -> None:
    """Such as /run, which somebody may have meant by IPC_BASE_DIR."""
    (run / "of-others").mkdir(parents=True)
    run.chmod(0o755)
    with pytest.raises(StateError, match="others may look into"):
        listen(run / "daemon.sock")
    assert stat.S_IMODE(run.stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o722])
def test_a_folder_that_others_may_write_into_is_refused(run: Path, mode: int) -> None:
    run.mkdir()
    run.chmod(mode)
    with pytest.raises(StateError, match="others may write"):
        listen(run / "daemon.sock")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(run: Path) -> None:
    run.mkdir()
    os.chown(run, 65534, 65534)
    with pytest.raises(StateError, match="belongs to user 65534"):
        listen(run / "daemon.sock")


def test_what_is_no_socket_is_left_alone(run: Path) -> None:
    run.mkdir(mode=0o700)
    path, elsewhere = run / "daemon.sock", run / "elsewhere"
    path.write_text("what is this?")
    with pytest.raises(StateError, match="no socket"):
        listen(path)
    assert path.read_text() == "what is this?"
    path.unlink()
    elsewhere.write_text("precious")
    path.symlink_to(elsewhere)
    with pytest.raises(StateError, match="no socket"):
        listen(path)
    assert elsewhere.read_text() == "precious"
    path.unlink()
    path.mkdir()
    with pytest.raises(StateError, match="no socket"):
        listen(path)


def test_a_path_that_is_too_long_names_the_setting(run: Path) -> None:
    with pytest.raises(StateError, match="IPC_BASE_DIR"):
        listen(run / ("long" * 25) / "daemon.sock")
