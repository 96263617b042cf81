"""The command ``!egress``: shows where a room's container may connect to, and changes it."""

from __future__ import annotations

from roommate.broker import rules
from roommate.chat.commands import Changed
from roommate.config import EGRESS_PRESETS
from roommate.errors import NotPermitted
from roommate.house import House
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


async def obey(argument: str, *, room_id: RoomId, by: UserId, house: House) -> str | Changed:
    """Do the command; gives what to answer. Raises NotPermitted."""
    words = argument.split()
    if not words:
        return await _shown(room_id, house)
    if not house.settings.is_operator(by):
        refusal = "Only an operator can change where this room's container may connect to; `!egress` shows it."
        raise NotPermitted(refusal, "egress", argument)
    match words:
        case ["add" | "remove" as what, text]:
            rule = rules.typed(text)
            if rule is None:
                return f"`{text}` is no host: write `example.org`, `example.org:8443` or `*.example.org`."
            return await _change(what, rule, room_id, by, house)
        case ["preset", *names] if names and set(names) <= set(EGRESS_PRESETS):
            await house.egress.set_presets(room_id, names)
            return Changed(await _shown(room_id, house), "egress.preset", " ".join(names))
    return USAGE


async def _change(what: str, rule: Destination, room_id: RoomId, by: UserId, house: House) -> str | Changed:
    if what == "add":
        await house.egress.add(room_id, rule, by)
        return Changed(f"This room's container may connect to `{rule}` now.", "egress.add", str(rule))
    if await house.egress.remove(room_id, rule):
        return Changed(f"`{rule}` is not among this room's hosts any more.", "egress.remove", str(rule))
    return f"`{rule}` is not among this room's hosts; `!egress` shows them."


async def _shown(room_id: RoomId, house: House) -> str:
    presets = await house.gate.presets(room_id)
    lines = [f"- preset `{name}`: {PRESETS[name]}" for name in presets]
    lines += [f"- `{rule}`" for rule in await house.egress.rules(room_id)]
    return "This room's container may connect to:\n\n" + "\n".join(lines) + "\n\nAbout any other host I ask here."
