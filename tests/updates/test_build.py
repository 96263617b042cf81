"""Making a release: who is killed in the middle leaves nobody at work in it, so that the next one begins anew."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from roommate.errors import UpdateError
from roommate.updates.build import build
from roommate.updates.releases import Install, Release
from roommate.updates.repository import Repository
from tests.patience import until
from tests.updates.test_repository import Somewhere

MAKES = """
import sys
from pathlib import Path
from roommate.updates.build import build
from roommate.updates.releases import Install
from roommate.updates.repository import Repository
repository = Repository(Path(sys.argv[1]))
build(Install(Path(sys.argv[2])), repository, repository.told(sys.argv[3]), Path(sys.argv[4]))
"""


@pytest.fixture
def mirror(tmp_path: Path) -> tuple[Repository, str]:
    """With one commit, by its id."""
    remote = Somewhere(tmp_path)
    repository = Repository(tmp_path / "mirror.git")
    repository.set_remote(str(remote.folder))
    repository.fetch()
    return repository, remote.first


async def test_an_updater_that_is_killed_takes_along_what_works_for_it(
    mirror: tuple[Repository, str], tmp_path: Path
) -> None:
    _, commit = mirror
    install = (tmp_path / "mirror.git", tmp_path / "root", commit, tmp_path / "uv")
    (tmp_path / "uv").write_text(f"#!/bin/sh\necho $$ >{tmp_path}/new && mv {tmp_path}/new {tmp_path}/pid\nsleep 600\n")
    (tmp_path / "uv").chmod(0o700)
    updater = await asyncio.create_subprocess_exec(sys.executable, "-c", MAKES, *map(str, install))
    await until((tmp_path / "pid").exists, "the environment being made")
    working = int((tmp_path / "pid").read_text())
    updater.kill()
    await updater.wait()
    await until(lambda: not _lives(working), "the end of what made the environment")


def _lives(process: int) -> bool:
    try:
        return b") Z " not in Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return False


UV = """#!/bin/sh
for last; do :; done
case "$1 $2" in
venv*) /usr/bin/python3 -m venv --without-pip "$last" ;;
"pip sync")
    [ -e {folder}/index ] || {{ echo "the index is not reached" >&2; exit 1; }}
    "$5" -c 'import sysconfig; open(sysconfig.get_path("purelib") + "/installed", "w").close()' ;;
esac
"""
"""As much of it as making an environment needs: packages come of an index that is reached or not."""


def test_an_environment_that_could_not_be_made_whole_is_made_anew(tmp_path: Path) -> None:
    """What failed half-way has a Python that runs, and not what the lock says."""
    remote, repository = Somewhere(tmp_path), Repository(tmp_path / "mirror.git")
    (remote.folder / "requirements.lock").touch()
    remote.git("add", "--all")
    first = remote.commit("with a lock")
    repository.set_remote(str(remote.folder))
    repository.fetch()
    install, uv, index = Install(tmp_path / "root"), tmp_path / "uv", tmp_path / "index"
    uv.write_text(UV.format(folder=tmp_path))
    uv.chmod(0o700)
    index.touch()
    release = build(install, repository, repository.told(first), uv)
    assert _installed(release)
    release.python.unlink()
    release.python.symlink_to("/usr/bin/python3.gone")
    index.unlink()
    for _ in range(2):
        with pytest.raises(UpdateError, match="the index is not reached"):
            build(install, repository, repository.told(first), uv)
    index.touch()
    build(install, repository, repository.told(first), uv)
    assert release.python.exists()
    assert _installed(release)
    assert [path.name for path in release.path.glob(".venv*")] == [".venv"]


def _installed(release: Release) -> bool:
    return any(release.path.glob(".venv/lib/*/site-packages/installed"))


async def test_what_cannot_be_deleted_is_said(mirror: tuple[Repository, str], tmp_path: Path) -> None:
    repository, commit = mirror
    install = Install(tmp_path / "root")
    stuck = install.release(commit).path / "stuck"
    stuck.mkdir(parents=True)
    await _output("mount", "-t", "tmpfs", "none", stuck)
    try:
        with pytest.raises(UpdateError, match=r"what an earlier attempt left cannot be deleted: .*stuck"):
            build(install, repository, repository.told(commit), tmp_path / "uv")
    finally:
        await _output("umount", stuck)


async def _output(*command: str | Path) -> None:
    process = await asyncio.create_subprocess_exec(*(str(word) for word in command))
    assert await process.wait() == 0
