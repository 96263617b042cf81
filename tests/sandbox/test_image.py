"""The rooms' image: made once, with nothing of this site in it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from roommate.errors import EngineError, ImageError
from roommate.sandbox import host_apt
from roommate.sandbox.base_from_registry_or_debian import INPUTS, packages
from roommate.sandbox.containerfile import stages
from roommate.sandbox.image import CONTAINERFILE, agents_of, build, made
from roommate.sandbox.room_containers import RoomSandboxes
from tests.patience import PATIENCE
from tests.sandbox.conftest import ROOM, sh
from tests.sandbox_image import NAME as BASE
from tests.sandbox_image import podman, printed


class Said:
    """Keeps what the steps of a build say, as ``title: text``."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextlib.contextmanager
    def __call__(self, title: str) -> Iterator[Callable[[str], None]]:
        yield lambda text: self.lines.append(f"{title}: {text}")


async def test_the_same_inputs_make_nothing_new(image: str) -> None:
    said = Said()
    made = await build(image, step=said)
    assert made.removeprefix("sha256:") == podman("image", "inspect", "--format", "{{.Id}}", image)
    assert said.lines[-1] == f"sandbox image: {image}, stage base, is up to date"


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
        name for name in podman("image", "inspect", "--format", "{{.Config.Env}}", BASE).split() if "CERT" in name
    ]


def other_recipe(tmp_path: Path, *lines: str, base: str = "localhost/no-such-base:1") -> Path:
    """A Containerfile whose base no registry has."""
    containerfile = tmp_path / "Containerfile"
    head = [f"ARG BASE={base}", "FROM ${BASE} AS base", 'ARG PACKAGES="hello"']
    containerfile.write_text("\n".join([*head, *lines, ""]))
    return containerfile


async def test_without_registry_and_mmdebstrap_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "podman").write_text('#!/bin/sh\nPATH=/usr/sbin:/usr/bin:/sbin:/bin exec podman "$@"\n')
    (programs / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs))
    said = Said()
    with pytest.raises(ImageError, match="apt install mmdebstrap"):
        await build("localhost/roommate:never", containerfile=other_recipe(tmp_path), step=said)
    assert "no registry can be reached" in said.lines[-1]


async def test_a_build_that_fails_says_why_and_leaves_no_image(tmp_path: Path, image: str) -> None:
    recipe = other_recipe(tmp_path, "USER root", "RUN echo too bad >&2; exit 3", base=image)
    with pytest.raises(ImageError, match="building stage base failed: too bad"):
        await build("localhost/roommate:never", containerfile=recipe, step=printed)
    assert podman("image", "ls", "--quiet", "localhost/roommate:never") == ""


async def test_without_podman_it_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no-podman-here is not installed"):
        await build("localhost/roommate:never", podman="no-podman-here", step=printed)
    with pytest.raises(ImageError, match="cannot be read"):
        await build("localhost/roommate:never", containerfile=tmp_path / "none", step=printed)


def test_one_list_of_packages() -> None:
    listed = packages(CONTAINERFILE.read_text())
    assert {"python3", "git", "ripgrep", "ca-certificates"} <= set(listed)
    with pytest.raises(ImageError):
        packages("FROM scratch")


RUN_ID = secrets.token_hex(4)
"""In the names and the first layer: what a suite that was killed has left is no part of this one."""
NAME, TWO_NAME = f"localhost/roommate:stages-{RUN_ID}", f"localhost/roommate:stages-two-{RUN_ID}"
LAYERS = (
    "USER root",
    f"RUN : make one; echo {RUN_ID} >/one",
    "FROM base AS core",
    "ARG WORD",
    "RUN : make two; echo $WORD >/two",
    "FROM core AS agents",
    "RUN : make three; test ! -e /stop && echo three >/three",
    "LABEL io.roommate.agent.gemini=1.2.3",
)


def recipe_of_stages(tmp_path: Path, image: str, word: str = "two", **changed: str) -> Path:
    containerfile = other_recipe(tmp_path, *LAYERS, base=image)
    text = f"ARG WORD={word}\n{containerfile.read_text()}"
    for old, new in changed.items():
        text = text.replace(old, new)
    containerfile.write_text(text)
    return containerfile


@pytest.fixture
def two_names() -> Iterator[tuple[str, str]]:
    names = (NAME, TWO_NAME)
    yield names
    for name in (*names, f"{NAME}.unfinished"):
        podman("image", "rm", "--ignore", name)


async def test_only_what_changed_is_made_again(tmp_path: Path, image: str, two_names: tuple[str, str]) -> None:
    name, other = two_names
    said = Said()
    recipe = recipe_of_stages(tmp_path, image)
    first = await build(name, stage="core", containerfile=recipe, step=said)
    assert [line for line in said.lines if "make" in line] == [
        "sandbox image: base: make one",
        "sandbox image: core: make two",
    ]
    said.lines.clear()
    assert await build(other, stage="core", containerfile=recipe, step=said) == first, "found under another name"
    assert not [line for line in said.lines if "make" in line]
    names = [one.name for one in await made(containerfile=recipe)]
    assert (names.count(name), names.count(other)) == (1, 1)
    await build(other, stage="agents", containerfile=recipe, step=said)
    assert [line for line in said.lines if "make" in line] == ["sandbox image: agents: make three"]

    listed = {one.name: one for one in await made(containerfile=recipe)}
    assert (listed[name].stage, listed[name].agents, listed[name].current) == ("core", {}, True)
    assert (listed[other].stage, listed[other].agents) == ("agents", {"gemini": "1.2.3"})
    assert not [one for one in listed if one.endswith(".unfinished")]

    changed = recipe_of_stages(tmp_path, image, word="deux")
    assert not {one.name: one for one in await made(containerfile=changed)}[other].current
    said.lines.clear()
    await build(other, containerfile=changed, step=said)
    assert [line for line in said.lines if "make" in line] == [
        "sandbox image: core: make two",
        "sandbox image: agents: make three",
    ], "a changed version makes its stage and those above, at the stage that the image had"
    first = podman("image", "inspect", "--format", "{{.Id}}", other)
    assert await build(other, containerfile=changed, step=said) == first
    assert await build(other, containerfile=changed, fresh=True, step=said) != first
    assert podman("image", "ls", "--all", "--quiet", "--filter", f"id={first}") == "", "what was replaced is gone"


async def test_a_failed_build_leaves_the_image_and_goes_on_where_it_was(
    tmp_path: Path, image: str, two_names: tuple[str, str]
) -> None:
    name, _ = two_names
    recipe = recipe_of_stages(tmp_path, image)
    before = await build(name, stage="base", containerfile=recipe, step=printed)
    broken = recipe_of_stages(tmp_path, image, **{"test ! -e /stop": "echo no disk left >&2; test -e /stop"})
    with pytest.raises(ImageError, match="building stage agents failed: no disk left"):
        await build(name, stage="agents", containerfile=broken, step=printed)
    assert podman("image", "inspect", "--format", "{{.Id}}", name) == before
    said = Said()
    await build(name, at_least="agents", containerfile=broken, step=said)
    assert said.lines[-1].startswith(
        "sandbox image: goes without agents for now: building stage agents failed: no disk"
    )
    assert (await made(containerfile=recipe))[0].stage == "core"
    await build(name, at_least="base", containerfile=broken, step=said)
    assert said.lines[-1].endswith("stage core, is up to date"), "it stays what it is"
    said.lines.clear()
    await build(name, stage="agents", containerfile=recipe_of_stages(tmp_path, image), step=said)
    assert [line for line in said.lines if "make" in line] == ["sandbox image: agents: make three"]


BUILD = """
import asyncio, sys
from pathlib import Path
from roommate.sandbox.image import build
from tests.sandbox_image import printed
asyncio.run(build(sys.argv[1], stage="core", containerfile=Path(sys.argv[2]), step=printed))
"""


def working_containers(image: str) -> list[str]:
    """Of builds on this image, or on what was made of it."""
    listed = json.loads(podman("ps", "--all", "--external", "--no-trunc", "--format", "json"))
    return [one["Id"] for one in listed if one["State"] == "storage" and stands_on(one["ImageID"], image)]


def stands_on(image: str, below: str) -> bool:
    while image and image != below:
        done = subprocess.run(
            ("podman", "image", "inspect", "--format", "{{.Parent}}", image),
            capture_output=True,
            text=True,
            check=False,
        )
        image = done.stdout.strip()  # nothing of one that is gone meanwhile
    return image == below


async def test_a_killed_build_keeps_no_image(tmp_path: Path, image: str, two_names: tuple[str, str]) -> None:
    name, _ = two_names
    recipe = recipe_of_stages(tmp_path, image, **{"RUN : make two;": "RUN : make two; test -e /go || sleep 600;"})
    replaced = (await build(name, stage="base", containerfile=recipe, step=printed)).removeprefix("sha256:")
    building = await asyncio.create_subprocess_exec(
        sys.executable, "-uc", BUILD, name, str(recipe),
        env={**os.environ, "TMPDIR": str(tmp_path)},  # what it has no time to take away
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        assert building.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while b"core: make two" not in await building.stdout.readline():
                assert building.returncode is None
    finally:
        os.killpg(building.pid, signal.SIGKILL)
        await building.wait()
    assert working_containers(replaced), "it is held"
    run_root = Path(podman("info", "--format", "{{.Store.RunRoot}}").strip())
    sites = list(run_root.glob("roommate-build-*"))
    assert sites, "what it had of this host"

    changed = recipe_of_stages(tmp_path, image, **{"make one": "make uno"})
    try:
        async with asyncio.timeout(PATIENCE):  # while another build of this storage lives nothing is removed
            while podman("image", "ls", "--all", "--quiet", "--filter", f"id={replaced}"):
                await build(name, stage="base", fresh=True, containerfile=changed, abandoned_after=0, step=printed)
            while any(one.exists() for one in sites):  # one of another build, which removes it itself
                await asyncio.sleep(0.1)
        assert not working_containers(replaced)
    finally:
        for left in working_containers(replaced):
            podman("rm", "--force", "--ignore", left)


async def test_what_is_wrong_with_a_recipe_is_said(tmp_path: Path, image: str) -> None:
    with pytest.raises(ImageError, match="no stage 'browser': the Containerfile has base, core, agents"):
        await build(NAME, stage="browser", containerfile=recipe_of_stages(tmp_path, image), step=printed)
    with pytest.raises(ImageError, match="core is FROM other, and not from base"):
        stages("FROM a AS base\nFROM other AS core\n")
    with pytest.raises(ImageError, match="no stage"):
        stages("FROM scratch\n")


def test_a_stage_depends_on_its_text_and_its_versions_and_what_is_below() -> None:
    text = "ARG ONE=1\nARG TWO=2\nFROM x AS base\nARG ONE\nRUN a\nFROM base AS core\nARG TWO\nRUN b\n"

    def inputs(text: str, *others: str) -> tuple[str, ...]:
        return tuple(stage.inputs for stage in stages(text, *others))

    base, core = inputs(text)
    assert inputs(text.replace("RUN a", "# why\nRUN a")) == (base, core)
    assert inputs(text.replace("TWO=2", "TWO=3"))[0] == base
    assert inputs(text.replace("TWO=2", "TWO=3"))[1] != core
    assert not set(inputs(text.replace("ONE=1", "ONE=3"))) & {base, core}
    assert not set(inputs(text, "another mirror")) & {base, core}


def test_versions_are_pinned() -> None:
    known = stages(CONTAINERFILE.read_text())
    assert [stage.name for stage in known] == ["base", "core", "browser", "agents"]
    agents = re.findall(r"^LABEL io\.roommate\.agent\.(\w+)=\$\{(\w+)\}$", known[-1].text, re.MULTILINE)
    assert {name for name, _ in agents} == {"gemini", "qwen", "claude", "codex", "opencode"}
    for _, version in agents:
        assert re.search(rf"^ARG {version}=\d+\.\d+\.\d+$", known[-1].text, re.MULTILINE), version


def test_agents_are_read_from_labels() -> None:
    labels = {"io.roommate.agent.qwen": "2", "io.roommate.agent.claude": "1", INPUTS: "x", "other": "y"}
    assert agents_of(labels) == {"claude": "1", "qwen": "2"}


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
    assert list(host_apt.sources(tmp_path, "trixie")) == [
        "deb http://mirror/debian trixie main contrib",
        "deb [arch=amd64 signed-by=/key.gpg] http://mirror/debian trixie-updates main",
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://one trixie-security main",
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://two trixie-security main",
        "deb http://inline trixie main",
    ]
    assert list(host_apt.sources(tmp_path, "")) == []
    assert list(host_apt.sources(tmp_path / "nowhere", "trixie")) == []
