"""Files and pictures that a turn shows, as people at their clients get them."""

from __future__ import annotations

from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.test_conversation import tool
from tests.harness import Daemon
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
