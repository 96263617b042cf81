"""What the bot says in its own words reads well."""

from __future__ import annotations

from roommate.administration.settings_show_and_reload import Setting
from roommate.chat import texts
from roommate.domain import Check
from roommate.features.help_and_ping import what_is_set


def test_what_is_not_right_and_what_to_do_about_it() -> None:
    said = texts.checked(
        [Check("python", True, "3.11"), Check("backup", False, "there is none", "run it", needed=False)]
    )
    assert said.splitlines()[2:] == ["- ⚠️ **backup**: there is none → run it"]
    assert texts.checked([Check("room", False, "it does not start", "")]).endswith("**room**: it does not start")


def test_settings_stand_there_as_they_are() -> None:
    found = [Setting("LLM_API_KEY", "********", default=False), Setting("ALLOWED_USERS", "@*:a_b.c,@`x", default=False)]
    assert "- `LLM_API_KEY` `********`" in what_is_set(found)
    assert "`` @*:a_b.c,@`x ``" in what_is_set(found)
