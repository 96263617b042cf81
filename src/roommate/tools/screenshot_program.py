"""The program that take_screenshot runs in the room's container: a page in Chromium, as a picture and in words.

Its argument is JSON, and so is the last line that it prints. It needs Playwright for Python, and runs there behind the
room's own way out, so that a page can do to the daemon nothing at all.
"""

# What it prints is its answer.
# ruff: noqa: T201

from __future__ import annotations

import base64
import contextlib
import json
import sys
from pathlib import Path
from typing import Any
from urllib.request import getproxies

COMMIT_MS = 700_000
"""Until something answers; with ten minutes in it in which people may be asked about the host."""
LOAD_MS = 15_000
IDLE_MS = 2_000
TALLEST = 10_000
"""Pixels of a full page that are shown."""
VIEW = 1568
"""Pixels of the longer side of what a model is given: providers make larger pictures smaller themselves, or refuse."""
VIEW_BYTES = 1_000_000
MOST_LINES, LONGEST_LINE, LONGEST_TEXT = 20, 300, 6000


def main(asked: dict[str, Any]) -> dict[str, Any]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        return {"error": "", "no_browser": True}
    with sync_playwright() as playwright:
        proxy = getproxies().get("http")
        try:
            # Loopback by name: else Playwright has it go through the proxy as well.
            way_out = {"server": proxy, "bypass": "localhost,127.0.0.1,[::1],0.0.0.0"} if proxy else None
            browser = playwright.chromium.launch(proxy=way_out, timeout=30_000)
        except Error as error:
            if "Executable doesn't exist" in str(error):
                return {"error": "", "no_browser": True}
            raise
        try:
            return look(browser.new_page(viewport={"width": asked["width"], "height": asked["height"]}), asked)
        except Error as error:
            return {"error": short(error)}
        finally:
            browser.close()


def look(page: Any, asked: dict[str, Any]) -> dict[str, Any]:
    """Open it, take the picture, and for a model a smaller one where that is large."""
    from playwright.sync_api import Error
    from playwright.sync_api import TimeoutError as TooLate

    console: list[str] = []

    def say(said: Any) -> None:
        if said.type in ("error", "warning"):
            console.append(f"{said.type}: {said.text}")

    page.on("console", say)
    page.on("pageerror", lambda error: console.append(f"error: {error}"))
    page.on("requestfailed", lambda request: console.append(f"not loaded: {request.url} ({request.failure})"))
    response = page.goto(asked["url"], wait_until="commit", timeout=COMMIT_MS)
    loaded = True
    try:
        page.wait_for_load_state("load", timeout=LOAD_MS)
        with contextlib.suppress(TooLate):
            page.wait_for_load_state("networkidle", timeout=IDLE_MS)
    except TooLate:
        loaded = False
    width, height, whole = asked["width"], asked["height"], asked["height"]
    if asked["full_page"]:
        whole = max(height, int(page.evaluate("document.documentElement.scrollHeight")))
        height = min(whole, TALLEST)
    clip = {"x": 0, "y": 0, "width": width, "height": height}
    content = page.screenshot(clip=clip, full_page=asked["full_page"], animations="disabled")
    Path(asked["picture"]).write_bytes(content)
    seen = min(height, 2 * width)
    scale = min(1.0, VIEW / max(width, seen))
    smaller = seen < height or scale < 1 or len(content) > VIEW_BYTES
    if smaller:
        view = {
            "format": "jpeg",
            "quality": 80,
            "captureBeyondViewport": True,
            "clip": clip | {"height": seen, "scale": scale},
        }
        taken = page.context.new_cdp_session(page).send("Page.captureScreenshot", view)
        Path(asked["view"]).write_bytes(base64.b64decode(taken["data"]))
    text = ""
    with contextlib.suppress(Error):  # a drawing, say, has no body
        text = page.inner_text("body", timeout=1_000)
    return {
        "status": response.status if response and response.url.startswith("http") else None,
        "title": page.title()[:LONGEST_LINE],
        "address": page.url[: 4 * LONGEST_LINE],
        "loaded": loaded,
        "left_out": whole - height,
        "seen": seen if smaller else 0,
        "console": [line[:LONGEST_LINE] for line in console[:MOST_LINES]],
        "console_lines": len(console),
        "text": text[:LONGEST_TEXT],
    }


def short(error: Exception) -> str:
    """Playwright's message without its log of calls and the address, which is known."""
    said = str(error).partition("\nCall log:")[0].partition(": ")[2]
    return said.partition(" at http")[0].strip() or str(error)[:LONGEST_LINE]


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    folder = Path(asked["picture"]).parent
    folder.mkdir(parents=True, exist_ok=True)
    if not (ignore := folder.parent / ".gitignore").exists():
        ignore.write_text("*\n")
    if asked["path"]:
        file = Path(asked["path"]).absolute()
        asked["url"] = file.as_uri()
        if not file.exists():
            print(json.dumps({"error": "no such file"}))
            sys.exit()
    print("\n" + json.dumps(main(asked)))
