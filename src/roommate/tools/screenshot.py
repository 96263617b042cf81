"""The tool take_screenshot: a page as a picture, for people and models that see, and in words for those that do not."""

from __future__ import annotations

import json
import secrets
import time
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from roommate.domain import Clock, Hand, Picture
from roommate.errors import ToolError
from roommate.tools.arguments import Arguments, Text
from roommate.tools.bounded import Bounded
from roommate.tools.image_headers import measure
from roommate.tools.outcome import Outcome, counted
from roommate.tools.sanitized_text import sanitized
from roommate.tools.send_file import described, whole
from roommate.tools.tool import Call, tool

FOLDER = ".roommate/screenshots"
SECONDS = 130.0
LARGEST = 16 << 20
LARGEST_VIEW = 3 << 20
WIDTH, HEIGHT = 1280, 800
NO_BROWSER = "there is no browser in this room's image: an operator runs `roommate image build --stage browser`"


Pixels = Annotated[int, Field(ge=100, le=4000)]


class TakeScreenshot(Arguments):
    """Open a web page in a browser; people see the picture, and you if you can. Gives console errors, too."""

    url: Text | None = Field(None, description="The address; http://localhost:PORT for a server in the container")
    path: Text | None = Field(None, description="In place of url: a file of the workspace, such as index.html")
    full_page: bool = Field(False, description="True for all of the page, not only its upper part")
    width: Pixels | None = Field(None, description="Of the window; default: 1280")
    height: Pixels | None = Field(None, description="Default: 800")


class Shot(BaseModel):
    """What the program in the container says of a page; see browser.py."""

    model_config = ConfigDict(defer_build=True)

    error: str | None = None
    no_browser: bool = False
    status: int | None = None
    title: str = ""
    address: str = ""
    loaded: bool = True
    left_out: int = 0
    seen: int = 0
    console: list[str] = []
    console_lines: int = 0
    text: str = ""


async def take(asked: TakeScreenshot, call: Call) -> Outcome:
    hand, share = call.hand, call.ports.share
    url, path = _target(asked)
    name = f"{FOLDER}/{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
    picture, view = f"{name}.png", f"{name}-small.jpg"
    shot = await _run(
        {
            "url": url,
            "path": path,
            "width": asked.width or WIDTH,
            "height": asked.height or HEIGHT,
            "full_page": asked.full_page,
            "picture": picture,
            "view": view,
        },
        hand,
        call.ports.clock,
    )
    content = await whole(hand, picture, min(LARGEST, await share.largest()) if share else LARGEST)
    if (measured := measure(content)) is None:
        raise ToolError(f"{picture} is no picture")
    size = f"{measured.width}×{measured.height}"
    title = " ".join(_clean(shot.title).split())
    what = " · ".join(part for part in (path or url, shot.status and f"HTTP {shot.status}", title, size) if part)
    if share is not None:
        await share.show(call.id, described(picture, content, f"Screenshot: {what}"))
    told = [what + ("" if shot.loaded else " · still loading"), f"[people are shown it; it is kept in {picture}]"]
    if shot.left_out:
        told.append(f"[the page is longer: {shot.left_out} px at its end are not in the picture]")
    told += (
        [counted(shot.console_lines, "line") + " in the console:", *map(_clean, shot.console)] if shot.console else []
    )
    given = None
    if call.ports.sees():
        given = Picture(measured.mimetype, content)
        if shot.seen:
            small = await whole(hand, view, LARGEST_VIEW)
            given = Picture("image/jpeg", small)
            told.append(f"[you see the upper {shot.seen} px of it, made smaller]")
    else:
        told += ["[you cannot see pictures; this is the page's text]", _clean(shot.text).strip() or "(no text)"]
    ok = shot.status is None or shot.status < 400
    return Outcome("\n".join(told), " · ".join(what.split(" · ")[1:]), ok=ok, picture=given)


def _target(asked: TakeScreenshot) -> tuple[str, str]:
    """The address or the file, one of them empty."""
    url = asked.url or ""
    if url.startswith("file://"):
        return "", unquote(urlsplit(url).path)
    if bool(url) == bool(asked.path):
        raise ToolError("give either url or path")
    if url.startswith(("localhost", "127.0.0.1")):
        url = f"http://{url}"
    if url and not url.startswith(("http://", "https://")):
        raise ToolError(f"{url[:200]} is no web address: it must start with http:// or https://")
    return url, asked.path or ""


async def _run(asked: dict[str, object], hand: Hand, clock: Clock | None) -> Shot:
    printed = Bounded(0, 64 << 10)
    program = Path(__file__).with_name("screenshot_program.py").read_text("utf-8")
    command = ["python3", "-I", "-X", "utf8", "-c", program, json.dumps(asked)]
    ended = await hand.run(command, timeout=SECONDS, on_output=printed.add, clock=clock)
    said = sanitized(printed.excerpt().tail)
    if ended.timed_out:
        raise ToolError(f"there was no picture after {SECONDS:.0f} s")
    try:
        shot = Shot.model_validate_json(said.strip().rpartition("\n")[2])
    except ValidationError:
        raise ToolError(f"the browser failed: {said.strip()[-500:] or 'it said nothing'}") from None
    if shot.no_browser:
        raise ToolError(NO_BROWSER, "say so, and check the page in another way")
    if shot.error is not None:
        raise ToolError(f"{asked['path'] or asked['url']} was not opened: {shot.error[:500]}")
    return shot


def _clean(text: str) -> str:
    return sanitized(text.encode("utf-8", "replace"))


TOOLS = (tool("take_screenshot", TakeScreenshot, take, title=("url", "path")),)
