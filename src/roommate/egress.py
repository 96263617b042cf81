"""The command ``!egress``: shows where a room's container may connect to, and changes it."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.broker import rules
from roommate.changes import Change, change
from roommate.chat.commands import Changed
from roommate.config import EGRESS_PRESETS, Settings
from roommate.errors import NotPermitted
from roommate.house import House
from roommate.store import egress
from roommate.words import Destination, RoomId, UserId

PRESETS = {
    "none": "nothing",
    "registries": "the package registries that the image is set up for",
    "github": "GitHub",
    "all": "every host of the internet, ports 80 and 443",
}
USAGE = (
    "`!egress` shows where this room's container may connect to. Operators change it: `!egress add HOST[:PORT]`, "
    f"`!egress remove HOST[:PORT]`, `!egress preset NAME …` ({', '.join(f'`{name}`' for name in EGRESS_PRESETS)})."
)


ONLY_OPERATORS = (
    "Only an operator can let this room connect to a host from now on; ✅ allows it for ten minutes. "
    "(`EGRESS_FOREVER` says who can.)"
)


def may_open_for_good(settings: Settings, who: UserId) -> bool:
    """May they choose ♾️ on a card about a host?"""
    return settings.egress_forever == "people" or settings.is_operator(who)


async def obey(argument: str, *, room_id: RoomId, by: UserId, house: House) -> str | Change:
    """Do the command; gives what to answer. Raises NotPermitted."""
    words = argument.split()
    if not words:
        return await _shown(room_id, house, await house.gate.presets(room_id))
    if not house.settings.is_operator(by):
        refusal = "Only an operator can change where this room's container may connect to; `!egress` shows it."
        raise NotPermitted(refusal, "egress", argument)
    match words:
        case ["add" | "remove" as what, text]:
            rule = rules.typed(text)
            if rule is None:
                return f"`{text}` is no host: write `example.org`, `example.org:8443` or `*.example.org`."
            return _change(what, rule, room_id, by)
        case ["preset", *names] if names and set(names) <= set(EGRESS_PRESETS):
            text = await _shown(room_id, house, names)
            chosen = egress.choosing_presets(room_id, names)
            return change(chosen, text=text, what="egress.preset", subject=" ".join(names))
    return USAGE


def _change(what: str, rule: Destination, room_id: RoomId, by: UserId) -> Change:
    if what == "add":
        text = f"This room's container may connect to `{rule}` now."
        return change(egress.opening(room_id, rule, by), text=text, what="egress.add", subject=str(rule))
    shut = egress.shutting(room_id, rule)
    done = Changed(f"`{rule}` is not among this room's hosts any more.", "egress.remove", str(rule))
    return Change(lambda c: done if shut(c) else f"`{rule}` is not among this room's hosts; `!egress` shows them.")


async def _shown(room_id: RoomId, house: House, presets: Sequence[str]) -> str:
    lines = [f"- preset `{name}`: {PRESETS[name]}" for name in presets]
    lines += [f"- `{rule}`" for rule in await house.egress.rules(room_id)]
    return "This room's container may connect to:\n\n" + "\n".join(lines) + "\n\nAbout any other host I ask here."
