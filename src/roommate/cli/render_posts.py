"""How posts look in a terminal: a name, the Markdown, and how the turn went."""

from __future__ import annotations

import io
import re

from rich.console import Console, Group, RenderableType
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from roommate.domain import UserId
from roommate.text.amounts import size
from roommate.user_client import Post, Reacted

_PADDING = re.compile(" +$", re.MULTILINE)
"""Blanks up to the edge of the terminal, which would be lines of their own in a narrower one."""
_COLORS = ("green", "magenta", "yellow", "blue", "red")


def name_of(user: str) -> str:
    return user[1:].partition(":")[0]


def post_look(post: Post, me: UserId) -> RenderableType:
    """A message, as it is printed or drawn while it lives; an empty line comes first."""
    if post.sender == me:
        return own_look(post.body)
    color = _COLORS[sum(post.sender.encode()) % len(_COLORS)]
    head = Text.assemble("\n", ("● ", color), (name_of(post.sender), f"bold {color}"))
    if post.edited and not post.live and not post.state:
        head.append(" (edited)", "dim")
    if post.size is not None:
        return Group(head, Padding(Text(f"📎 {post.body} ({size(post.size)})"), (0, 2)))
    body = Padding(Markdown(post.body, hyperlinks=False), (0, 2))
    summary = [Padding(Text(post.summary, "dim"), (0, 2))] if post.summary else []
    if post.is_card:  # nobody decides about what is folded away
        return Group(head, body, *summary, *(Padding(Text(line), (0, 4)) for line in post.steps))
    return Group(head, *(Padding(Text(step, "dim"), (0, 2)) for step in post.steps), body, *summary)


def own_look(text: str) -> RenderableType:
    """What the person says."""
    return Text.assemble("\n", ("› ", "bold cyan"), (text, "cyan"))


def reaction_look(reaction: Reacted) -> RenderableType:
    words = " ".join(reaction.post.body.replace("*", "").split())
    words = words if len(words) <= 50 else words[:49] + "…"
    return Text(f"  {reaction.key} {name_of(reaction.sender)} on “{words}”", "dim")


def ansi(look: RenderableType, columns: int) -> str:
    """A look as text with escape sequences, to be placed by somebody else."""
    out = io.StringIO()
    Console(file=out, force_terminal=True, color_system="256", width=columns).print(look)
    return _PADDING.sub("", out.getvalue())
