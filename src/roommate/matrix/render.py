"""Markdown to the content of a message: safe HTML for clients that show it, and a body that reads well without."""

from __future__ import annotations

import asyncio
import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from roommate.domain import Attachment, EventId, JsonObject, UserId

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

LIMIT = 40_000
"""Bytes of JSON in UTF-8 that a content may have: the event stays below 65 536, encrypted or wrapped in an edit."""
RELATIONS = 800
"""What of the limit is left for mentions, thread and reply."""
DETAILS = 6_000
"""Characters of details that are shown; fewer where their HTML would take more than twice as many bytes."""
SUMMARY = 300
SMALL = 1_000
"""Characters that are drawn at once. Of Markdown that means harm a thousand take 20 ms, forty thousand a second."""
MOST_CELLS, SPARE_CELLS = 10_000, 200
"""Of tables: so many in all, and so many that are not written out."""

# What Markdown can become, all of it in https://spec.matrix.org/v1.13/client-server-api/#mroommessage-msgtypes
_TAGS = frozenset(
    {"a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s"}
    | {"strong", "table", "tbody", "td", "th", "thead", "tr", "ul"}
)
_ATTRIBUTES = {"a": {"href"}, "code": {"class"}, "ol": {"start"}}
_SCHEMES = {"http", "https", "mailto", "matrix"}
_TO_A_PERSON = re.compile(r"#/(?:user/)?(?:@|%40)|^matrix:/*u(?:ser)?/", re.IGNORECASE)
_LANGUAGE = re.compile(r"language-[\w+#.-]{1,40}")
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,200}(?:\x07|\x1b\\)?)|[\0-\x08\x0b-\x1f\x7f-\x9f]")
_MARKUP = re.compile(r"<(?!/?p>|br>)")
_BLANK_LINE = re.compile(r"\n[ \t]*(?=\n)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")


def content(
    markdown: str,
    *,
    notice: bool = False,
    mentions: Sequence[UserId] = (),
    thread: EventId | None = None,
    reply_to: EventId | None = None,
    details: tuple[str, str] | None = None,
    pills: bool = False,
) -> JsonObject:
    """The content of an ``m.room.message``. Only who is in `mentions` is notified, whatever the text says; with
    `pills` they are named in front.

    `details` is a summary and Markdown that clients show when somebody opens it; without HTML the summary is what is
    read. Use `fit` first for a text of any length.
    """
    text = clean(markdown)
    rich, body = _html(text), text
    is_plain = not _MARKUP.search(rich) and not re.search(r"[\\&]", text)
    if details is not None:
        summary = clean(details[0])[:SUMMARY]
        rich += f"<details><summary>{_inline(summary)}</summary>{_inner(clean(details[1]))}</details>"
        body, is_plain = f"{body}\n\n{summary}".lstrip("\n"), False
    if pills and mentions:
        rich, body, is_plain = _named(mentions, rich), f"{', '.join(map(_name, mentions))}: {body}", False
    message: JsonObject = {"msgtype": "m.notice" if notice else "m.text", "body": body}
    if not is_plain:
        message |= {"format": "org.matrix.custom.html", "formatted_body": rich}
    message["m.mentions"] = {"user_ids": list(mentions)} if mentions else {}
    if relation := _relation(thread, reply_to):
        message["m.relates_to"] = relation
    return message


def _named(people: Sequence[UserId], rich: str) -> str:
    """With a link to each of them in front, which clients show as a pill."""
    links = ", ".join(
        f'<a href="https://matrix.to/#/{quote(who, safe="@:")}">{html.escape(_name(who))}</a>' for who in people
    )
    return f"<p>{links}: {rich[3:]}" if rich.startswith("<p>") else f"<p>{links}:</p>{rich}"


def _name(who: UserId) -> str:
    return who[1:].partition(":")[0]


def _inline(line: str) -> str:
    return _html(line).removeprefix("<p>").removesuffix("</p>")


def _inner(text: str) -> str:
    """As much of the details as there is room for."""
    inner = _html(_cut(text, DETAILS) if len(text) > DETAILS else text)
    while len(json.dumps(inner, ensure_ascii=False).encode()) > 2 * DETAILS:
        text = text[: min(len(text), DETAILS) // 2]
        inner = _html(_cut(text, len(text)))
    return inner


async def drawn(
    markdown: str,
    *,
    notice: bool = False,
    mentions: Sequence[UserId] = (),
    thread: EventId | None = None,
    reply_to: EventId | None = None,
    details: tuple[str, str] | None = None,
    most: int | None = None,
    rest: str = "…",
) -> tuple[JsonObject, bytes | None]:
    """The `content` of what `fit` leaves of a text of any length and origin, and the whole where that is not all of it.
    All but small texts are drawn in a thread: nobody else has to wait for it."""

    def draw() -> tuple[JsonObject, bytes | None]:
        head, whole = fit(markdown, detailed=details is not None, most=most, rest=rest)
        return (
            content(head, notice=notice, mentions=mentions, thread=thread, reply_to=reply_to, details=details),
            whole,
        )

    if len(markdown) + len("".join(details or ())) <= SMALL:
        return draw()
    return await asyncio.get_running_loop().run_in_executor(_threads(), draw)


def attachment(file: Attachment, *, thread: EventId | None = None) -> JsonObject:
    """The content of a file's message, but for its ``url``. What has a width and a height is a picture.

    https://spec.matrix.org/v1.13/client-server-api/#mroommessage-msgtypes
    """
    kind = file.mimetype.partition("/")[0]
    about: JsonObject = {"mimetype": file.mimetype, "size": len(file.content)}
    if file.width and file.height:
        about |= {"w": file.width, "h": file.height}
    message: JsonObject = {
        "msgtype": "m.image" if "w" in about else f"m.{kind}" if kind in ("audio", "video") else "m.file",
        "body": clean(file.caption or file.name),
        "filename": clean(file.name),
        "info": about,
        "m.mentions": {},
    }
    if relation := _relation(thread, None):
        message["m.relates_to"] = relation
    return message


def fit(
    markdown: str, limit: int = LIMIT, *, detailed: bool = False, most: int | None = None, rest: str = "…"
) -> tuple[str, bytes | None]:
    """What of a text one message can hold, and the whole as UTF-8 where that is not all of it: `rest` then stands for
    what is missing. Of more than `most` characters, a sixth less are kept.

    With it, `content` gives at most `limit` bytes of JSON, `details` aside: it is to be `detailed` where there
    are some, since beside them plain text needs HTML as well. A cut is made between paragraphs or lines where there are
    any, and closes an open code block.
    """
    text = clean(markdown)
    room = limit - RELATIONS
    if len(text) <= min(room, most or room) and _size(text, detailed=detailed) <= room:
        return text, None
    length = min(room // 2, (most or room) * 5 // 6)
    while (size := _size(head := _cut(text, length, rest), detailed=detailed)) > room:
        length = int(length * min(0.8, 0.95 * room / size))
    return head, text.encode()


def clean(text: str) -> str:
    """Text without what no homeserver or client takes: halves of surrogate pairs, control codes, terminal colours."""
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = text.replace("\r\n", "\n")
    return _TERMINAL.sub("", text) if _TERMINAL.search(text) else text


def _size(text: str, *, detailed: bool) -> int:
    made = content(text, details=("", "") if detailed else None)
    return len(json.dumps(made, ensure_ascii=False).encode())


def _cut(text: str, length: int, rest: str = "…") -> str:
    """The first `length` characters or somewhat less, ended where a reader would, and then `rest`."""
    head = text[:length]
    for between in ("\n\n", "\n", " "):
        end = head.rfind(between)
        if end > length * 0.7:
            head = head[:end]
            break
    fence = ""
    for line in head.splitlines():
        if mark := _FENCE.match(line):
            run, info = mark.groups()
            if not fence:
                fence = run if run[0] == "~" or "`" not in info else ""
            elif run.startswith(fence) and not info.strip():
                fence = ""
    return f"{head}\n{fence}\n\n{rest}" if fence else f"{head}\n\n{rest}"


def _relation(thread: EventId | None, reply_to: EventId | None) -> JsonObject:
    """https://spec.matrix.org/v1.13/client-server-api/#fallback-for-unthreaded-clients"""
    reply = {"m.in_reply_to": {"event_id": reply_to or thread}}
    if thread is not None:
        return {"rel_type": "m.thread", "event_id": thread, "is_falling_back": reply_to is None, **reply}
    return reply if reply_to is not None else {}


@cache
def _threads() -> ThreadPoolExecutor:
    """Of their own: slow texts do not hold up who waits for a disk."""
    return ThreadPoolExecutor(2, "draw")


async def load() -> None:
    """What the first message would wait for: best while an answer of the homeserver is waited for."""
    await asyncio.get_running_loop().run_in_executor(_threads(), _html, "")


@lru_cache(maxsize=4)
def _html(text: str) -> str:
    """Rendered and sanitised. Remembered, since what was measured is sent next."""
    cells = _cells(text)
    tables = cells <= MOST_CELLS and cells <= SPARE_CELLS + len(text) // 2
    return _sanitiser()(_parser(tables=tables).render(text)).rstrip("\n")


def _cells(text: str) -> int:
    """How many its tables can have. Each row gets as many as the widest, be there a single character in it."""
    found = 0
    for block in _BLANK_LINE.split(text):
        lines = block.split("\n")
        bars = max(line.strip().removeprefix("|").removesuffix("|").count("|") for line in lines)
        found += (bars + 1) * len(lines) if bars else 0
    return found


@cache
def _parser(tables: bool) -> MarkdownIt:
    """Without `tables` a wide header cannot make hundreds of short rows wide as well."""
    from markdown_it import MarkdownIt  # 70 ms, not needed by all that has something to render

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "linkify": False}).enable("strikethrough")
    parser.add_render_rule("image", _image)
    return parser.enable("table") if tables else parser


def _image(_renderer: Any, tokens: Sequence[Any], index: int, _options: Mapping[str, Any], _env: Any) -> str:
    """A link instead of a picture: clients show pictures of the media repository only."""
    token = tokens[index]
    address = html.escape(str(token.attrs.get("src", "")))
    return f'<a href="{address}">{html.escape(token.content) or address}</a>'


@cache
def _sanitiser() -> Callable[[str], str]:
    import nh3

    return nh3.Cleaner(
        tags=set(_TAGS),
        attributes=_ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes=_SCHEMES,
        url_relative="deny",
        link_rel=None,
    ).clean


def _attribute(tag: str, _name: str, value: str) -> str | None:
    if tag == "a":  # clients show a link to a person as a mention, and mentions are ours to give
        return None if _TO_A_PERSON.search(value) else value
    return value if tag != "code" or _LANGUAGE.fullmatch(value) else None
