"""What the repository itself promises: the example of the settings is true, and no site is written into a file."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

from roommate.settings import config

ROOT = Path(__file__).parents[1]


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name]


def test_the_example_of_the_settings_is_true() -> None:
    assert (ROOT / ".env.example").read_text() == config.example(), (
        "anew: python -c 'from roommate.settings import config; print(config.example(), end=\"\")' >.env.example"
    )


def test_no_site_is_written_into_a_file() -> None:
    """Mirrors differ from site to site, and so do home folders: pip, npm, apt and podman know theirs."""
    registry = re.compile(
        r"py" r"pi\.org|python" r"hosted\.org|registry\.npm" r"js\.org|deb\.debian" r"\.org|archive\.ubuntu" r"\.com"
        r"|quay" r"\.io|ghcr" r"\.io|file:/" r"//opt|/work/" r"(?:main|shared)"
    )  # fmt: skip
    found = []
    for path in tracked():
        try:
            lines = path.read_text().splitlines()
        except (UnicodeDecodeError, FileNotFoundError):
            continue
        found += [
            f"{path.relative_to(ROOT)}:{n}: {line[:100]}" for n, line in enumerate(lines, 1) if registry.search(line)
        ]
    assert not found, "\n".join(found)


def test_every_pin_has_a_hash() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pins = re.split(r"\n(?=[a-z0-9])", lock)
    assert len(pins) > 50
    assert [pin for pin in pins if not re.match(r"[\w.-]+==\S+", pin) or "--hash=sha256:" not in pin] == []


def test_the_lock_has_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^\w.-]", line)[0].lower() for lines in wanted for line in lines}
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    assert names - pinned == set(), "run scripts/lock"
