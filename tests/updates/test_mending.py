"""The Python under an installation goes, as an upgrade of the distribution does it: nothing is a dead end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import ROOMMATE, no_settings
from tests.updates.installed import REPOSITORY, Remote, installed_in

SCRIPTS = REPOSITORY / "scripts"


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Remote:
    return Remote(tmp_path_factory.mktemp("remote") / "roommate")


@pytest.fixture(scope="module")
def installed(remote: Remote) -> Iterator[Path]:
    """With two releases, none of which runs."""
    with tempfile.TemporaryDirectory(prefix="root-") as folder:
        root = installed_in(Path(folder), remote)
        (root / ".env").write_text(f"STATE_DIR={root}/state\nSANDBOX_IMAGE=registry.invalid/room\n")
        (root / "state").mkdir(mode=0o700)
        remote.commit("Something new")
        done(ROOMMATE, "update", "--root", root)
        yield root


def done(*command: str | Path, folder: Path | None = None) -> str:
    """stdout and stderr of what must work."""
    ended = run(*command, folder=folder)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


def run(*command: str | Path, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=no_settings(), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def lose(release: Path) -> None:
    """The file is gone that its Python was."""
    python = release.resolve() / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/usr/bin/python3.gone")
    assert works(release) is False


def change(release: Path) -> None:
    """Its Python is another minor version by now, which looks for packages in another folder."""
    [packages] = (release.resolve() / ".venv" / "lib").glob("python3.*")
    packages.rename(packages.with_name("python3.9"))
    assert works(release) is False


def works(release: Path) -> bool:
    return run("sh", "-c", 'exec "$0" --version', release / ".venv" / "bin" / "roommate").returncode == 0


def name(root: Path, link: str) -> str:
    return (root / link).readlink().name


def test_a_release_gets_another_python(installed: Path) -> None:
    current = installed / "current"
    lose(current)
    said = done("sh", SCRIPTS / "mend.sh", current, "echo", "and", "then")
    assert "making its environment anew" in said
    assert said.endswith("and then\n")
    assert works(current)
    assert done("sh", SCRIPTS / "mend.sh", current) == "", "nothing is left to do"
    assert "self-check" not in done(current / ".venv" / "bin" / "roommate", "self-check", folder=installed)
    assert {path.name for path in current.resolve().glob(".venv*")} == {".venv"}


def test_back_to_a_release_whose_python_is_gone(installed: Path) -> None:
    before, after = name(installed, "previous"), name(installed, "current")
    lose(installed / "previous")
    done(installed / "current" / ".venv" / "bin" / "roommate", "rollback", "--root", installed)
    assert (name(installed, "current"), name(installed, "previous")) == (before, after)
    assert works(installed / "current")


def test_a_new_release_beside_one_whose_python_is_gone(installed: Path, remote: Remote) -> None:
    change(installed / "current")
    new = remote.commit("Something newer")
    done(ROOMMATE, "update", "--root", installed)
    assert name(installed, "current") == new
    assert works(installed / "current")


def test_what_systemd_does_when_it_has_given_up(installed: Path) -> None:
    """The Python is gone under all releases: the current one is mended, and stays. Else the one before takes over."""
    before, after = name(installed, "previous"), name(installed, "current")
    done("sh", SCRIPTS / "mend.sh", installed / "previous")
    for link in ("previous", "current"):
        lose(installed / link)
    rescue = (installed / "previous" / "scripts" / "rescue.sh", installed)
    assert "making its environment anew" in done("sh", *rescue)
    assert (name(installed, "current"), name(installed, "previous")) == (after, before)
    assert works(installed / "current")
    assert "making its environment anew" in done("sh", *rescue), "of the one before, which is to do it"
    assert (name(installed, "current"), name(installed, "previous")) == (before, after)
    assert run("sh", *rescue).returncode == 1, "there is nothing better to go back to"
    assert name(installed, "current") == before
    journal = json.loads((installed / "state" / "update.json").read_text())
    assert journal["step"] == "done"


def test_setup_makes_the_environment_of_a_clone_anew(tmp_path: Path, remote: Remote) -> None:
    clone = tmp_path / "clone"
    shutil.copytree(remote.folder, clone, ignore=shutil.ignore_patterns(".git"))
    done("scripts/setup", folder=clone)
    assert done("scripts/setup", folder=clone) == ""
    change(clone)
    assert "ready" in done("scripts/setup", folder=clone)
    assert works(clone)
    assert list(clone.glob(".venv-tools*")) == []


STATUSES = {"1": True, "127": True, "ABRT": True, "": True, "75": False, "77": False, "78": False}


@pytest.mark.parametrize("told", [True, False], ids=["told by systemd", "asked for, before systemd 251"])
@pytest.mark.parametrize("status", STATUSES)
def test_what_is_no_reason_to_go_back(status: str, told: bool, tmp_path: Path) -> None:
    """The condition in the unit, as systemd has it executed."""
    unit = (REPOSITORY / "systemd" / "roommate-rollback.service").read_text()
    found = re.search(r"^ExecCondition=/bin/sh -c '(.*)'$", unit, re.MULTILINE)
    assert found
    systemctl = tmp_path / "systemctl"
    asked = "--user show --property ExecMainStatus --value roommate.service"
    systemctl.write_text(f'#!/bin/sh\n[ "$*" = "{asked}" ] && echo {status}\n')
    systemctl.chmod(0o755)
    script = found[1].replace("@SYSTEMCTL@", f"{systemctl} --user").replace("$$", "$")
    environment = {**os.environ, "MONITOR_EXIT_STATUS": status} if told else dict(os.environ)
    ended = subprocess.run(("/bin/sh", "-c", script), env=environment, check=False)
    assert (ended.returncode == 0) == STATUSES[status]
