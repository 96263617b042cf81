"""What the bot tells of itself: what it can be asked for, whether it hears, and what is set."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.administration.settings_show_and_reload import Setting, settings
from roommate.doors import reference
from roommate.doors.chat import unknown
from roommate.doors.reference import AnyOperation
from roommate.errors import Misused
from roommate.operations import Call, Params, Who, operation
from roommate.settings.config import Settings
from roommate.text.printable import in_code

LONGEST = 300
"""Characters of a value that are shown."""

EVERYDAY = (
    ("While I work", (("stop", "stops me now"), ("status", "what runs, what waits, what it cost"))),
    ("What I did", (("diff", "what changed in files"), ("output", "what a command printed"))),
    ("Files and memory", (("get PATH", "sends you a file"), ("reset", "forgets this conversation"))),
)
"""What people need every day, in few words."""
FOR_OPERATORS = ("rooms", "model", "doctor", "pause", "audit", "redeploy")
ALL = "all"


def what_is_set(found: Sequence[Setting]) -> str:
    shown = [f"- `{one.name}` {in_code(one.value, LONGEST)}" for one in found if not one.default]
    return "What is set (the rest has its default):\n\n" + "\n".join(shown)


class Topic(Params):
    about: Annotated[str, Field(title=f"{ALL}|COMMAND", description="All commands, or one of them.")] = ""


def _everyday(may: Who) -> str:
    groups = (
        f"**{title}**: " + " · ".join(f"`!{words}` {does}" for words, does in commands) for title, commands in EVERYDAY
    )
    parts = [
        "Write to me and I work in this room's container; in rooms of more than two call me by my name. A ⏳ on your "
        "message: it waits for its turn. On my questions tap ✅ or ❌.",
        "\n".join(f"- {group}" for group in groups),
    ]
    if may >= Who.OPERATORS:
        parts.append(f"**For operators**: {' · '.join(f'`!{name}`' for name in FOR_OPERATORS)}")
    return "\n\n".join((*parts, f"`!help {ALL}` lists everything, `!help COMMAND` tells of one command."))


def _all(known: Sequence[AnyOperation], may: Who) -> str:
    """All that they may say, what only operators may by itself."""
    everybody = [one for one in known if one.who is Who.ANYONE]
    operators = [one for one in known if one.who is Who.OPERATORS and may >= one.who]
    parts = [reference.of_chat(everybody)]
    parts += ["**For operators**:", reference.of_chat(operators)] if operators else []
    return "\n\n".join(parts)


def _one(known: Sequence[AnyOperation], about: str) -> str:
    """Each form of it."""
    meant = [one for one in known if any(form.words.split()[0] == about.split()[0] for form in one.chat)]
    if not meant:
        raise Misused(unknown(about.split()[0], [form.words.split()[0] for one in known for form in one.chat]))
    return reference.of_chat(meant)


@dataclass(frozen=True, slots=True)
class About:
    settings: Callable[[], Settings]
    operations: Callable[[], Sequence[AnyOperation]]
    """All that can be asked for."""

    @operation("help", who=Who.ANYONE, chat="help", socket=False)
    async def help(self, params: Topic, call: Call) -> str:
        """Shows the commands of every day, with `all` all there are, or what one of them does."""
        about = params.about.lower().lstrip("!").strip()
        known = [one for one in self.operations() if one.chat]
        if about == ALL:
            return _all(known, call.may)
        if about:
            return _one(known, about)
        return _everyday(call.may)

    @operation("ping", who=Who.ANYONE, chat="ping", socket=False)
    async def ping(self, params: Params, call: Call) -> str:
        """Answers with how long your message took to get here."""
        late = max(0.0, time.time() - call.asked_at) * 1000
        return f"Pong: your message was here after {late:.0f} ms."

    @operation("settings", reads=what_is_set, who=Who.OPERATORS, chat="settings")
    async def set(self, params: Params, call: Call) -> Sequence[Setting]:
        """Shows what is set, without secrets."""
        return settings(self.settings())
