"""What there is at the forge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Repository:
    """``name`` is ``owner/name``, as the forge writes it."""

    name: str
    default_branch: str


@dataclass(frozen=True, slots=True)
class PullRequest:
    """``is_new``: it was made just now, and not found."""

    number: int
    url: str
    is_new: bool
