"""The tool shell: the room's one shell, which stays from call to call."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from roommate.domain import ShellLook
from roommate.tools.arguments import Arguments, Seconds, one_text
from roommate.tools.command_tools import ending, with_status
from roommate.tools.live_output import watched
from roommate.tools.outcome import Outcome
from roommate.tools.sanitized_text import sanitized, shown
from roommate.tools.tool import Call, tool

REACTS = 5.0
"""Seconds that a program is given, where the model does not say, to react to Ctrl-C."""


class Shell(Arguments):
    """A shell in a terminal that stays: folder, variables, environments, what runs. With no argument: wait for that."""

    command: Annotated[str, BeforeValidator(one_text)] | None = Field(
        None, description="A command, when the shell is at its prompt"
    )
    input: str | None = Field(None, description="To type into the program that runs; \\n is Enter, \\u0004 Ctrl-D")
    interrupt: bool = Field(False, description="True for Ctrl-C")
    end: bool = Field(False, description="True to end the shell and all that runs in it; the next command begins anew")
    timeout: Seconds | None = Field(None, description="Seconds to wait; what still runs then is not killed")

    @model_validator(mode="after")
    def _one_thing(self) -> Shell:
        asked = {"command": self.command, "input": self.input, "interrupt": self.interrupt, "end": self.end}
        if len(given := [name for name, value in asked.items() if value]) > 1:
            raise PydanticCustomError("one_thing", "{given} cannot go together", {"given": " and ".join(given)})
        return self


async def use(asked: Shell, call: Call) -> Outcome:
    ports = call.ports
    with watched(call) as (printed, take):
        look = await call.hand.shell(
            asked.command or None,
            typed=asked.input or None,
            interrupt=asked.interrupt,
            end=asked.end,
            timeout=min(asked.timeout or (REACTS if asked.interrupt else ports.command_timeout), ports.longest_timeout),
            on_output=take,
            spill_after=ports.keep,
        )
    how, more = _state(look)
    text = with_status(shown(printed.excerpt(), look.spilled or ""), f"{how}{more}")
    if asked.end:
        return Outcome(text, "ended")
    did = "Ctrl-C · " if asked.interrupt else "typed · " if asked.input else ""
    return Outcome(text, f"{did}{how}", ok=look.end is None and not look.code)


def _state(look: ShellLook) -> tuple[str, str]:
    """How the shell is, for people and the model; and what the model alone has to know."""
    if look.end is not None:
        gone = "; its folder, variables and programs are gone, the next command begins a new one"
        return f"the shell has ended: {ending(look.end)}", gone
    fresh = "; this is a new shell: of an earlier one nothing is left" if look.fresh else ""
    folder = sanitized(look.cwd.encode("utf-8", "replace"))
    if look.code is not None:
        return f"exit code {look.code} · {look.seconds:.1f} s", f"{f'; in {folder}' if folder else ''}{fresh}"
    go_on = (
        "; call shell again with nothing to go on waiting, with input to type, with interrupt, or with end where that "
        "does not help"
    )
    return f"still running after {look.seconds:.1f} s", f"{go_on}{fresh}"


TOOLS = (tool("shell", Shell, use, title=("command", "input"), turns="shell"),)
