"""Files and pictures that a turn shows, as people at their clients get them."""

from __future__ import annotations

import asyncio
import base64
import re

from roommate.tools.image_headers import Measured, measure
from tests.conftest import MakeDaemon, MakePerson
from tests.harness import Daemon, command, tool
from tests.person import Person, Shown
from tests.scripted_model import ScriptedModel

DRAW = "printf '\\211PNG\\r\\n\\032\\n\\0\\0\\0\\rIHDR\\0\\0\\1\\0\\0\\0\\0\\2' >dot.png; cat dot.png >dot.bin"


def files(bot: Daemon, alice: Person, room: str) -> list[Shown]:
    return [shown for shown in bot.said(alice, room) if "url" in shown.content]


async def test_files_are_shown_once_where_the_turn_is_whatever_crashes(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model)
    room = await bot.room_with(alice)
    thread = await alice.say(room, "SAY hello")
    await alice.answer_to(thread)
    shown = [tool("send_file", path=path) for path in ("dot.png", "dot.bin", "missing")]
    rounds = [tool("run_command", command=DRAW), "\n".join(shown), "ECHO\nDELAY 1.5"]
    asked = await alice.say(room, "\n---\n".join(rounds), thread=thread)
    await alice.wait(lambda: len(files(bot, alice, room)) == 2, what="two files")
    await bot.kill9()
    await bot.start()
    answer = await alice.answer_to(asked)
    assert "people are shown dot.png: image/png, 24 B, 256×2\n" in answer.body
    assert "missing: no such file" in answer.body
    picture, other = sorted(files(bot, alice, room), key=lambda shown: shown.body, reverse=True)
    assert (picture.msgtype, picture.body, picture.thread) == ("m.image", "dot.png", thread)
    assert picture.content["info"] == {"mimetype": "image/png", "size": 24, "w": 256, "h": 2}
    assert (await alice.download(picture.content["url"]))[:8] == b"\x89PNG\r\n\x1a\n"
    assert (other.msgtype, other.body) == ("m.image", "dot.bin"), "its header says that it is a picture"


PAGE = """<!doctype html><title>Tiny</title><body style="margin:0;background:#06c;height:12000px">
<h1>Hello there</h1><script>console.error("it broke"); fetch("/missing")</script>"""


def listens(port: int) -> str:
    """A command that ends when somebody listens there: the program that will was started, and no more."""
    return f"until (: </dev/tcp/127.0.0.1/{port}); do sleep 0.1; done 2>/dev/null"


async def test_pages_are_shown_to_people_and_to_models_that_see(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel, agents_image: str
) -> None:
    alice = await person("alice")
    settings = {"OPERATORS": alice.user_id, "EGRESS_PRESETS": "all"}
    bot = await daemon(limited=False, start=True, model=model, SANDBOX_IMAGE=agents_image, **settings)
    room = await bot.room_with(alice)
    written = tool("write_file", path="page.html", content=PAGE)
    serve = tool("run_command", command="python3 -m http.server 8123", background=True)
    serves = tool("run_command", command=listens(8123))
    local = tool("take_screenshot", url="localhost:8123/page.html", width=640, height=400)
    gone = tool("take_screenshot", url="http://localhost:8123/gone")
    refused = [
        tool("take_screenshot", path="nothing.html"),
        tool("take_screenshot", url="https://away.invalid/"),
        tool("take_screenshot", url="http://localhost:9/", path="page.html"),
    ]
    asked = "\n---\n".join([f"{written}\n{serve}", serves, "\n".join([local, gone, *refused]), "ECHO"])
    told = (await alice.ask(room, asked)).body
    assert "http://localhost:8123/page.html · HTTP 200 · Tiny · 640×400\n" in told
    assert "in the console:\nerror: it broke\n" in told
    assert "the page's text]\nHello there" in told, "this model does not see"
    assert "http://localhost:8123/gone · HTTP 404 · " in told
    assert "nothing.html was not opened: no such file" in told
    assert "https://away.invalid/ was not opened: net::ERR_TUNNEL_CONNECTION_FAILED\n" in told
    assert "give either url or path" in told
    picture = next(shown for shown in files(bot, alice, room) if "Tiny" in shown.body)
    assert picture.body == "Screenshot: http://localhost:8123/page.html · HTTP 200 · Tiny · 640×400"
    assert picture.content["filename"].endswith(".png")
    assert (picture.content["info"]["w"], picture.content["info"]["h"]) == (640, 400)

    await command(bot, alice, room, "!model openai/gpt-4o")
    whole = tool("take_screenshot", path="page.html", full_page=True)
    drawing = tool("write_file", path="dot.svg", content='<svg xmlns="http://www.w3.org/2000/svg" />')
    drawn = tool("take_screenshot", path="dot.svg", width=300, height=200)
    told = (await alice.ask(room, f"{drawing}\n---\n{drawn}\n{whole}\n---\nECHO")).body
    assert "dot.svg · 300×200\n" in told
    assert "page.html · Tiny · 1280×10000\n" in told
    assert re.search(r"the page is longer: 20\d\d px at its end are not in the picture", told)
    assert "you see the upper 2560 px of it, made smaller" in told
    small, large = model.asked[-1].pictures
    assert small.startswith("data:image/png;base64,")
    measured = measure(base64.b64decode(large.removeprefix("data:image/jpeg;base64,")))
    assert measured == Measured("image/jpeg", 784, 1568)

    silent = "import socket, time; s = socket.create_server(('127.0.0.1', 8124)); time.sleep(600)"
    listening = tool("run_command", command=f'python3 -c "{silent}"', background=True)
    stuck = tool("take_screenshot", url="localhost:8124")
    asked = await alice.say(room, "\n---\n".join([listening, tool("run_command", command=listens(8124)), stuck]))
    await alice.wait(
        lambda: any("take_screenshot" in m.body for m in bot.said(alice, room)), what="the browser's start"
    )
    await asyncio.sleep(2)
    await alice.say(room, "!stop")
    await alice.answer_to(asked)
    # Killed is not gone: its memory is given back first.
    gone = "for n in $(seq 100); do pgrep -f '[c]hrom' >/dev/null || break; sleep 0.1; done"
    look = f"{gone}; ps ax -o args | grep -c '[c]hrom'; ls -a .roommate .roommate/screenshots"
    left = tool("run_command", command=look)
    left_over = (await alice.ask(room, f"{left}\n---\nECHO")).body
    assert left_over.startswith("0\n"), "no browser is left"
    assert ".gitignore" in left_over
    assert not model.asked[-1].pictures, "a picture is not kept for later turns"


async def test_a_room_without_a_browser_says_so(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    answer = await alice.ask(room, tool("take_screenshot", url="http://localhost/") + "\n---\nECHO")
    assert "`roommate image build --stage browser`" in answer.body
