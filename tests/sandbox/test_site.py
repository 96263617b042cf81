"""A site's own mirrors, certificates and passwords: used in a build, and what of them a room needs."""

from __future__ import annotations

import configparser
import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from roommate.sandbox import mirrors_and_certificates
from roommate.sandbox.image import build
from tests.sandbox_image import podman, printed

NAME = "localhost/roommate:site"
SECRET = "hunter2"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The files of a host that has mirrors of its own, with passwords."""
    root = tmp_path / "root"
    for name, text in {
        "etc/pip.conf": f"[global]\nindex-url = https://bob:{SECRET}@mirror.example/pip/simple\nfind-links = /wheels\n"
        "timeout = 60\n[list]\nformat = columns\n",
        "home/.config/pip/pip.conf": "[install]\nextra_index_url = file:///wheels https://extra.example/simple\n",
        "etc/npmrc": f"registry=https://mirror.example/npm/\n//mirror.example/npm/:_authToken={SECRET}\ncolor=false\n",
        "home/.npmrc": "@acme:registry = https://acme.example/npm/\n//acme.example/npm/:_authToken=${ACME}\n"
        "cafile=/etc/ours.crt\n",
        "etc/apt/sources.list": f"deb [signed-by={tmp_path}/key.gpg] http://mirror.example/debian bookworm main\n",
        "etc/apt/auth.conf": f"machine mirror.example login bob password {SECRET}\n",
        "etc/ssl/certs/ca-certificates.crt": "the certificates of this host\n",
        "ours.crt": "our certificate\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (tmp_path / "key.gpg").write_bytes(b"\x99key")
    return root


ENVIRONMENT = {"HOME": "/home", "ACME": SECRET, "PIP_CERT": "/ours.crt", "PIP_RETRIES": "7", "PATH": "/bin"}


def test_a_build_gets_what_the_site_knows(root: Path, tmp_path: Path) -> None:
    found = mirrors_and_certificates.read(root, ENVIRONMENT, "bookworm", ['Acquire::Retries "3";'])
    assert found.pip == {
        "index-url": f"https://bob:{SECRET}@mirror.example/pip/simple",
        "extra-index-url": "https://extra.example/simple",
        "timeout": "60",
        "retries": "7",
    }
    assert found.npm == {
        "registry": "https://mirror.example/npm/",
        "//mirror.example/npm/:_authToken": SECRET,
        "@acme:registry": "https://acme.example/npm/",
        "//acme.example/npm/:_authToken": SECRET,
    }
    folder = tmp_path / "site"
    found.lay_out(folder, "here.sh")
    assert "our certificate" in (folder / "ca.crt").read_text()
    assert "the certificates of this host" in (folder / "ca.crt").read_text()
    assert (folder / "sources.list").read_text().startswith("deb [signed-by=/mnt/keys/key.gpg] http://mirror.example")
    assert (folder / "keys" / "key.gpg").read_bytes() == b"\x99key"
    assert 'Acquire::Retries "3";' in (folder / "apt.conf").read_text()
    parser = configparser.RawConfigParser()
    parser.read(folder / "pip.conf")
    assert parser["global"]["cert"] == "/mnt/ca.crt"
    assert {path.name for path in folder.rglob("*") if path.is_file() and SECRET in path.read_text("latin-1")} == {
        "pip.conf",
        "npmrc",
        "netrc",
    }
    assert {(folder / name).stat().st_mode & 0o777 for name in ("pip.conf", "npmrc", "netrc")} == {0o600}
    assert SECRET not in repr(found)


def test_in_the_image_stays_only_where_the_mirrors_are(root: Path) -> None:
    assert mirrors_and_certificates.read(root, ENVIRONMENT, "bookworm", []).stays == {
        "etc/pip.conf": "[global]\nindex-url = https://mirror.example/pip/simple\n"
        "extra-index-url = https://extra.example/simple\n",
        "etc/uv/uv.toml": 'index-url = "https://mirror.example/pip/simple"\n'
        'extra-index-url = ["https://extra.example/simple"]\n',
        "etc/npmrc": "registry=https://mirror.example/npm/\n@acme:registry=https://acme.example/npm/\n",
    }


def test_the_environment_wins(root: Path) -> None:
    environment = ENVIRONMENT | {"PIP_INDEX_URL": "https://mine.example/", "npm_config_registry": "https://my.example/"}
    found = mirrors_and_certificates.read(root, environment, "", [])
    assert found.pip["index-url"] == "https://mine.example/"
    assert found.npm["registry"] == "https://my.example/"


def test_a_host_with_nothing_of_its_own_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "pip.conf").write_text("no section\n")
    found = mirrors_and_certificates.read(tmp_path, {}, "", [])
    assert (found.pip, found.npm, found.stays, found.certificates) == ({}, {}, {}, ())


@pytest.fixture
def removed() -> Iterator[None]:
    yield
    podman("image", "rm", "--ignore", NAME, f"{NAME}.unfinished")


@contextlib.contextmanager
def files_of(name: str) -> Iterator[Path]:
    """The image's files."""
    mounted = podman("image", "mount", name)
    try:
        yield Path(mounted)
    finally:
        subprocess.run(("podman", "image", "umount", name), check=True, capture_output=True)


async def test_a_build_uses_it_and_forgets_it(
    tmp_path: Path, image: str, monkeypatch: pytest.MonkeyPatch, removed: None
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"https://bob:{SECRET}@mirror.example/simple")
    ours = tmp_path / "ours.crt"
    ours.write_text("our very own certificate\n")
    monkeypatch.setenv("PIP_CERT", str(ours))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".npmrc").write_text(f"registry=https://bob:{SECRET}@mirror.example/npm/\n")
    recipe = tmp_path / "Containerfile"
    recipe.write_text(
        f'ARG BASE={image}\nFROM ${{BASE}} AS base\nARG PACKAGES="hello"\nARG SITE\nUSER root\n'
        'RUN : look; . "$SITE" && grep -q hunter[2] "$PIP_CONFIG_FILE" && grep -q hunter[2] "$NPM_CONFIG_USERCONFIG" '
        '&& grep -q "our very ow[n]" "$SSL_CERT_FILE" && apt-config dump | grep -q /mnt/ca.crt\n'
    )
    await build(NAME, containerfile=recipe, step=printed)  # the patterns do not match themselves in its history
    assert SECRET not in podman("history", "--no-trunc", NAME)
    assert SECRET not in podman("image", "inspect", NAME)
    with files_of(NAME) as files:
        found = subprocess.run(
            ["grep", "-rlE", f"{SECRET}|our very own", "etc", "mnt", "root", "home", "opt", "run", "tmp", "usr/local"],
            cwd=files, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (found.returncode, found.stdout) == (1, "")
        assert (files / "etc" / "pip.conf").read_text() == "[global]\nindex-url = https://mirror.example/simple\n"
        assert (files / "etc" / "npmrc").read_text() == "registry=https://mirror.example/npm/\n"
        assert list((files / "mnt").iterdir()) == []
