"""The tool shell: the room's one shell, which stays from call to call."""

from __future__ import annotations

from roommate.ports import Emit, Hand
from roommate.tools.arguments import Shell
from roommate.tools.commands import ending, with_status
from roommate.tools.live_output import watched
from roommate.tools.outcome import Outcome
from roommate.tools.plain import plain, shown
from roommate.words import ShellLook

REACTS = 5.0
"""Seconds that a program is given, where the model does not say, to react to Ctrl-C."""


async def use(
    call_id: str, asked: Shell, hand: Hand, emit: Emit, *, default: float, longest: float, keep: int
) -> Outcome:
    """Times are seconds; `keep` is how many bytes of output the model gets."""
    with watched(call_id, emit, keep) as (printed, take):
        look = await hand.shell(
            asked.command or None,
            typed=asked.input or None,
            interrupt=asked.interrupt,
            end=asked.end,
            timeout=min(asked.timeout or (REACTS if asked.interrupt else default), longest),
            on_output=take,
            spill_after=keep,
        )
    how, more = _state(look)
    text = with_status(shown(printed.excerpt(), look.spilled or ""), f"{how}{more}")
    return Outcome(text, how, ok=asked.end or (look.end is None and not look.code))


def _state(look: ShellLook) -> tuple[str, str]:
    """How the shell is, for people and the model; and what the model alone has to know."""
    if look.end is not None:
        gone = "; its folder, variables and programs are gone, the next command begins a new one"
        return f"the shell has ended: {ending(look.end)}", gone
    fresh = "; this is a new shell: of an earlier one nothing is left" if look.fresh else ""
    folder = plain(look.cwd.encode("utf-8", "replace"))
    if look.code is not None:
        return f"exit code {look.code} · {look.seconds:.1f} s", f"{f'; in {folder}' if folder else ''}{fresh}"
    go_on = (
        "; call shell again with nothing to go on waiting, with input to type, with interrupt, or with end where that "
        "does not help"
    )
    return f"still running after {look.seconds:.1f} s", f"{go_on}{fresh}"
