"""Coding agents: each CLI as a plan of a command and its event stream, run in a room's container over its hand."""

from roommate.coding_agents.agent_clis import PLANS, Plan
from roommate.coding_agents.room_agents import Choice, RoomAgents

__all__ = ["PLANS", "Choice", "Plan", "RoomAgents"]
