"""The full image as rooms use it: tools, browser and coding agents, as user 1000, in the posture, without a network."""

from __future__ import annotations

import re
import shutil
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roommate.sandbox.container_spec import Limits
from roommate.sandbox.room_containers import RoomSandboxes
from tests.sandbox.conftest import ROOM, at, place_of, sh
from tests.sandbox_image import podman, remove_rooms

PAGE = "data:text/html,<title>A page</title><h1>Hello</h1>"


@pytest.fixture(scope="module")
async def full(host_memory: Path, agents_image: str) -> AsyncIterator[RoomSandboxes]:
    """Sandboxes with the default limits, on the full image."""
    place = place_of(host_memory)
    sandboxes = at(place, agents_image, limits=Limits())
    try:
        yield sandboxes
    finally:
        await sandboxes.close()
        remove_rooms(place / "state")
        shutil.rmtree(place)


@pytest.mark.parametrize("agent", ["gemini", "qwen", "claude", "codex", "opencode"])
async def test_each_coding_agent_answers_with_the_version_of_its_label(
    full: RoomSandboxes, agents_image: str, agent: str
) -> None:
    said = await sh(await full.hand(ROOM), f"{agent} --version </dev/null", timeout=60)
    label = podman("image", "inspect", "--format", f'{{{{index .Labels "io.roommate.agent.{agent}"}}}}', agents_image)
    assert label
    assert said.exit.code == 0, said.text
    assert re.search(rf"(^|\D){re.escape(label)}($|\D)", said.text), said.text


async def test_doctor_names_the_coding_agents_without_running_one(full: RoomSandboxes) -> None:
    checks = {check.what: check for check in await full.check()}
    assert "stage agents" in checks["image"].found
    agents = [entry.split()[0] for entry in checks["coding agents"].found.split(", ")]
    assert agents == ["claude", "codex", "gemini", "opencode", "qwen"]
    assert checks["coding agents"].ok


async def test_the_tools_are_there(full: RoomSandboxes) -> None:
    hand = await full.hand(ROOM)
    for tool in ("fd", "gcc", "gh", "git", "jq", "make", "node", "npm", "npx", "pip", "pytest", "rg", "ruff", "uv"):
        said = await sh(hand, f"{tool} --version")
        assert said.exit.code == 0, said.text
    assert int((await sh(hand, "node -p 'process.versions.node.split(`.`)[0]'")).text) >= 22


async def test_code_is_built_and_tested(full: RoomSandboxes) -> None:
    hand = await full.hand(ROOM)
    await hand.write("/workspace/test_it.py", b"def test_it():\n    assert 1 + 1 == 2\n")
    for command in ("pytest -q test_it.py", "python3 -m pytest -q test_it.py", "ruff check test_it.py"):
        said = await sh(hand, command)
        assert said.exit.code == 0, said.text
    built = await sh(hand, "echo 'int main(void) { return 7; }' >/tmp/it.c && gcc -o /tmp/it /tmp/it.c && /tmp/it")
    assert built.exit.code == 7, built.text
    venv = await sh(hand, "uv venv --quiet /tmp/venv && /tmp/venv/bin/python -c 'print(6 * 7)'", timeout=60)
    assert (venv.exit.code, venv.text.splitlines()[-1]) == (0, "42"), venv.text


async def test_what_a_room_installs_goes_to_its_home(full: RoomSandboxes) -> None:
    hand = await full.hand(ROOM)
    for name, text in {
        "package/package.json": '{"name": "stuff", "version": "1.0.0", "bin": {"stuff": "stuff.js"}}',
        "package/stuff.js": "#!/usr/bin/env node\nconsole.log('stuff runs')\n",
    }.items():
        await hand.write(f"/workspace/{name}", text.encode())
    node = await sh(hand, "npm install --global --offline ./package && stuff", timeout=60)
    assert (node.exit.code, node.text.splitlines()[-1]) == (0, "stuff runs"), node.text
    where = await sh(hand, "command -v stuff; python3 -m pip config debug >/dev/null && python3 -m site --user-base")
    assert where.text.splitlines() == ["/home/room/.local/bin/stuff", "/home/room/.local"]
    assert (await sh(hand, "ls /usr/lib/python3*/EXTERNALLY-MANAGED")).exit.code != 0, "pip asks for no environment"


async def test_chromium_takes_a_picture(full: RoomSandboxes) -> None:
    hand = await full.hand(ROOM)
    said = await sh(hand, f"chromium --screenshot=/tmp/page.png --window-size=640,480 '{PAGE}'", timeout=60)
    assert said.exit.code == 0, said.text
    assert size_of_png((await hand.read("/tmp/page.png")).content) == (640, 480)


async def test_playwright_drives_it_without_being_told_where_it_is(full: RoomSandboxes) -> None:
    hand = await full.hand(ROOM)
    script = (
        "from playwright.sync_api import sync_playwright\n"
        "with sync_playwright() as playwright:\n"
        "    page = playwright.chromium.launch().new_page(viewport={'width': 320, 'height': 200})\n"
        f"    page.goto('{PAGE}')\n"
        "    page.screenshot(path='/tmp/shot.png')\n"
        "    print(page.title())\n"
    )
    await hand.write("/workspace/shot.py", script.encode())
    said = await sh(hand, "python3 shot.py", timeout=60)
    assert (said.exit.code, said.text) == (0, "A page\n"), said.text
    assert size_of_png((await hand.read("/tmp/shot.png")).content) == (320, 200)


async def test_nothing_of_the_build_is_left(full: RoomSandboxes, agents_image: str) -> None:
    hand = await full.hand(ROOM)
    left = await sh(hand, "ls -A /mnt /var/lib/apt/lists /root/.npm /root/.cache 2>/dev/null | grep -v :$")
    assert left.text.split() == []
    certificates = await sh(
        hand, "grep -c BEGIN /etc/ssl/certs/ca-certificates.crt; ls /usr/share/ca-certificates/mozilla | wc -l"
    )
    in_bundle, of_the_package = certificates.text.split()
    assert in_bundle == of_the_package
    environment = podman("image", "inspect", "--format", "{{.Config.Env}}", agents_image)
    assert not re.search("CERT|CA_|PROXY", environment, re.IGNORECASE)


def size_of_png(content: bytes) -> tuple[int, ...]:
    assert content.startswith(b"\x89PNG\r\n")
    return struct.unpack(">II", content[16:24])
