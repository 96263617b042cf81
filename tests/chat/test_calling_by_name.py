"""Who is called by name is heard, wherever the sentence stands; who is only talked about is not."""

import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from roommate.chat.calling_by_name import MOST, OPENINGS, called, without_call
from roommate.chat.commands import names_of
from roommate.domain import UserId

BOT = UserId("@roommate:example.org")
NAMES = names_of(BOT, "Robin the Bot")
SAID = ("roommate", "Roommate", "ROOMMATE", "@roommate", BOT, "robin the bot", "@Robin the Bot")


@pytest.mark.parametrize(
    "text",
    [
        "hey roommate can you look?",
        "Hey, Roommate! Can you look?",
        "ok roommate, look",
        "good morning robin the bot",
        "please @roommate look",
        "The build is red. Roommate, can you look",
        "look at this:\nroommate what is it",
        "roommate is it done",
        "roommate can you do it",
        "Roommate is the build green?",
        "Robin the Bot – look",
        "@roommate was here",
        "roommate",
        "roommate.",
        "roommate?",
    ],
)
def test_a_call(text: str) -> None:
    assert called(text, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "my roommate said that it works",
        "I asked roommate about it",
        "Roommate said no",
        "roommate can do that",
        "Roommate is the best.",
        "Roommate and I went out",
        "roommate's log is full",
        "roommate-like things",
        "roommates are nice",
        "roommate.example.org is down",
        "@roommate:other.org do it",
        "@roommates do it",
        "mail me at bot@roommate now",
        "hey everybody, my roommate is ill",
        "Robin Thebot: hi",
        "",
        "  \n ",
    ],
)
def test_talk(text: str) -> None:
    assert not called(text, NAMES)
    assert without_call(text, NAMES) == text


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize("form", ["{}: do it", "{}, do it", "{} do it", "  {}:do it", "hey {} do it", "OK {}! do it"])
def test_the_call_in_front_is_taken_off(name: str, form: str) -> None:
    if form == "  {}:do it" and name.startswith("@"):
        return  # more of an id may stand there
    assert without_call(form.format(name), NAMES) == "do it"


def test_a_path_behind_a_call_keeps_its_dots() -> None:
    assert without_call("roommate: ../up", NAMES) == "../up"
    assert without_call("hey roommate.", NAMES) == ""
    assert without_call("roommate: !ping", NAMES) == without_call("hey roommate! !ping", NAMES) == "!ping"


WORD = st.text(string.ascii_lowercase, min_size=1, max_size=9)
SENTENCE = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


@given(before=st.lists(SENTENCE, max_size=3), opening=st.sampled_from(["", *OPENINGS]), name=st.sampled_from(SAID))
def test_a_name_at_the_start_of_any_sentence_calls(before: list[str], opening: str, name: str) -> None:
    assert called("".join(f"{one}. " for one in before) + f"{opening} {name}, please look", NAMES)


@given(before=SENTENCE, name=st.sampled_from(SAID), after=SENTENCE)
def test_a_name_in_the_middle_of_a_sentence_is_talk(before: str, name: str, after: str) -> None:
    assume(not set(before.split()) <= {word for one in OPENINGS for word in one.split()})
    assume(before.split()[0] not in ("roommate", "robin"))
    assert not called(f"{before} {name} {after}", NAMES)


@given(st.text())
def test_nothing_that_lacks_the_name_calls_and_what_is_taken_off_was_in_front(text: str) -> None:
    assert text.endswith(without_call(text, NAMES)) or called(text, NAMES)
    assume("roommate" not in text.casefold() and "robin" not in text.casefold())
    assert not called(text, NAMES)


def test_a_hostile_text_takes_no_time() -> None:
    def took(length: int) -> float:
        began = time.process_time()
        for text in ("\n", ".", "hey ", "!'", " ", "roommate", "hey\t", ".) "):
            called(text * length, NAMES)
        return time.process_time() - began

    took(10)
    assert took(MOST) < 40 * max(took(MOST // 8), 0.001), "eight times as much, and not its square"
