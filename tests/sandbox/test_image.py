"""The rooms' image: made once, with nothing of this site in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from roommate.errors import EngineError, ImageError
from roommate.sandbox.image import CONTAINERFILE, apt_sources, build, packages
from roommate.sandbox.rooms import RoomSandboxes
from tests.sandbox.conftest import ROOM, sh
from tests.sandbox_image import podman


async def test_the_same_inputs_make_nothing_new(image: str) -> None:
    said: list[str] = []
    made = await build(image, say=said.append)
    assert made.removeprefix("sha256:") == podman("image", "inspect", "--format", "{{.Id}}", image)
    assert said == [f"image {image} is up to date"]


async def test_its_tools_are_there(lodge: RoomSandboxes) -> None:
    hand = await lodge.hand(ROOM)
    for tool in ("bash", "curl", "file", "git", "jq", "less", "patch", "ps", "python3", "rg", "tree", "unzip", "xz"):
        assert (await sh(hand, f"command -v {tool}")).exit.code == 0, tool
    assert (await sh(hand, "git config user.name && git config user.email")).exit.code == 0


async def test_nothing_of_this_site_is_in_it(lodge: RoomSandboxes) -> None:
    hand = await lodge.hand(ROOM)
    certificates = await sh(
        hand, "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls /usr/share/ca-certificates/mozilla | wc -l"
    )
    in_bundle, of_the_package = certificates.text.split()
    assert in_bundle == of_the_package
    assert (await sh(hand, "ls -A /usr/local/share/ca-certificates")).text == ""
    assert "mmdebstrap" not in (await sh(hand, "ls /etc/apt/apt.conf.d")).text
    sources = await sh(hand, "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null")
    assert "deb" in sources.text
    assert "@" not in sources.text
    assert not [
        name
        for name in podman("image", "inspect", "--format", "{{.Config.Env}}", "localhost/roommate:test").split()
        if "CERT" in name
    ]


def other_recipe(tmp_path: Path, *lines: str, base: str = "localhost/no-such-base:1") -> Path:
    """A Containerfile whose base no registry has."""
    containerfile = tmp_path / "Containerfile"
    containerfile.write_text("\n".join([f"ARG BASE={base}", "FROM ${BASE}", 'ARG PACKAGES="hello"', *lines, ""]))
    return containerfile


async def test_without_registry_and_mmdebstrap_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "podman").write_text('#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin exec podman "$@"\n')
    (programs / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    said: list[str] = []
    with pytest.raises(ImageError, match="apt install mmdebstrap"):
        await build("localhost/roommate:never", containerfile=other_recipe(tmp_path), say=said.append)
    assert "no registry can be reached" in said[-1]


async def test_a_build_that_fails_says_why_and_leaves_no_image(tmp_path: Path, image: str) -> None:
    recipe = other_recipe(tmp_path, "USER root", "RUN echo too bad >&2; exit 3", base=image)
    with pytest.raises(ImageError, match="building localhost/roommate:never failed"):
        await build("localhost/roommate:never", containerfile=recipe, say=print)
    assert podman("image", "ls", "--quiet", "localhost/roommate:never") == ""


async def test_without_podman_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no-podman-here is not installed"):
        await build("localhost/roommate:never", podman="no-podman-here", say=print)
    with pytest.raises(ImageError, match="cannot be read"):
        await build("localhost/roommate:never", containerfile=tmp_path / "none", say=print)


def test_one_list_of_packages() -> None:
    listed = packages(CONTAINERFILE.read_text())
    assert {"python3", "git", "ripgrep", "ca-certificates"} <= set(listed)
    with pytest.raises(ImageError):
        packages("FROM scratch")


def test_the_host_s_own_sources_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://old trixie main\n"
        "deb http://mirror/debian trixie main contrib\n"
        "deb-src http://mirror/debian trixie main\n"
        "deb [arch=amd64 signed-by=/key.gpg] http://mirror/debian trixie-updates main\n"
    )
    (tmp_path / "sources.list.d" / "vendor.list").write_text("deb https://vendor/apt stable main\n")
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        "# a comment\nTypes: deb deb-src\nURIs: http://one http://two\nSuites: trixie-security bookworm\n"
        "Components: main\nSigned-By: /usr/share/keyrings/debian.gpg\n\n"
        "Enabled: no\nTypes: deb\nURIs: http://off\nSuites: trixie\nComponents: main\n\n"
        "Types: deb\nURIs: http://inline\nSuites: trixie\nComponents: main\n"
        "Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abcd=\n -----END PGP PUBLIC KEY BLOCK-----\n"
    )
    assert list(apt_sources(tmp_path, "trixie")) == [
        "deb http://mirror/debian trixie main contrib",
        "deb [arch=amd64 signed-by=/key.gpg] http://mirror/debian trixie-updates main",
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://one trixie-security main",
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://two trixie-security main",
        "deb http://inline trixie main",
    ]
    assert list(apt_sources(tmp_path, "")) == []
    assert list(apt_sources(tmp_path / "nowhere", "trixie")) == []
