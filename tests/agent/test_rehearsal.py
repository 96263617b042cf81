"""The rehearsal model does what it is told, tells what came out, and says what it is."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from roommate.agent.rehearsal_model import HELP, RehearsalModel, answer
from roommate.domain import Answer, Event, Model, Prompt, Reply, Step, TextDelta, ToolResult, UserId

ALICE = UserId("@alice:x.org")


def played(text: str, result: str = "out") -> tuple[list[list[tuple[str, dict[str, str]]]], str]:
    """The rounds of calls that a prompt leads to, and the last answer."""
    history: list[Step] = [Prompt("earlier", ALICE), Answer("yes"), Prompt(text, ALICE)]
    rounds = []
    while calls := (reply := answer(history)).calls:
        rounds.append([(call.name, json.loads(call.arguments)) for call in calls])
        history += [Answer(reply.text, calls), *(ToolResult(call.id, result) for call in calls)]
    return rounds, reply.text


def test_commands_of_one_kind_are_one_reply() -> None:
    rounds, said = played("please\nrun: python3 --version\nRun: ls -l | wc\nthank you")
    assert rounds == [
        [("run_command", {"command": "python3 --version"}), ("run_command", {"command": "ls -l | wc"})],
    ]
    assert said == "**`python3 --version`**\n```\nout\n```\n\n**`ls -l | wc`**\n```\nout\n```"


def test_a_file_is_written_before_it_is_run() -> None:
    rounds, said = played("write hello.py: print('hi')\n\nprint('run it')\nrun: python3 hello.py\nread hello.py")
    assert rounds == [
        [("write_file", {"path": "hello.py", "content": "print('hi')\n\nprint('run it')\n"})],
        [("run_command", {"command": "python3 hello.py"})],
        [("read_file", {"path": "hello.py"})],
    ]
    assert said.index("write hello.py") < said.index("python3 hello.py") < said.index("read hello.py")


def test_another_daemon_is_asked() -> None:
    rounds, said = played("run on builder: uname -n")
    assert rounds == [[("exec_on_peer", {"peer": "builder", "argv": "uname -n"})]]
    assert said == "**`builder: uname -n`**\n```\nout\n```"


def test_talk_gets_the_truth() -> None:
    for text in ("hello", "read the docs, please", "running: late", "write me a poem", ""):
        assert played(text) == ([], HELP)
    assert "LLM_MODEL" in HELP
    assert "LLM_API_KEY" in HELP
    assert "rehearsal" in HELP


def test_a_fence_in_the_output_does_not_end_the_block() -> None:
    _, said = played("read README.md", "```sh\nmake\n```\n")
    assert "\n````\n```sh\nmake\n```\n\n````" in said


@given(st.text(max_size=300))
def test_whatever_is_written_ends(text: str) -> None:
    rounds, said = played(text)
    assert said
    assert len(rounds) <= len(text.splitlines())
    assert played(text) == (rounds, said)


async def test_it_streams_its_text_word_by_word_through_the_port() -> None:
    model: Model = RehearsalModel()
    events: list[Event] = []
    reply = await model.reply("", [Prompt("hi", ALICE)], [], events.append)
    assert reply == Reply(HELP)
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == HELP
    assert len(pieces) == len(events) > 50


async def test_a_long_answer_is_not_streamed_in_more_pieces() -> None:
    history = [Prompt("read big", ALICE)]
    calls = answer(history).calls
    events: list[Event] = []
    await RehearsalModel().reply(
        "", [*history, Answer("", calls), ToolResult(calls[0].id, "word " * 20_000)], [], events.append
    )
    assert len(events) <= 200
