"""Coding agents: each CLI as a plan of a command and its event stream, run in a room's container over its hand."""

from roommate.coders.plans import PLANS, Plan

__all__ = ["PLANS", "Plan"]
