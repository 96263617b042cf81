"""`!ask gemini …` is a turn whose model passes everything on."""

import json

from roommate.agent.direct_to_coding_agent_model import DIRECT, DirectModel
from roommate.domain import Answer, Prompt, Step, ToolResult, UserId

ALICE = UserId("@alice:x")


async def test_what_a_person_says_goes_to_the_agent_and_back() -> None:
    model = DirectModel(f"{DIRECT}gemini")
    history: list[Step] = [Prompt("earlier", ALICE), Answer("yes"), Prompt("look “here”\nplease", ALICE)]
    asked = await model.reply("", history, (), lambda _: None)
    [call] = asked.calls
    assert call.name == "ask_agent"
    assert json.loads(call.arguments) == {"agent": "gemini", "task": "look “here”\nplease"}
    history += [Answer("", asked.calls), ToolResult(call.id, "I looked.")]
    answer = await model.reply("", history, (), lambda _: None)
    assert (answer.text, answer.calls) == ("I looked.", ())
