"""The tool request_redeploy: a model that works for an operator asks for another release of what runs it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from pydantic import Field

from roommate.tools.arguments import Arguments, Text
from roommate.tools.outcome import Outcome
from roommate.tools.tool import Call, Tool, tool

Redeploy = Callable[[str, str], Awaitable[str]]
"""Puts up a card, given a ref and why, and gives what to tell the model."""


class RequestRedeploy(Arguments):
    """Ask the operators to redeploy Roommate, the program that runs you. They see a card and decide without you."""

    why: Text = Field(description="Why, in a sentence")
    ref: Text | None = Field(None, description="Branch, tag or commit; default: the newest")


def offered(ask: Redeploy | None) -> Sequence[Tool[RequestRedeploy]]:
    """To a model that works for an operator of a daemon that can be redeployed."""
    if ask is None:
        return ()
    return [tool("request_redeploy", RequestRedeploy, partial(_request, ask), title=("ref",), sandbox=False)]


async def _request(redeploy: Redeploy, asked: RequestRedeploy, call: Call) -> Outcome:
    return Outcome(await redeploy(asked.ref or "", asked.why), "an operator is asked")
