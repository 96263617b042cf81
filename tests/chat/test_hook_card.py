"""The card about a risky call, whatever a container writes into its fields."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.chat.texts import ALWAYS, NO, YES
from roommate.domain import HookEvent, HookKind
from roommate.features.hooks.agent_action_card import RISKS, SHOWN, WHOLE, hook_card
from roommate.matrix import render
from roommate.text.printable import HIDDEN

PUSH = HookEvent(HookKind.APPROVAL, "gemini", "s", "run_shell_command", text="push", asks="1a", command="git push")


def shown(event: HookEvent) -> tuple[str, str]:
    """The HTML of a card, and what of it is in its details."""
    card = hook_card(event)
    content = render.content(f"{card.text}\n\n{card.hint}", notice=True, details=card.details)
    html, _, details = str(content.get("formatted_body", content["body"])).partition("<details>")
    return html, details


def test_an_ordinary_call_is_shown_whole() -> None:
    card = hook_card(PUSH)
    assert card.text.startswith("May `gemini` do this? `run_shell_command` `git push`\n\n")
    assert RISKS["push"] in card.text
    assert "♾️ all of the kind `push` in this room from now on" in card.hint
    assert (card.choices, card.details) == ((YES, ALWAYS, NO), None)


EVIL = "push\n\n## Security notice\n\n[sign in](https://evil.example/) <b>**now**</b> ![](mxc://x/y) `x` @room"


@pytest.mark.parametrize("field", ["agent", "tool", "text", "command"])
def test_a_field_says_nothing_in_the_bots_name(field: str) -> None:
    evil: Any = {field: EVIL}
    html, _ = shown(dataclasses.replace(PUSH, **evil))
    assert all(f"<{tag}" not in html for tag in ("h1", "h2", "a ", "img", "b>", "em"))
    assert html.count("<strong>") == (1 if field == "command" else 0), "our own mark alone"


@pytest.mark.parametrize(
    "command",
    ["x" * (SHOWN + 1), "git status #\ngit push", "git  push", "git push \u200b", "git push\u202e", "echo '\ta'"],
)
def test_what_is_not_shown_whole_is_in_the_details_and_never_allowed_for_good(command: str) -> None:
    card = hook_card(dataclasses.replace(PUSH, command=command))
    assert "That is not all of it" in card.text
    assert (card.choices, ALWAYS in card.hint) == ((YES, NO), False)
    _, details = shown(dataclasses.replace(PUSH, command=command))
    assert f"The whole command, {len(command.strip())} characters" in details
    assert "".join(mark if mark.isprintable() or mark.isspace() else HIDDEN for mark in command.strip()) in details


@pytest.mark.parametrize("mark", ["&", "<", '"', "\\", "\n", "`", "\U0001f600", "\u00ad", "~", "*", " x"])
def test_as_much_as_may_be_asked_about_fits_into_the_details(mark: str) -> None:
    command = "a" + (mark * WHOLE)[: WHOLE - 2] + "z"
    _, details = shown(dataclasses.replace(PUSH, command=command))
    assert "a" in details and "z\n</code></pre>" in details


@given(st.builds(HookEvent, st.just(HookKind.APPROVAL), *[st.text(max_size=120)] * 4, text=st.text(max_size=300),
                 command=st.text(max_size=WHOLE)))  # fmt: skip
def test_no_field_makes_more_of_a_card_than_it_is(event: HookEvent) -> None:
    card = hook_card(event)
    assert len(card.text) < 2000
    assert card.text.count("\n\n") == (2 if card.details else 1), "no line of its own"
    assert len(shown(event)[0]) < 5000
