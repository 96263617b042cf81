"""What a person sees of a room: Matrix events folded into posts, each as its newest edit shows it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from roommate.domain import ANSWERS, CARD, PEER_REQUEST, TURN, EventId, JsonObject, UserId
from roommate.text.printable import printable

_DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*)</details>", re.DOTALL)
_LINE_END = re.compile(r"</(?:p|li|pre|h\d)>|<br ?/?>")
_STEP_MARKS = ("✔", "✘", "ℹ")


@dataclass(frozen=True, slots=True)
class Post:
    """One message. ``body`` is safe to print to a terminal."""

    event_id: EventId
    sender: UserId
    body: str
    msgtype: str
    live: bool
    """It still changes: a turn that runs, or a request of one daemon to another that is open."""
    state: str = ""
    """How its turn ended (``done``, ``rounds``, ``stopped``, ``failed``); empty where it is not of a turn."""
    summary: str = ""
    """How its turn went, in a line (``2 steps · 1.3 s``)."""
    steps: tuple[str, ...] = ()
    """What its turn did, a line for each; of a card all that stands in its details."""
    size: int | None = None
    """Bytes, when it is a file; the body is its name then."""
    edited: bool = False
    answers: frozenset[str] = frozenset()
    """The events that it answers, where it says so: of a turn also what that has taken in while it ran."""
    of_bot: bool = False
    """It is what no person says."""
    is_card: bool = False
    """It asks for a ✅ or ❌, and is open."""
    of_request: bool = False
    """It shows a request of one daemon to another."""


@dataclass(frozen=True, slots=True)
class Reacted:
    sender: UserId
    key: str
    post: Post


class Timeline:
    """Folds one room's events, oldest first; `posts` holds what there is to see, in order."""

    def __init__(self) -> None:
        self.posts: dict[EventId, Post] = {}
        self.typing: frozenset[UserId] = frozenset()

    def take(self, event: JsonObject) -> Post | Reacted | None:
        """What this event made or changed; None where there is nothing to see. A taken back post is None as well."""
        content = event.get("content")
        if not isinstance(content, dict):
            return None
        relation = content.get("m.relates_to")
        relation = relation if isinstance(relation, dict) else {}
        match event.get("type"):
            case "m.room.message" if relation.get("rel_type") == "m.replace":
                return self._edit(event, content, relation)
            case "m.room.message" if content:
                post = _post(event, content)
                self.posts[post.event_id] = post
                return post
            case "m.reaction" if target := self.posts.get(relation.get("event_id", "")):
                if target.is_card and target.sender == event["sender"]:
                    return None  # what it lets people tap; the card says it, too
                return Reacted(event["sender"], printable(relation.get("key", "")), target)
            case "m.room.redaction":
                self.posts.pop(content.get("redacts") or event.get("redacts", ""), None)
            case "m.typing":
                self.typing = frozenset(content.get("user_ids", ()))
        return None

    def _edit(self, event: JsonObject, content: JsonObject, relation: JsonObject) -> Post | None:
        target = self.posts.get(relation.get("event_id", ""))
        new = content.get("m.new_content")
        if target is None or target.sender != event["sender"] or not isinstance(new, dict):
            return None
        post = _post(event, new)
        post = replace(post, event_id=target.event_id, edited=True, of_bot=post.of_bot or target.of_bot)
        if PEER_REQUEST not in new and TURN not in new:
            # Another bot's live message: a notice that is edited, until it becomes a text.
            post = replace(post, live=post.msgtype == "m.notice")
        self.posts[post.event_id] = post
        return post

    def newest_card(self, not_of: UserId) -> Post | None:
        return next((post for post in reversed(self.posts.values()) if post.is_card and post.sender != not_of), None)


def _post(event: Mapping[str, Any], content: JsonObject) -> Post:
    turn = content.get(TURN)
    turn = turn if isinstance(turn, dict) else {}
    state = str(turn.get("state", ""))
    request = content.get(PEER_REQUEST)
    if isinstance(request, dict):
        state = "running" if request.get("state") == "open" else "done"
    body = printable(content.get("body", ""))
    size = None
    if "url" in content or "file" in content:
        about = content.get("info")
        size = about.get("size", 0) if isinstance(about, dict) else 0
        body = printable(content.get("filename") or body)
    summary, lines = _details(str(content.get("formatted_body", "")))
    card = content.get(CARD)
    over = isinstance(card, dict) and card.get("over") is True
    steps = lines if CARD in content else tuple(line for line in lines if line.startswith(_STEP_MARKS))
    return Post(
        event_id=event["event_id"],
        sender=event["sender"],
        body=_without(summary, body) if summary else body,
        msgtype=str(content.get("msgtype", "")),
        live=state == "running",
        state="" if state == "running" else state,
        summary=summary,
        steps=steps,
        size=size if isinstance(size, int) else None,
        answers=_answers(content, turn),
        of_bot=content.get("msgtype") == "m.notice" or not content.keys().isdisjoint((TURN, ANSWERS, CARD)),
        is_card=CARD in content and not over,
        of_request=PEER_REQUEST in content,
    )


def _answers(content: JsonObject, turn: JsonObject) -> frozenset[str]:
    also = turn.get("also")
    named = [turn.get("prompt"), content.get(ANSWERS), *(also if isinstance(also, list) else ())]
    return frozenset(one for one in named if isinstance(one, str) and one)


def _details(rich: str) -> tuple[str, tuple[str, ...]]:
    """The summary and the lines of what a client folds away."""
    found = _DETAILS.search(rich)
    if found is None:
        return "", ()
    return printable(_text(found[1])), tuple(printable(_text(_LINE_END.sub("\n", found[2]))).splitlines())


def _without(summary: str, body: str) -> str:
    """The body, whose last line is the summary in Markdown."""
    before, _, last = body.rpartition("\n")
    return before.rstrip() if last.replace("*", "") == summary else body


def _text(rich: str) -> str:
    return html.unescape(re.sub(r"<[^>]*>", "", rich))
