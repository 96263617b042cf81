"""Conversations for property tests: valid as `Model` wants them, with every text that anybody may write."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from roommate.domain import Answer, Picture, Prompt, Step, ToolCall, ToolResult, UserId

texts = st.one_of(
    st.text(st.characters(), max_size=40),
    st.sampled_from(["", " ", "\n\n", "a\x00b", "half \ud83d", "\ude00 half", "x" * 3000, "line\u2028line", "[DONE]"]),
)

objects = st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=20), st.integers(), st.none()), max_size=3)

arguments = st.one_of(
    objects.map(json.dumps),
    objects.map(lambda value: json.dumps(value, ensure_ascii=False)),
    st.builds(lambda size: json.dumps({"path": "x", "content": "y" * size}), st.integers(0, 3000)),
    texts,
    st.sampled_from(["{", "[1]", '"text"', '{"a": NaN}', '{"a": "\\ud83d"}', "[" * 5000, "null", '{"a":1}{"b":2}']),
)

_names = st.sampled_from(["run_command", "read_file", "default_api.run_command", "", "no such tool!", "n" * 90])
_ids = st.sampled_from(["", "call_", "functions.run:", "ünï", "x" * 50, "call__thought__AbC="])
_senders = st.sampled_from([UserId("@alice:x.org"), UserId("@bob:x.org"), UserId("@alice:y.org")])

_pictures = st.sampled_from([None, None, Picture("image/png", b"png")])


@st.composite
def turns(draw: st.DrawFn, number: int = 0) -> list[Step]:
    """One turn; it may have been ended at any point between its rounds."""
    steps: list[Step] = [Prompt(draw(texts), draw(_senders))]
    for round_number in range(draw(st.integers(0, 3))):
        calls = tuple(
            ToolCall(f"{draw(_ids)}{number}-{round_number}-{n}", draw(_names), draw(arguments))
            for n in range(draw(st.integers(1, 3)))
        )
        steps.append(Answer(draw(texts), calls))
        steps.extend(ToolResult(call.id, draw(texts), draw(st.booleans()), picture=draw(_pictures)) for call in calls)
    if draw(st.booleans()):
        steps.append(Answer(draw(texts)))
    return steps


conversations = st.integers(1, 4).flatmap(lambda count: st.tuples(*(turns(number) for number in range(count))))
"""One to four turns."""


def is_valid(history: list[Step]) -> bool:
    """Starts with a Prompt; behind each Answer the results of its calls, in order."""
    waiting: list[str] = []
    for step in history:
        if isinstance(step, ToolResult):
            if not waiting or waiting.pop(0) != step.call_id:
                return False
        elif waiting:
            return False
        elif isinstance(step, Answer):
            waiting = [call.id for call in step.calls]
    return not waiting and bool(history) and isinstance(history[0], Prompt)
