"""People have let a room out when its task had ended without that: what the model is told when it goes on."""

from __future__ import annotations

from roommate.store import Card


def take_up(card: Card) -> str:
    _, _, host = card.subject.partition(" ")
    return (
        f"Go on: people have allowed `{host}` meanwhile, which your last task here had to do without. Take up what you "
        "left."
    )
