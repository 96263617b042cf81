"""Commands: ``!name arguments``, also behind a mention of the bot; and who a message is meant for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from roommate.words import Message, UserId


@dataclass(frozen=True, slots=True)
class Command:
    """What was said: the name without its ``!`` in lower case, the rest as it stands."""

    name: str
    argument: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A command changed something: what to answer, and what the audit log says of it (see `words.Deed`)."""

    text: str
    what: str
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """A command as people see it in ``!help``."""

    name: str
    usage: str
    does: str


SPECS = (
    Spec("help", "!help", "shows this"),
    Spec("status", "!status", "says what runs, what waits, the model, the sandbox and the cost so far"),
    Spec("stop", "!stop [all]", "stops the running turn at once; with `all` the waiting messages as well"),
    Spec("reset", "!reset", "forgets the conversation; the files stay"),
    Spec("reset", "!reset workspace", "deletes every file of this room, after asking you"),
    Spec("model", "!model [NAME|default]", "shows the model, or sets this room's (operators)"),
    Spec("egress", "!egress", "shows where the container may connect to"),
    Spec("egress", "!egress add|remove HOST[:PORT]", "changes that (operators)"),
    Spec("egress", "!egress preset none|registries|github|all", "sets what is allowed without asking (operators)"),
    Spec("repo", "!repo", "shows which repositories this room may fetch from and push to"),
    Spec("repo", "!repo add|remove OWNER/NAME", "changes that (operators)"),
    Spec("ask", "!ask AGENT …", "talks to a coding agent directly, such as `!ask gemini what is this project?`"),
    Spec("agents", "!agents", "shows the coding agents, and whom this room asks first"),
    Spec("agents", "!agents plan|implement NAME …", "sets whom it asks first; `!agents default` (operators)"),
    Spec("prompt", "!prompt [TEXT|none]", "shows what the model is told in this room, or sets it (operators)"),
    Spec("doctor", "!doctor", "looks at everything I need, and says how to mend it (operators)"),
    Spec("audit", "!audit [N]", "shows the newest of what was done here, and by whom (operators)"),
    Spec("redeploy", "!redeploy [REF]", "goes to the newest release, or to a branch, tag or commit (operators)"),
    Spec("rollback", "!rollback", "goes back to the release before (operators)"),
    Spec("version", "!version", "shows the release that runs"),
    Spec("who", "!who", "says who may do what here"),
    Spec("rooms", "!rooms", "shows the rooms that I am in (operators)"),
    Spec("settings", "!settings", "shows what is set, without secrets (operators)"),
    Spec("ping", "!ping", "answers with how long your message took to get here"),
)

NAMES = tuple(dict.fromkeys(spec.name for spec in SPECS))

_COMMAND = re.compile(r"!([A-Za-z][\w-]*)[ \t]*(.*)", re.DOTALL)


def parse(text: str) -> Command | None:
    """The command that a text is, None when it is none (``!`` alone and ``!!`` are talk)."""
    match = _COMMAND.fullmatch(text.strip())
    return Command(match[1].lower(), match[2].strip()) if match else None


def without_mention(text: str, names: Sequence[str]) -> str:
    """The text without the bot's name in front (``Roommate: do it`` → ``do it``)."""
    for name in sorted(names, key=len, reverse=True):
        match = re.match(rf"\s*@?{re.escape(name)}(?:[:,]+\s*|\s+|$)", text, re.IGNORECASE)
        if match:
            return text[match.end() :]
    return text


def names_of(bot: UserId, display_name: str) -> tuple[str, ...]:
    """What people call the bot: its id, its local part, its display name."""
    return tuple(filter(None, (bot, bot[1:].partition(":")[0], display_name)))


def meant_for(
    message: Message, bot: UserId, names: Sequence[str], *, people: int, to_us: bool, everything: bool
) -> bool:
    """Is a message for the bot? `people` is everybody in the room, the bot included, 0 where nobody knows how many they
    are; `to_us`: it replies to the bot."""
    return (
        0 < people <= 2
        or everything
        or to_us
        or bot in message.mentions
        or parse(message.text) is not None
        or without_mention(message.text, names) != message.text
    )
