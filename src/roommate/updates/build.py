"""Making a release: its tree, its environment out of the lock with hashes checked, and its own opinion of itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from roommate.errors import UpdateError
from roommate.updates.programs import run, work
from roommate.updates.releases import About, Install, Release
from roommate.updates.repository import Commit, Repository

INSTALL_SECONDS = 900.0
CHECK_SECONDS = 120.0
IMAGE_SECONDS = 3600.0


def build(install: Install, repository: Repository, commit: Commit, uv: Path, patience: float = 1.0) -> Release:
    """The release of a commit, made unless it is there; what an earlier attempt left is made anew.

    On a slow host everything may take `patience` times as long as on others.

    Raises UpdateError.
    """
    release = install.release(commit.id)
    if release.about is not None:
        if not _is_sound(release, CHECK_SECONDS * patience):  # the Python that it was made with is gone
            _environment(release, install.current, uv, INSTALL_SECONDS * patience)
        return release
    _delete(release.path)
    repository.export(commit.id, release.path)
    _environment(release, install.current, uv, INSTALL_SECONDS * patience)
    release.finish(About(commit.id, commit.subject, commit.day, time.time()))
    return release


def knows(release: Release, patience: float = 1.0) -> int:
    """Up to which version of the database a release can read it. Raises UpdateError."""
    look = "from roommate.store.migrations import STEPS; print(len(STEPS))"
    said = run([release.python, "-I", "-c", look], "asking it what it can read", seconds=CHECK_SECONDS * patience)
    return int(said)


def check(release: Release, root: Path, patience: float = 1.0, state: Sequence[str] = ()) -> None:
    """Ask a release, in a process of its own, whether it can run here. Raises UpdateError with what it says.

    `state` are settings (``NAME=value``) for it alone, that have it look at another state.
    """
    work(
        ["env", "-C", root, "-u", "PYTHONDONTWRITEBYTECODE", *state, release.program, "self-check"],
        "the self-check",
        seconds=CHECK_SECONDS * patience,
    )


def image(release: Release, root: Path, patience: float = 1.0) -> None:
    """Have a release make the rooms' image, which takes a second when its recipe is the same. Raises UpdateError."""
    seconds = IMAGE_SECONDS * patience
    work(["env", "-C", root, release.program, "image", "build"], "making the image", seconds=seconds)


def _is_sound(release: Release, seconds: float) -> bool:
    """Its Python runs, and is of the version that the packages were installed for. The same as in scripts/python.sh."""
    look = "import os, sysconfig; os.listdir(sysconfig.get_path('purelib'))"
    try:
        looked = subprocess.run([release.python, "-c", look], capture_output=True, check=False, timeout=seconds)
        return looked.returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _environment(release: Release, like: Release | None, uv: Path, seconds: float) -> None:
    """Made from the one of release `like` where there is one: by hard links, so that only what differs is installed,
    and what Python compiled for it is there as well. It gets its place when it is whole: what is there is taken for
    sound where its Python runs."""
    place, coming = release.path / ".venv", release.path / ".venv.coming"
    doing = "making the environment"
    _delete(coming)
    if like is not None and like != release and _is_sound(like, seconds):
        work(["cp", "--archive", "--link", like.path / ".venv", coming], doing, seconds=seconds)
    else:
        # Its programs find it by where they are, so that it can be copied.
        python = sys._base_executable  # type: ignore[attr-defined]  # without an environment; Python has no other word
        work([uv, "venv", "--quiet", "--relocatable", "--python", python, coming], doing, seconds=seconds)
    lock = release.path / "requirements.lock"
    if not lock.exists():
        raise UpdateError("this commit has no requirements.lock")
    into = ("--quiet", "--python", coming / "bin" / "python")
    sync = ("env", "UV_SYSTEM_CERTS=1", uv, "pip", "sync", *into)  # as scripts/python.sh has it
    work([*sync, "--require-hashes", lock], "installing what the lock says", seconds=seconds)
    package = ("--no-deps", "--no-build-isolation", "--editable", release.path)
    work([uv, "pip", "install", *into, *package], "installing Roommate", seconds=seconds)
    _delete(place)
    coming.rename(place)


def _delete(folder: Path) -> None:
    """If it is there."""
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UpdateError(
            f"what an earlier attempt left cannot be deleted: {folder}: {error.filename}: {error.strerror}"
        ) from error
