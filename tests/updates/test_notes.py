"""What is new in another release is found in its changelog and its example of settings, whatever is in them."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from roommate.settings.config import Settings
from roommate.updates.release_notes import LONGEST_ITEM, MOST_ITEMS, notes

OLD = "# Changelog\n\n## Unreleased\n\n- One thing,\n  on two lines.\n- Another.\n"
NEW = OLD.replace("- One thing,\n  on", "- A *new* one,\n  on two lines.\n\n## 1.0\n\n- One thing, on\n ")


def test_items_that_are_new_are_told() -> None:
    found = notes(OLD, NEW, "", "")
    assert (found.changes, found.more) == (["A *new* one, on two lines."], 0)
    assert notes(NEW, OLD, "", "").changes == []
    assert notes("", NEW, "", "").changes == [], "a release without a changelog is no reason to tell all of another"
    many = notes("- old\n", "".join(f"- {number}\n" for number in range(MOST_ITEMS + 3)), "", "")
    assert (len(many.changes), many.more) == (MOST_ITEMS, 3)
    [long] = notes("- old\n", f"- {'x' * 5000}\n", "", "").changes
    assert len(long) == LONGEST_ITEM


def test_settings_that_come_and_go_are_told() -> None:
    example = (Path(__file__).parents[2] / ".env.example").read_text()
    new = f"{example}\n# What it is for\n#NEW_ONE=7\n\nBARE=\n".replace("#LOG_LEVEL=", "#LOGGING=")
    found = notes("", "", example, new)
    assert found.new_settings == ["LOGGING: DEBUG, INFO, WARNING or ERROR", "NEW_ONE: What it is for", "BARE"]
    assert found.gone_settings == ["LOG_LEVEL"]
    every = notes("", "", "A=1\n", example).new_settings
    assert all(line.partition(":")[0].lower() in Settings.model_fields for line in every)


@given(st.text(), st.text(), st.text(), st.text())
def test_any_texts_are_compared(one: str, two: str, three: str, four: str) -> None:
    found = notes(one, two, three, four)
    assert all(line.isprintable() and len(line) <= LONGEST_ITEM for line in (*found.changes, *found.new_settings))
    same = notes(two, two, four, four)
    assert not same.changes and not same.new_settings and not same.gone_settings
