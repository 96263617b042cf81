"""Markdown to message content: readable with and without HTML, harmless, and never too large."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from roommate.domain import EventId, UserId
from roommate.matrix import render
from tests.loop_time import AT_ONCE, watched


def rich(markdown: str) -> str:
    shown: str = render.content(markdown).get("formatted_body", "")
    return shown


def size(content: object) -> int:
    return len(json.dumps(content, ensure_ascii=False).encode())


# ── what it looks like ───────────────────────────────────────────────────────────────────────────


def test_plain_text_needs_no_html() -> None:
    assert render.content("hello\nyou") == {"msgtype": "m.text", "body": "hello\nyou", "m.mentions": {}}


def test_markdown_becomes_html_and_stays_the_body() -> None:
    content = render.content("**done** in\n`main.py`", notice=True)
    assert content == {
        "msgtype": "m.notice",
        "body": "**done** in\n`main.py`",
        "format": "org.matrix.custom.html",
        "formatted_body": "<p><strong>done</strong> in<br>\n<code>main.py</code></p>",
        "m.mentions": {},
    }


@pytest.mark.parametrize(
    ("markdown", "expected"),
    [
        ("```python\nx < 1\n```", '<pre><code class="language-python">x &lt; 1\n</code></pre>'),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>'),
        ("~~no~~", "<p><s>no</s></p>"),
        ("[docs](https://example.org/a?b=1&c=2)", '<p><a href="https://example.org/a?b=1&amp;c=2">docs</a></p>'),
        ("![chart](https://example.org/c.png)", '<p><a href="https://example.org/c.png">chart</a></p>'),
        ("1 \\* 2", "<p>1 * 2</p>"),
        ("&lt;", "<p>&lt;</p>"),
    ],
)
def test_what_markdown_becomes(markdown: str, expected: str) -> None:
    assert rich(markdown) == expected


def test_a_table() -> None:
    assert "<th>a</th>" in rich("a|b\n-|-\n1|2")


def test_details_are_collapsed_and_the_body_has_their_summary() -> None:
    content = render.content("The answer.", details=("2 steps <1 s", "✔ **run** `ls`"))
    assert content["body"] == "The answer.\n\n2 steps <1 s"
    assert content["formatted_body"] == (
        "<p>The answer.</p><details><summary>2 steps &lt;1 s</summary>"
        "<p>✔ <strong>run</strong> <code>ls</code></p></details>"
    )


def test_endless_details_leave_room_for_the_answer() -> None:
    head, _ = render.fit("x " * 50_000)
    for inner in ("step\n\n" * 10_000, "&" * 100_000, '"' * 100_000, "- \n" * 100_000):
        content = render.content(head, details=("many steps" + "!" * 10_000, inner))
        assert size(content) < render.LIMIT + 15_000
        assert "many steps" in content["formatted_body"]


def test_threads_and_replies() -> None:
    thread, reply = EventId("$root"), EventId("$asked")
    assert render.content("x", thread=thread)["m.relates_to"] == {
        "rel_type": "m.thread",
        "event_id": "$root",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$root"},
    }
    assert render.content("x", reply_to=reply)["m.relates_to"] == {"m.in_reply_to": {"event_id": "$asked"}}
    both = render.content("x", thread=thread, reply_to=reply)["m.relates_to"]
    assert (both["is_falling_back"], both["m.in_reply_to"]["event_id"]) == (False, "$asked")


def test_terminal_colours_and_control_codes_are_dropped() -> None:
    assert render.content("\x1b[1;31mred\x1b[0m\x07\0 \x1b]0;title\x07ok\r\n\tend")["body"] == "red ok\n\tend"


def test_surrogates_are_joined_or_replaced() -> None:
    assert render.clean("\ud83d\ude00 \ud800") == "😀 \N{REPLACEMENT CHARACTER}"


# ── what it must not do ──────────────────────────────────────────────────────────────────────────


def test_only_the_given_people_are_mentioned() -> None:
    assert render.content("@room @alice:hs look")["m.mentions"] == {}
    assert render.content("done", mentions=[UserId("@alice:hs")])["m.mentions"] == {"user_ids": ["@alice:hs"]}


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]


def harmless(shown: str) -> None:
    found = _Tags()
    found.feed(shown)
    assert found.tags <= render._TAGS | {"details", "summary"}
    for tag, name, value in found.attributes:
        match tag, name:
            case "a", "href":
                assert re.match(r"(https?|mailto|matrix):", value, re.IGNORECASE), value
                assert "#/@" not in value
                assert not value.lower().startswith("matrix:u/")
            case "code", "class":
                assert value.startswith("language-")
            case "ol", "start":
                assert value.isdigit()
            case other:
                raise AssertionError(other)


@pytest.mark.parametrize(
    "hostile",
    [
        "<script>alert(1)</script> <img src=x onerror=alert(1)>",
        "[x](javascript:alert(1)) [x](data:text/html,hi) [x](vbscript:x) [x](file:///etc/passwd)",
        "![x](mxc://hs/a) ![x](javascript:alert(1))",
        "[everybody](https://matrix.to/#/@alice:hs) [a](HTTPS://MATRIX.TO/#/%40alice:hs) [b](matrix:u/alice:hs)",
        "[client](https://app.element.io/#/user/@alice:hs)",
        "[up](../../etc) [root](/x) [frag](#x) [proto](//evil.example)",
        "<https://matrix.to/#/@alice:hs>",
        '```python" onclick="x\ncode\n```',
        "<details open><summary>x</summary></details>",
        "<mx-reply>x</mx-reply> <a href='https://matrix.to/#/@a:b'>x</a>",
    ],
)
def test_hostile_markdown_is_harmless(hostile: str) -> None:
    harmless(rich(hostile))


MARKS = ["**", "`", "```\n", "~~", "[a](", "![", "](", ")", "<a href='x'>", "> ", "- ", "1. ", "# ", "|", "-|-\n", "\n"]
LINKS = ["https://matrix.to/#/@a:b", "javascript:x", "matrix:u/a:b", "https://x.y", "&amp;", "\\", "\x1b[31m", "\ud800"]
markdown = st.lists(st.sampled_from(MARKS + LINKS) | st.text(st.characters(codec=None), max_size=10), max_size=40)


@given(markdown.map("".join))
def test_any_text_is_harmless(given_text: str) -> None:
    harmless(rich(given_text))


# ── size ─────────────────────────────────────────────────────────────────────────────────────────


def no_floats(value: Any) -> bool:
    if isinstance(value, dict):
        return all(no_floats(each) for each in value.values())
    return not isinstance(value, float)


@settings(deadline=None)
@given(st.lists(st.tuples(markdown.map("".join), st.integers(1, 400)), max_size=4), st.integers(1500, 40_000))
@example([("\ud83d", 1)], 2000)
@example([("\0\x1f", 40_000)], 2000)
@example([('"', 40_000)], 40_000)
@example([("&", 40_000)], 40_000)
@example([("😀", 40_000)], 40_000)
@example([("|".join("a" * 24) + "\n" + "|".join("-" * 24) + "\n" + "x\n" * 10_000, 1)], 40_000)
@example([("> " * 20 + "a\n", 1000)], 40_000)
@example([("*", 20_000), ("a", 1), ("*", 20_000)], 40_000)
def test_any_text_fits(parts: list[tuple[str, int]], limit: int) -> None:
    text = "".join(part * times for part, times in parts)
    head, whole = render.fit(text, limit)
    content = render.content(
        head, mentions=[UserId("@alice:example.org")], thread=EventId("$" + "x" * 43), reply_to=EventId("$" + "y" * 43)
    )
    assert size(content) <= limit
    assert json.loads(json.dumps(content)) == content
    assert no_floats(content)
    if whole is None:
        assert head == render.clean(text)
    else:
        assert whole.decode() == render.clean(text)


def test_a_long_answer_keeps_its_beginning_and_closes_its_code() -> None:
    text = "Here it is:\n\n````python\n" + "print('```')\n" * 5000 + "````\n"
    head, whole = render.fit(text)
    assert whole == text.encode()
    assert head.startswith("Here it is:\n\n````python\nprint")
    assert head.endswith("print('```')\n````\n\n…")
    assert len(head) > 10_000


def test_a_cut_is_made_between_paragraphs() -> None:
    head, _ = render.fit("a paragraph of words.\n\n" * 5000)
    assert head.endswith("words.\n\n…")


def test_an_endless_line_is_cut() -> None:
    head, whole = render.fit("x" * 1_000_000)
    assert whole is not None
    assert 10_000 < len(head) < 40_000


# ── what it costs ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("piece", ["![", "*_`[~", "1. a\n"])
async def test_who_writes_to_be_slow_holds_up_nobody_else(piece: str) -> None:
    """The loop turns while it is drawn; on it nothing would, from the beginning to the end."""
    hostile = piece * (8_000 // len(piece))
    drawing = asyncio.create_task(render.drawn(hostile, details=("steps", hostile)))
    turns = 0
    while not drawing.done():
        await asyncio.sleep(0.001)
        turns += 1
    content, _ = await drawing
    assert turns > 10
    render._html.cache_clear()
    head, whole = render.fit(hostile)
    assert await render.drawn(hostile) == (render.content(head), whole), "it is the same"
    assert content["body"].startswith(piece * 10)
    assert size(content) < render.LIMIT + 2 * render.DETAILS + 1000, "also with its details"


PADDED = "a|" * 20 + "\n" + "-|" * 20 + "\n" + "x\n" * 459
"""What makes nine thousand cells of a thousand characters."""


@pytest.mark.parametrize("piece", ["![", "[![", "_[", "~~[", "*a *[", "> ", "- ", "__a__ [](", PADDED])
async def test_what_is_drawn_at_once_takes_no_time(piece: str) -> None:
    render._parser(tables=True), render._parser(tables=False), render._sanitiser()
    hostile = (piece * render.SMALL)[: render.SMALL]
    took: list[float] = []
    while not took or (took[-1] >= AT_ONCE and len(took) < 5):  # other processes take the caches now and then
        render._html.cache_clear()
        with watched() as loop:
            await asyncio.create_task(render.drawn(hostile))
        took.append(loop.longest)
    assert 0 < took[-1] < AT_ONCE, took


def test_tables_that_are_written_out_are_tables() -> None:
    for rows, columns in ((2, 2), (300, 2), (50, 20)):
        for edge in ("", "|"):
            header, line, row = (edge + "|".join(cell * columns) + edge + "\n" for cell in ("a", "-", "x"))
            assert rich(header + line + row * rows).count("<td>") == rows * columns
    assert "<table>" not in rich(PADDED)
    prose = "A line | with a bar,\nand some that\nare short.\n\n" * 50
    assert rich(f"{prose}a|b\n-|-\nc|d\n").count("<td>") == 2


async def test_plain_text_with_details_fits() -> None:
    """Beside details there is HTML of it, too."""
    line = "plain words, line after line\n"
    content, whole = await render.drawn(line * 1200, details=("steps", "- a step\n" * 2000))
    assert whole == (line * 1200).encode()
    assert size(content) < render.LIMIT + 2 * render.DETAILS + 1000
    content, whole = await render.drawn(line * 1200)
    assert (whole, "formatted_body" in content) == (None, False), "all of it, where there are none"
