"""A person's story: asks for a web page, and watches it being planned, written, tested and shown."""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Iterable

from roommate.tools.image_headers import Measured, measure
from tests.conftest import MakeDaemon, MakePerson
from tests.fake_providers import FakeProviders
from tests.scripted_model import Action, Asked, Call, ScriptedModel, Text

PAGE = "<!doctype html><title>Bakery</title><body style=background:gold><h1>Fresh bread</h1>"
TEST = """from pathlib import Path

def test_heading():
    assert "<h1>Fresh bread</h1>" in Path("index.html").read_text()
"""
STEPS: list[tuple[str, str, dict[str, object]]] = [
    ("A page, then.", "plan", {"task": "Plan a page for a bakery. DO say One file, index.html, with a heading."}),
    ("", "implement", {"task": f"DO write index.html {PAGE.replace('<', '&lt;')}"}),
    ("", "write_file", {"path": "test_page.py", "content": TEST}),
    ("", "run_tests", {}),
    ("", "take_screenshot", {"path": "index.html", "width": 800, "height": 600}),
]


def orchestrator(asked: Asked) -> Iterable[Action]:
    if asked.round == len(STEPS):
        return [Text("Your page is ready.")]
    text, tool, arguments = STEPS[asked.round]
    return [Text(text), Call(tool, json.dumps(arguments))]


async def test_a_web_page_is_built_and_shown(daemon: MakeDaemon, person: MakePerson, agents_image: str) -> None:
    async with ScriptedModel(orchestrator) as model, FakeProviders(delay=0.3) as providers:
        keys = {"GEMINI_API_KEY": "g", "GEMINI_API_BASE": f"{providers.url}/gemini", "LLM_VISION": "true"}
        keys |= {"DASHSCOPE_API_KEY": "d", "DASHSCOPE_API_BASE": f"{providers.url}/dashscope"}
        bot = await daemon(limited=False, start=True, model=model, SANDBOX_IMAGE=agents_image, **keys)
        alice = await person("alice")
        room = await bot.room_with(alice)
        answer = await alice.ask(room, "build a small web page for my bakery and show it")

        assert answer.body.startswith("Your page is ready.")
        for tool, title in {"plan": "gemini · ", "implement": "qwen · 1 call", "run_tests": "1 passed · "}.items():
            assert re.search(f"✔ <strong>{tool}</strong> .*{title}", answer.html), answer.html
        shown = "\n".join(answer.looks)
        assert "One file, index.html, with a heading." in shown, "the plan, while it was made"
        assert f"```diff\n+{PAGE}\n```" in shown, "what the agent wrote, while it worked"
        [picture] = [shown for shown in bot.said(alice, room) if shown.msgtype == "m.image"]
        assert picture.body == "Screenshot: index.html · Bakery · 800×600"
        content = await alice.download(picture.content["url"])
        assert measure(content) == Measured("image/png", 800, 600)
        assert lines_drawn(content) > 10, "it is not blank"
        last = model.asked[-1]
        assert [base64.b64decode(uri.partition(",")[2]) for uri in last.pictures] == [content], "the model sees it, too"
        assert "index.html · Bakery · 800×600" in last.results[0]


def lines_drawn(png: bytes) -> int:
    """How many lines of a PNG are stored unlike each other: each as its difference from the line above."""
    at, pixels = 8, b""
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            pixels += png[at + 8 : at + 8 + length]
        at += 12 + length
    raw = zlib.decompress(pixels)
    height = int.from_bytes(png[20:24], "big")
    size = len(raw) // height
    lines = [raw[start : start + size] for start in range(0, len(raw), size)]
    return len(set(lines))
