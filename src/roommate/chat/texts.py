"""What the bot says in its own words: greetings, help, refusals, status. Markdown, short, always with a way on."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from roommate.domain import Check, Deed, DeedOutcome, Usage
from roommate.text.amounts import grouped
from roommate.text.printable import in_code, plain

QUEUED = "⏳"
PLACED = "📎"
AGAIN = "🔁"
YES = "✅"
NO = "❌"
ALWAYS = "♾"
AGAIN = "🔁"
"""As reactions are compared: without U+FE0F."""
LONGEST_WHY = 300
LONGEST_NAME = 200
LONGEST_HEARD = 1500

CANNOT_READ = (
    "This room is encrypted, and I cannot read encrypted messages: my operator has switched that off. A room "
    "cannot go back: make a new one and "
    "invite me there. In Element: “New room”, switch “Enable end-to-end encryption” off, then create it; a direct chat "
    "that you start there is encrypted."
)
NOTHING_ASKED = "Yes? Tell me what to do; `!help` shows what I understand."
EDITED = f"I had begun with the first wording: {AGAIN} here asks it again, as it reads now."
RESUMED = "I was restarted and go on where I was."


def broken(place: str) -> str:
    return f"⚠️ Something went wrong inside of Roommate: its log has it under {place}. Try again, or tell the operator."


def until(at: float) -> str:
    """Seconds since 1970 as people read a clock: ``13:20 UTC``."""
    return time.strftime("%H:%M %Z", time.localtime(at))


def key_missing(sender: str) -> str:
    return (
        f"🔒 I cannot read a message of {sender}: its key has not reached me. I have asked for it, and answer when "
        "it comes. If it does not, write again; if that does not help, your client may give keys to verified devices "
        "only (look at its security settings), or its session may need to be verified itself."
    )


def stopped(by: str) -> str:
    return f"⏹ Stopped by {by}."


def file_failed(name: str, why: str) -> str:
    return f"⚠️ {in_code(name, LONGEST_NAME) or 'Your file'} did not come in: {plain(why)}. {AGAIN} tries it again."


def heard(text: str) -> str:
    """What somebody said in a voice message."""
    return f"🎙 I heard: “{plain(text[:LONGEST_HEARD])}{'…' if len(text) > LONGEST_HEARD else ''}”"


def not_transcribed(path: str, why: str) -> str:
    return f"🎙 I could not hear what you said: {plain(why)}. The recording lies in {in_code(path, LONGEST_NAME)}."


def greeting(model: str, *, encrypted: bool, rehearsal: bool, crowded: bool, lacking: Mapping[str, str]) -> str:
    if encrypted:
        return f"Hello, I am Roommate, a coding bot. {CANNOT_READ}"
    start = (
        "I run on the built-in rehearsal model: write `run: python3 --version` to see me work."
        if rehearsal
        else f"I think with `{model}`. Tell me what to do, such as “write a script that counts words, and test it”."
    )
    return (
        "Hello, I am Roommate, a coding bot. This room has a Linux container of its own now: I write files and run "
        f"commands there, and you see my work as it happens. {start} `!stop` stops me, `!help` shows what else I "
        "understand."
        + (" There are several of you: write my name first, or reply to me, when you mean me." if crowded else "")
    ) + (f"\n\n{_lacks(lacking)}" if lacking else "")


def _lacks(lacking: Mapping[str, str]) -> str:
    *_, all_of_it = lacking
    what = ", ".join(lacking.values())
    return f"Not in the rooms' image: {what}. An operator adds that with `roommate image build --stage {all_of_it}`."


def moved(*, files: bool) -> str:
    if not files:
        return (
            "This room replaces the one before: what I remember, settings and permissions are here now. I could "
            "not move its files: an operator finds them on the host."
        )
    return (
        "This room replaces the one before: its files, what I remember, settings and permissions are here now, and "
        "what waited there is answered here."
    )


def to_be_invited(old: str, new: str, why: str) -> str:
    return (
        f"The room `{old}` was replaced by `{new}`, and I could not join that: {in_code(why, LONGEST_WHY)}. Invite "
        "me there, and I will move."
    )


def not_followed(old: str, new: str, why: str) -> str:
    return f"The room `{old}` says that `{new}` replaces it. I do not follow, since {why}."


CARD_LOST = "There was a question here in the old room, which I cannot show any more. ✅ and ❌ still answer it."


def restored(at: int) -> str:
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at / 1000))
    return (
        f"I was restored from a backup of {when}: this room's files, its settings and what I remember are as they were "
        "then. What I have answered since I do not answer again; what I have not answered comes now."
    )


def not_allowed(operators: Sequence[str]) -> str:
    who = f" ({', '.join(f'`{operator}`' for operator in operators)})" if operators else ""
    return f"I am sorry, I take no requests from you here: you are not on my list. The operator{who} can add you."


def declined(operators: Sequence[str]) -> str:
    return not_allowed(operators).replace("`", "")


def full(most: int, operators: Sequence[str]) -> str:
    """No Markdown: it is the reason of leaving."""
    who = f" ({', '.join(operators)})" if operators else ""
    return (
        f"I am sorry, I am at home in {most} rooms already, which is as many as I may have. The operator{who} can "
        "raise MAX_ROOMS, or have me leave another room. Invite me again then."
    )


RESET = "Delete **every file** of this room's workspace, and its container? This cannot be undone."
RESET_HINT = f"{YES} deletes, {NO} keeps them. The question stands for an hour."


def held(by: str, waiting: int) -> str:
    many = "1 message waits" if waiting == 1 else f"{waiting} messages wait"
    return f"⏸ Paused by {by}: {many} here. All that comes is kept, and answered in order when I am resumed."


def loops(name: str) -> str:
    return (
        f"⏸ {name} has written right behind each of my answers for a long time, as another bot would. What is said "
        "waits now until somebody else writes here, or anybody reacts to a message or gives a command, such as "
        "`!status`. (`LOOP_LIMIT` says how long.)"
    )


def spent(usage: Usage) -> str:
    """``1 234 tokens`` and the cost, where it is known; ``nothing spent`` for the rehearsal."""
    count = usage.input_tokens + usage.output_tokens
    if not count:
        return "nothing spent"
    tokens = f"{grouped(count)} tokens"
    return tokens if usage.cost is None else f"{tokens}, ${usage.cost:.4f}"


def checked(checks: Sequence[Check]) -> str:
    """What doctor found, for a room: what is not right, and how much is."""
    wrong = [check for check in checks if not check.ok]
    marks = {"warn": "⚠️", "fail": "❌"}
    lines = [
        f"- {marks[check.level]} **{check.what}**: {check.found}{f' → {check.mend}' if check.mend else ''}"
        for check in wrong
    ]
    fine = f"{len(checks) - len(wrong)} of {len(checks)} things that I looked at are as they should be."
    return "\n".join((fine, "", *lines)) if lines else fine


def deed(at: int, done: Deed, *, room: bool = True) -> str:
    """A line of the audit log, plain text: `at` is ms since 1970, shown in UTC."""
    when = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at / 1000))
    parts = [when, done.who, done.what, done.subject, "" if done.outcome is DeedOutcome.DONE else done.outcome.upper()]
    parts += [f"({done.detail})" if done.detail else "", f"in {done.room_id}" if room and done.room_id else ""]
    return " ".join(filter(None, [*parts, f"via {done.via}" if room else ""]))


def seconds(duration: float) -> str:
    """``0.4 s``, ``12 s``, ``3 min 5 s``."""
    if duration < 10:
        return f"{duration:.1f} s"
    minutes, rest = divmod(round(duration), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
