"""The scripted model says what its script says, refuses what a strict provider refuses, and forgets nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from tests.scripted_model import ScriptedModel, what_is_wrong

Message = dict[str, Any]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def calls(*ids: str, arguments: str = "{}") -> Message:
    function = {"name": "run_command", "arguments": arguments}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": one, "type": "function", "function": function} for one in ids],
    }


def result(call_id: str, text: str = "out") -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": text}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedModel]:
    async with ScriptedModel(key="k") as server:
        yield server


async def ask(server: ScriptedModel, *messages: Message, key: str = "k") -> tuple[int, str, list[tuple[str, str]]]:
    """The status, the text and the calls (name, arguments) of one reply."""
    body = {"model": "m", "messages": messages, "stream": True, "stream_options": {"include_usage": True}}
    headers = {"Authorization": f"Bearer {key}"}
    text, names, arguments = "", dict[int, str](), dict[int, str]()
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/chat/completions", json=body, headers=headers) as response,
    ):
        async for line in response.content:
            if line.startswith(b"data: {"):
                for choice in json.loads(line[6:])["choices"]:
                    text += choice["delta"].get("content") or ""
                    for call in choice["delta"].get("tool_calls") or ():
                        names[call["index"]] = names.get(call["index"], "") + call["function"].get("name", "")
                        arguments[call["index"]] = arguments.get(call["index"], "") + call["function"]["arguments"]
        return response.status, text, [(names[index], arguments[index]) for index in names]


async def test_a_script_in_the_chat_is_played_round_by_round(server: ScriptedModel) -> None:
    script = user('SAY looking\nTOOL run_command {"command": "ls"}\nTOOL read_file {\n---\nECHO\nSAY "bye\\nbye"')
    assert await ask(server, script) == (
        200,
        "looking",
        [("run_command", '{"command": "ls"}'), ("read_file", "{")],
    )
    later = [script, calls("a", "b"), result("a", "one"), result("b", "two")]
    assert await ask(server, *later) == (200, "one\ntwo\nbye\nbye", [])
    assert await ask(server, *later, calls("c"), result("c")) == (200, "done", [])
    assert [asked.round for asked in server.asked] == [0, 1, 2]
    assert [asked.ended for asked in server.asked] == ["whole"] * 3


async def test_the_writers_name_before_a_script_is_passed_over(server: ScriptedModel) -> None:
    assert (await ask(server, user("alice: SAY hi")))[1] == "hi"
    assert (await ask(server, user("@alice:x.org: SAY hi")))[1] == "hi"
    assert (await ask(server, user("alice: hello")))[1] == "echo: alice: hello"


async def test_a_status_can_pass_after_some_tries(server: ScriptedModel) -> None:
    script = user("STATUS 503 2 retry-after=1\nSAY ok")
    assert [(await ask(server, script))[0] for _ in range(3)] == [503, 503, 200]
    assert [(await ask(server, user("STATUS 429")))[0] for _ in range(3)] == [429] * 3


async def test_another_key_is_refused(server: ScriptedModel) -> None:
    assert (await ask(server, user("SAY x"), key="another"))[0] == 401


GOOD = [user("a"), calls("1", "2"), result("2"), result("1"), {"role": "assistant", "content": "b"}, user("c")]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda messages: messages.pop(),
        lambda messages: messages.pop(0),
        lambda messages: messages.pop(2),
        lambda messages: messages.pop(1),
        lambda messages: messages.pop(4),
        lambda messages: messages.insert(1, user("twice")),
        lambda messages: messages.__setitem__(1, calls("1", "1")),
        lambda messages: messages.__setitem__(1, calls("1", "2", arguments="{")),
        lambda messages: messages.__setitem__(1, calls("1", "2", arguments="[]")),
        lambda messages: messages.__setitem__(3, result("1", "")),
        lambda messages: messages.__setitem__(5, user(" ")),
        lambda messages: messages.append({"role": "system", "content": "late"}),
    ],
)
def test_what_a_strict_provider_refuses(spoil: Callable[[list[Message]], object]) -> None:
    messages = list(GOOD)
    assert what_is_wrong({"messages": messages}) is None
    spoil(messages)
    assert what_is_wrong({"messages": messages})


async def test_a_wrong_history_is_an_http_error(server: ScriptedModel) -> None:
    assert (await ask(server, user("SAY x"), calls("1")))[0] == 400
    assert server.asked[0].ended == "refused"
