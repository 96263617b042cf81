"""What people read of an update: the card that asks, the steps as they happen, how it ended."""

from __future__ import annotations

from collections.abc import Sequence

from roommate.chat.texts import NO, YES, seconds
from roommate.domain import Update, UpdateStep
from roommate.text.printable import plain

LONGEST_WHY = 300
HINT = f"{YES} does it, {NO} leaves everything as it is. Only operators decide."

_DOES = {
    UpdateStep.BUILD: "making the release",
    UpdateStep.CHECK: "asking it whether it can run here",
    UpdateStep.IMAGE: "making the image",
    UpdateStep.RESTART: "saving the database, handing over",
    UpdateStep.TRIAL: "on trial: messages wait until it has shown that it works",
    UpdateStep.CONFIRMED: "it works",
}
_DID = {
    UpdateStep.BUILD: "the release is made",
    UpdateStep.CHECK: "it can run here",
    UpdateStep.IMAGE: "the image is there",
    UpdateStep.RESTART: "the database is saved, the old release has handed over",
    UpdateStep.TRIAL: "the new release works",
    UpdateStep.CONFIRMED: "it stays",
}


def redeploy_card(
    old: str, new: str, ref: str, incoming: Sequence[str], behind: int, why: str = "", about: Sequence[str] = ()
) -> str:
    """`incoming` are lines about commits, `why` is what a model says: both are a stranger's text. `about` is what
    `notes` gives."""
    lines = [f"Redeploy `{old}` → `{new}` ({plain(ref)})?"]
    if why:
        lines.append(f"The model asks for it: {plain(why)[:LONGEST_WHY]}")
    if incoming:
        lines.append("\n".join(f"- {plain(line)}" for line in incoming))
    lines += about
    if behind:
        lines.append(f"⚠️ {behind} commit{'' if behind == 1 else 's'} that run{'s' if behind == 1 else ''} now go away.")
    return "\n\n".join(lines)


def notes(changes: Sequence[str], more: int, settings: Sequence[str], gone: Sequence[str]) -> Sequence[str]:
    """What is new in a release, as Markdown: items of its changelog (and how many others there are), settings that come
    and go. All of them are a stranger's text."""
    found = []
    if changes:
        others = [f"- … and {more} more"] if more else []
        found.append("What is new:\n\n" + "\n".join([*(f"- {plain(change)}" for change in changes), *others]))
    if settings:
        found.append("New settings:\n\n" + "\n".join(f"- {plain(setting)}" for setting in settings))
    if gone:
        found.append(f"Settings that are gone: {plain(', '.join(gone))}")
    return found


def rollback_card(old: str, new: str, about: str) -> str:
    return (
        f"Go back from `{old}` to `{new}` ({plain(about)})? It goes on with the database as it is, if it can read that."
    )


def version(number: str, commit: str, about: str, made: str) -> str:
    return f"Roommate {number}, release `{commit}` ({plain(about)}), made {made}."


def steps(update: Update) -> str:
    """An update that is on its way."""
    return "\n\n".join([_title(update), _taken(update), f"▶ {_DOES.get(update.step, update.step)} …"])


def ending(update: Update) -> str:
    """An update that has come to its end."""
    if update.step is UpdateStep.DONE:
        away = sum(one.seconds for one in update.taken if one.step in (UpdateStep.RESTART, UpdateStep.TRIAL))
        took = seconds(update.step_began - update.started)
        end = f"✅ `{update.old}` → `{update.new}` in {took}; it was away for {seconds(away)}."
    else:
        end = (
            f"❌ `{update.new}` failed: {plain(update.why)[:LONGEST_WHY]}\n\n`{update.old}` runs, and nothing was lost."
        )
    return "\n\n".join([_title(update), _taken(update), end])


def _title(update: Update) -> str:
    return f"**Redeploy** `{update.old}` → `{update.new}`, as {plain(update.by)} decided"


def _taken(update: Update) -> str:
    """A line for each step that is over; the one at which it failed is marked."""
    failed = len(update.taken) - 1 if update.step is UpdateStep.FAILED else -1
    return "  \n".join(
        f"✘ {_DOES.get(one.step, one.step)}" if number == failed else f"✔ {_DID[one.step]} · {seconds(one.seconds)}"
        for number, one in enumerate(update.taken)
    )
