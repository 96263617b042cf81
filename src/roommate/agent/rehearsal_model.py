"""The rehearsal model: no key, no network, no intelligence. It does, word for word, the few things that it knows."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections.abc import Sequence

from roommate.domain import Answer, Emit, Prompt, Reply, Step, TextDelta, ToolCall, ToolResult, ToolSpec

HELP = """\
I am Roommate's rehearsal model: I cannot think, and I need no key. I am here so that you can try everything around \
me. This room has a real container, and I run real tools in it:

- `run: COMMAND`, such as `run: python3 --version`
- `run on PEER: COMMAND`, where another daemon works for this room
- `write PATH: TEXT`; the text may go on over several lines
- `read PATH`

Several lines of one kind are done at the same time, different kinds one after the other.

For a real model put `LLM_MODEL` (such as `gemini/gemini-2.5-flash`) and `LLM_API_KEY` into `.env`, and start me \
again."""

PIECES = 200
"""Most pieces that a reply is streamed in, so that a long one takes no longer than a short one."""

_RUN = re.compile(r"run:\s*(?P<command>\S.*)", re.IGNORECASE)
_RUN_ON = re.compile(r"run on\s+(?P<peer>[^\s:]+):\s*(?P<command>\S.*)", re.IGNORECASE)
_READ = re.compile(r"read:?\s+(?P<path>\S+)", re.IGNORECASE)
_WRITE = re.compile(r"write:?\s+(?P<path>[^\s:]+):\s?(?P<text>.*)", re.IGNORECASE)


class RehearsalModel:
    """Implements `Model`. The same history always gets the same reply."""

    name = "rehearsal"
    context_tokens = 32_768
    sees = False

    async def reply(self, system: str, history: Sequence[Step], tools: Sequence[ToolSpec], emit: Emit) -> Reply:
        reply = answer(history)
        words = re.findall(r"\s*\S+\s*", reply.text)
        size = len(words) // PIECES + 1
        for start in range(0, len(words), size):
            emit(TextDelta("".join(words[start : start + size])))
            await asyncio.sleep(0)
        return reply


def answer(history: Sequence[Step]) -> Reply:
    """The reply to a history with at least one Prompt: the next calls of the newest, or what all of them gave."""
    at = max(place for place, step in enumerate(history) if isinstance(step, Prompt))
    rounds = history[at + 1 :]
    said = itertools.takewhile(lambda step: isinstance(step, Prompt), reversed(history[: at + 1]))
    text = "\n".join(step.text for step in [*said][::-1] if isinstance(step, Prompt))
    done = [step for step in rounds if isinstance(step, Answer)]
    groups = orders(text)
    if len(done) < len(groups):
        calls = (ToolCall(f"rehearsal-{at}-{len(done)}-{n}", *order) for n, order in enumerate(groups[len(done)]))
        return Reply("", tuple(calls))
    results = {step.call_id: step.text for step in rounds if isinstance(step, ToolResult)}
    return Reply("\n\n".join(_told(call, results[call.id]) for step in done for call in step.calls) or HELP)


def orders(text: str) -> list[list[tuple[str, str]]]:
    """The tool calls that a text asks for, as tool names with arguments; each group is one reply.

    An order is a line of its own. Lines behind a `write` that are no orders belong to its text, other lines are talk.
    """
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        bare = line.strip("`") if line.startswith("`") else line
        if match := _RUN.fullmatch(bare):
            found.append(("run_command", {"command": match["command"]}))
        elif match := _RUN_ON.fullmatch(bare):
            found.append(("exec_on_peer", {"peer": match["peer"], "argv": match["command"]}))
        elif match := _READ.fullmatch(bare):
            found.append(("read_file", {"path": match["path"]}))
        elif match := _WRITE.fullmatch(bare):
            found.append(("write_file", {"path": match["path"], "content": match["text"] + "\n"}))
        elif found and found[-1][0] == "write_file":
            found[-1][1]["content"] += line + "\n"
    return [
        [(name, json.dumps(arguments, ensure_ascii=False)) for _, arguments in group]
        for name, group in itertools.groupby(found, key=lambda order: order[0])
    ]


def _told(call: ToolCall, result: str) -> str:
    """What a call gave, in a code block whose fence no line of it can end."""
    arguments = json.loads(call.arguments)
    match call.name:
        case "run_command":
            what = arguments["command"]
        case "exec_on_peer":
            what = f"{arguments['peer']}: {arguments['argv']}"
        case name:
            what = f"{name.partition('_')[0]} {arguments['path']}"
    longest = max((len(run) for run in re.findall(r"`+", result)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"**{_inline(what)}**\n{fence}\n{result}\n{fence}"


def _inline(text: str) -> str:
    return f"`{text}`" if "`" not in text else f"`` {text} ``"
