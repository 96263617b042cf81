"""What people set per room about coding agents and the prompt: `!agents`, `!ask`, `!prompt`; and AGENTS.md."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from roommate.agent.direct import DIRECT
from roommate.agent.prompt import INSTRUCTIONS_LENGTH, Surroundings
from roommate.changes import Change, change
from roommate.chat.commands import Command
from roommate.chat.view import block
from roommate.coders import PLANS
from roommate.errors import NotPermitted, RoommateError, SandboxError, ToolError
from roommate.house import House
from roommate.store import agents, rooms
from roommate.words import RoomId, UserId

ROLES = ("plan", "implement")
LONGEST_PROMPT = 4000
INSTRUCTIONS = "AGENTS.md"
READ_SECONDS = 5.0
"""No turn waits longer for a container that does not come up."""

ASK_USAGE = f"`!ask AGENT …` talks to a coding agent: {', '.join(f'`{name}`' for name in PLANS)}."
AGENTS_USAGE = (
    "`!agents` shows this room's coding agents. Operators choose whom to ask first: `!agents plan NAME …`, "
    "`!agents implement NAME …`, `!agents default`."
)


def asked_directly(command: Command | None) -> tuple[str, str] | None:
    """The model and the prompt of a turn that a coding agent does alone (``!ask gemini …``)."""
    if command is None or command.name != "ask":
        return None
    name, _, task = command.argument.partition(" ")
    return (DIRECT + name.lower(), task.strip()) if name.lower() in PLANS and task.strip() else None


async def obey_agents(argument: str, *, room_id: RoomId, by: UserId, house: House) -> str | Change:
    """Do ``!agents``; gives what to answer. Raises NotPermitted."""
    words = argument.lower().split()
    if not words:
        return await _shown(room_id, house)
    if not house.settings.is_operator(by):
        raise NotPermitted("Only an operator can change whom this room asks; `!agents` shows it.", "agents", argument)
    match words:
        case ["default"]:
            chosen: dict[str, Sequence[str]] = dict.fromkeys(ROLES, ())
        case [role, *names] if role in ROLES and names and set(names) <= set(PLANS):
            chosen = {role: list(dict.fromkeys(names))}
        case _:
            return AGENTS_USAGE
    preferred = [agents.preferring(room_id, role, names) for role, names in chosen.items()]
    return change(*preferred, text=await _order(room_id, house, chosen), what="agents", subject=" ".join(words))


async def obey_prompt(argument: str, *, room_id: RoomId, by: UserId, house: House) -> str | Change:
    """Do ``!prompt``; gives what to answer. Raises NotPermitted."""
    if not argument:
        current = (await house.rooms.get(room_id)).prompt
        shown = f"The model is told in this room:\n\n{block(current)}" if current else "Nothing is added in this room."
        return f"{shown}\n\n`!prompt TEXT` sets it, `!prompt none` takes it away (operators)."
    if not house.settings.is_operator(by):
        raise NotPermitted("Only an operator can change what the model is told; `!prompt` shows it.", "prompt")
    if len(argument) > LONGEST_PROMPT:
        return f"That has {len(argument)} characters, {LONGEST_PROMPT} is the most: put the rest into AGENTS.md."
    setting = rooms.setting_prompt(room_id, None if argument == "none" else argument)
    told, subject = ("nothing more", "none") if argument == "none" else ("this", f"{len(argument)} characters")
    return change(setting, text=f"From the next turn on the model is told {told}.", what="prompt", subject=subject)


async def surroundings(room_id: RoomId, house: House) -> Surroundings:
    """What the system prompt says of a room."""
    row = await house.rooms.get(room_id)
    return Surroundings(house.agents(room_id).names, row.prompt or "", await _instructions(room_id, house))


async def _instructions(room_id: RoomId, house: House) -> str:
    """The workspace's AGENTS.md. A container that rests is started for it: a new room has none yet."""
    if not house.sandboxes.has_files(room_id):
        return ""
    try:
        async with asyncio.timeout(READ_SECONDS):
            hand = await house.sandboxes.hand(room_id)
            return (await hand.read(INSTRUCTIONS, limit=4 * INSTRUCTIONS_LENGTH)).content.decode("utf-8", "replace")
    except (SandboxError, ToolError, TimeoutError):
        return ""


async def _shown(room_id: RoomId, house: House) -> str:
    try:
        missing = await house.agents(room_id).missing(await house.sandboxes.hand(room_id))
    except RoommateError as error:
        return f"Whether there are coding agents is not known: {error}"
    lines = [f"- `{plan.name}` ({plan.title}): {missing.get(plan.name, 'ready')}" for plan in PLANS.values()]
    return "\n".join(lines) + "\n\n" + await _order(room_id, house, {})


async def _order(room_id: RoomId, house: House, chosen: Mapping[str, Sequence[str]]) -> str:
    """Whom the room asks first: as it is `chosen` now, else as it was."""
    settings = house.settings
    defaults = {"plan": settings.plan_agent, "implement": settings.implement_agent}
    parts = []
    for role in ROLES:
        own = chosen[role] if role in chosen else await house.agent_log.preferred(room_id, role)
        names = own or defaults[role]
        parts.append(f"`{role}` asks {', then '.join(f'`{name}`' for name in names)}")
    return " · ".join(parts) + "; where they are not there, whoever is."
