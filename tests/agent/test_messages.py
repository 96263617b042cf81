"""Whatever a history holds, the strictest provider takes it."""

from __future__ import annotations

import json

from hypothesis import given

from roommate.agent.openai_messages import LOOKING, PICTURES, WORKING, Messages, messages
from roommate.domain import Answer, Picture, Prompt, Step, Thought, ToolCall, ToolResult, UserId
from tests.agent.conversations import conversations
from tests.scripted_model import what_is_wrong

ALICE, BOB, OTHER_ALICE = UserId("@alice:x.org"), UserId("@bob:x.org"), UserId("@alice:y.org")


@given(conversations)
def test_every_history_that_waits_for_a_reply_is_taken(conversation: tuple[list[Step], ...]) -> None:
    steps = [step for turn in conversation for step in turn]
    while isinstance(steps[-1], Answer):
        steps.pop()
    sent = messages("You are Roommate.", steps)
    assert what_is_wrong({"messages": sent}) is None
    json.dumps(sent, ensure_ascii=False).encode()
    assert messages("You are Roommate.", steps) == sent


def test_arguments_that_are_no_object_go_back_as_one() -> None:
    steps: list[Step] = [
        Prompt("hi", ALICE),
        Answer(
            "", (ToolCall("a", "run_command", '{"command": "ls'), ToolCall("b", "run_command", '{"command": "ls"}'))
        ),
        ToolResult("a", "not JSON", ok=False),
        ToolResult("b", "x"),
    ]
    first, second = messages("", steps)[1]["tool_calls"]
    assert json.loads(first["function"]["arguments"]) == {"_malformed": '{"command": "ls'}
    assert second["function"]["arguments"] == '{"command": "ls"}'


def test_the_writer_is_named_only_where_several_write() -> None:
    alone = messages("", [Prompt("hi", ALICE), Answer("hello"), Prompt("you", ALICE)])
    assert [message["content"] for message in alone] == ["hi", "hello", "you"]
    both = messages("", [Prompt("hi", ALICE), Answer("hello"), Prompt("you", BOB)])
    assert [message["content"] for message in both] == ["alice: hi", "hello", "bob: you"]
    three = messages("", [Prompt("1", ALICE), Answer("2"), Prompt("3", BOB), Answer("4"), Prompt("5", OTHER_ALICE)])
    assert [message["content"] for message in three][::2] == ["@alice:x.org: 1", "bob: 3", "@alice:y.org: 5"]


def test_what_is_said_while_a_turn_runs_keeps_the_roles_in_turn() -> None:
    call = Answer("", (ToolCall("a", "read_file", "{}"),))
    steps: list[Step] = [
        Prompt("hi", ALICE),
        Prompt("there", ALICE),
        call,
        ToolResult("a", "x"),
        Prompt("stop it", BOB),
    ]
    sent = messages("", steps)
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant", "user"]
    assert sent[0]["content"] == "alice: hi\n\nthere"
    assert [message["content"] for message in sent[3:]] == [WORKING, "bob: stop it"]


def test_ids_of_another_provider_stay_pairs() -> None:
    odd = "Ünï code " * 20
    sent = messages("", [Prompt("hi", ALICE), Answer("", (ToolCall(odd, "read_file", "{}"),)), ToolResult(odd, "x")])
    assert sent[1]["tool_calls"][0]["id"] == sent[2]["tool_call_id"]
    assert len(sent[2]["tool_call_id"]) <= 40


def test_a_thought_that_hangs_on_an_id_is_kept() -> None:
    call_id = "call_1__thought__" + "Ab+/=" * 100
    call = ToolCall(call_id, "t", "{}")
    for thought, kept in ((None, True), (Thought("g", {}), True), (Thought("another", {}), False)):
        steps: list[Step] = [Prompt("hi", ALICE), Answer("", (call,), thought), ToolResult(call_id, "x")]
        sent = Messages("g", provider="gemini").of("", steps)
        assert sent[2]["tool_call_id"] == sent[1]["tool_calls"][0]["id"]
        assert (sent[2]["tool_call_id"] == call_id) == kept


def test_pictures_stand_behind_all_results_of_their_round() -> None:
    steps: list[Step] = [
        Prompt("show", ALICE),
        Answer("", (ToolCall("a", "take_screenshot", "{}"), ToolCall("b", "take_screenshot", "{}"))),
        ToolResult("a", "one", picture=Picture("image/png", b"\x89PNG")),
        ToolResult("b", "two", picture=Picture("image/jpeg", b"\xff\xd8")),
    ]
    sent = messages("", steps)
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool", "assistant", "user"]
    assert sent[4]["content"] == LOOKING
    assert [part["image_url"]["url"] for part in sent[5]["content"][1:]] == [
        "data:image/png;base64,iVBORw==",
        "data:image/jpeg;base64,/9g=",
    ]
    assert messages("", [*steps, Answer("nice")])[-1]["content"] == "nice"


def test_only_the_newest_pictures_are_sent() -> None:
    steps: list[Step] = [Prompt("show", ALICE)]
    for number in range(PICTURES + 2):
        call = ToolCall(f"{number}", "take_screenshot", "{}")
        steps += [Answer("", (call,)), ToolResult(call.id, "x", picture=Picture("image/png", b"%d" % number))]
    sent = messages("", steps)
    assert sum(message["content"] == LOOKING for message in sent) == PICTURES
    assert what_is_wrong({"messages": sent}) is None
