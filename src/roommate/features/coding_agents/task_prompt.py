"""What an agent is told before its task: where it is, and what is wanted of it in this role."""

from __future__ import annotations

_ROOM = (
    "You work in the container of a chat room, in /workspace, for Roommate, its coding bot. People watch what you do, "
    "nobody can answer a question: where something is open, take the simplest way and say so. End with a short report."
)

_ROLES = {
    "plan": "Make a plan for the task below. Look at the files, change none of them. The plan names files, steps in "
    "their order and how to test the result; somebody else carries it out.",
    "review": "Review what the task below says. Look at the files and at `git diff`, change nothing. Tell what is "
    "wrong or missing, the most important first, each with its file and line; say so when there is nothing.",
    "implement": "Do the task below: write the code, run it and its tests. Say plainly what does not work.",
    "ask": "",
}
"""By role; ``ask`` is a person who speaks for themselves."""


def brief(role: str, task: str) -> str:
    """The prompt for a task."""
    return "\n\n".join(part for part in (_ROOM, _ROLES[role], task) if part)
