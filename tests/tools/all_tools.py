"""Every tool that a model can be offered, the kernel's and those of features."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from roommate.features import ask_person
from roommate.features.coding_agents import delegation_tools
from roommate.features.github import pull_request_tool
from roommate.features.redeploy import redeploy_tool
from roommate.tools import TurnPorts
from roommate.tools.room_tools import SOURCES, offered

_ANY: Any = SimpleNamespace(names=["an agent"], ask=None)

ALL_TOOLS = offered(
    TurnPorts(command_timeout=1, longest_timeout=1, share=_ANY),
    (
        *SOURCES,
        ask_person.offered(_ANY),
        delegation_tools.offered(_ANY),
        pull_request_tool.offered(_ANY),
        redeploy_tool.offered(_ANY),
    ),
)
"""By name. What they do needs more than is here."""
