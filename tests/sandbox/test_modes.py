"""Whatever the umask is, a room's user gets at what a room needs, nobody else at anything; doctor would see it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from roommate.host import folder_modes
from roommate.sandbox.agent_hooks import shipped
from roommate.sandbox.trial_container import FACTS
from tests.sandbox.conftest import ROOM, Make, sh

USE = """
set -e
test -z "$(ls /run/spool/in)" && ls -R /run/room /etc/claude-code >/dev/null
cat /run/room/hand.py /run/room/certificates.pem /run/hooks/report.py /etc/hosts >/dev/null
sh /run/hooks/wrapper claude session-start </dev/null
for place in /workspace /home/room /run/spool/out /tmp /dev/shm; do echo text >$place/x; rm $place/x; done
"""


@pytest.fixture(params=[0o077, 0o022, 0], ids=lambda mask: f"{mask:03o}")
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


async def test_a_room_works_under_any_umask(umask: int, make: Make, place: Path) -> None:
    shutil.rmtree(place / "state")
    said = await sh(await make().hand(ROOM), USE)
    assert said.exit.code == 0, said
    assert {stat.S_IMODE((place / name).stat().st_mode) for name in ("state", "run", "state/rooms")} == {0o700}


async def test_what_an_older_release_shut_is_opened(make: Make, place: Path) -> None:
    sandboxes = make()
    await sandboxes.hand(ROOM)
    await sandboxes.stop(ROOM)
    await sandboxes.close()
    (run,) = [path for path in (place / "run").iterdir() if path.is_dir()]
    for path in (run, *run.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    said = await sh(await make().hand(ROOM), USE)
    assert said.exit.code == 0, said


async def test_hooks_run_where_programs_may_not(make: Make, place: Path) -> None:
    """IPC_BASE_DIR below /run, which some distributions mount so."""
    (place / "run").mkdir(mode=0o700)
    subprocess.run(("mount", "-t", "tmpfs", "-o", "noexec", "tmpfs", place / "run"), check=True)
    sandboxes = make()
    try:
        settings = json.loads((shipped() / "settings/claude-code/managed-settings.json").read_text())
        command = settings["hooks"]["SessionStart"][0]["hooks"][0]["command"]
        said = await sh(await sandboxes.hand(ROOM), f"echo '{{}}' | {command}; code=$?; ls /run/spool/out; exit $code")
        assert said.exit.code == 0, said
        assert "hook-errors" not in said.text
    finally:
        await sandboxes.close()
        subprocess.run(("umount", "--lazy", place / "run"), check=True)


def test_the_trial_names_what_a_room_could_not_get_at() -> None:
    """Run as who works in a room, on folders that are as a umask would leave them."""
    there = Path(tempfile.mkdtemp(prefix="trial-", dir="/var/tmp"))
    try:
        there.chmod(0o777)
        shut, full = there / "shut", there / "full"
        for folder in (shut, full):
            folder.mkdir()
            (folder / "file").write_text("text")
        shut.chmod(0o700)
        (full / "file").chmod(0o600)
        who = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups")
        python = (shutil.which("python3", path="/usr/bin:/usr/local/bin:/bin") or "", "-I", "-S", "-c", FACTS)
        subprocess.run((*who, *python, f"{shut} {full}", f"{there} {full}"), cwd=there, check=True)
        found = json.loads((there / "facts.json").read_text())["shut"]
        assert found == [f"{path} (Permission denied)" for path in (shut, full / "file", full)]
    finally:
        shutil.rmtree(there)


def test_a_private_folder_is_private_all_the_way(umask: int, tmp_path: Path) -> None:
    there = tmp_path / "there"
    folder_modes.readable(there)
    folder_modes.private(there / "made" / "deep")
    folder_modes.private(there / "made" / "deep")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (there, there / "made", there / "made" / "deep")]
    assert modes == [0o755, 0o700, 0o700]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        folder_modes.private(tmp_path / "file")
