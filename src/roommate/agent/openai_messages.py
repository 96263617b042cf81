"""A history as OpenAI's chat messages, in the form that the strictest provider takes. Pure."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from roommate.domain import Answer, JsonObject, Picture, Prompt, Step, ToolCall, ToolResult, ToolSpec, UserId

UNANSWERED = "(This turn was ended before an answer.)"
"""Stands where a turn has no answer: several providers refuse a user message behind another or behind a tool result."""

WORKING = "(I am at work. Before I go on, something is said to me.)"
"""Stands before what is said to a turn that runs, for the same providers."""

LOOKING = "(I look at the picture.)"
"""Stands between the results of calls and their pictures, for the same providers. A result cannot hold its picture
itself: OpenAI and those like it take text there only."""

BLIND = "[You cannot see pictures: tell so where what they show matters.]"
PICTURES = 4
"""The newest of a turn that a model is shown: providers limit how large a request is."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,40}")
_THOUGHT = "__thought__"
"""LiteLLM keeps Gemini's signature of a thought in the call's id; it takes it out again for everybody else."""


def messages(
    system: str, history: Sequence[Step], model: str = "", *, litellm: bool = True, sees: bool = True
) -> list[JsonObject]:
    """The history as chat messages: starts with a Prompt, each call of an Answer has its ToolResult behind it.

    Where several people wrote, each message begins with its writer: ``alice: …``, the whole Matrix id where two share
    that name. Prompts behind one another are one message. Pictures of results come behind them, as a user's message;
    those that people sent stand with their words, for a model that `sees`. Arguments that are not a JSON object are
    sent back as ``{"_malformed": "…"}``, empty texts get a word. What `model` wants back of its thoughts goes along.
    For LiteLLM (`litellm`) its signatures stay in the ids of calls, and an empty text beside calls is none: it would go
    to Gemini, which refuses it.
    """
    newest = max((place for place, step in enumerate(history) if isinstance(step, Prompt)), default=0)

    def identity(call_id: str) -> str:
        return _id(call_id if litellm else call_id.partition(_THOUGHT)[0])

    names = _names({step.sender for step in history if isinstance(step, Prompt)})
    out: list[JsonObject] = [{"role": "system", "content": clean(system)}] if system else []
    given = [(step, picture) for step in history for picture in _pictures(step)] if sees else []
    shown = {id(picture) for _, picture in given[-PICTURES:]}
    pictures: list[JsonObject] = []
    before: Step | None = None
    for place, step in enumerate(history):
        if pictures and not isinstance(step, ToolResult):
            out += _look(pictures)
            pictures = []
        match step:
            case Prompt(text, sender, paths):
                said = clean(text).strip() or "(nothing)"
                if paths and not sees:
                    said += f"\n{BLIND}"
                seen = [_picture(picture) for picture in step.pictures if id(picture) in shown]
                if isinstance(before, Prompt):
                    said = "\n\n" + ("" if before.sender == sender else names[sender]) + said
                    out[-1]["content"] = _joined(out[-1]["content"], said, seen)
                else:
                    if out and out[-1]["role"] in ("user", "tool"):
                        out.append({"role": "assistant", "content": WORKING})
                    out.append({"role": "user", "content": _joined("", names[sender] + said, seen)})
            case Answer(text, calls, thought):
                kept = thought.fields if thought and thought.model == model else {}
                if kept and not (calls and place > newest):  # DeepSeek refuses it where it is not asked for
                    kept = {name: value for name, value in kept.items() if name != "reasoning_content"}
                message = _assistant(text, _distinct(calls) if litellm else calls, identity)
                out.append({**message, **({"content": None} if litellm and not message["content"] else {}), **kept})
            case ToolResult(call_id, text):
                content = clean(text) if text.strip() else "(no output)"
                out.append({"role": "tool", "tool_call_id": identity(call_id), "content": content})
                if step.picture and id(step.picture) in shown:
                    pictures.append(_picture(step.picture))
        before = step
    return out + (_look(pictures) if pictures else [])


def _joined(before: str | list[JsonObject], text: str, pictures: list[JsonObject]) -> str | list[JsonObject]:
    """A user's words, behind what stands there already; a list of parts where there are pictures."""
    if isinstance(before, str) and not pictures:
        return before + text
    parts = [{"type": "text", "text": before}] if isinstance(before, str) and before else list(before)
    return [*parts, {"type": "text", "text": text}, *pictures]


def _pictures(step: Step) -> Sequence[Picture]:
    match step:
        case Prompt(pictures=pictures):
            return pictures
        case ToolResult(picture=Picture() as picture):
            return (picture,)
    return ()


def _look(pictures: list[JsonObject]) -> list[JsonObject]:
    which = "The picture that the tool gave:" if len(pictures) == 1 else "The pictures that the tools gave, in order:"
    return [
        {"role": "assistant", "content": LOOKING},
        {"role": "user", "content": [{"type": "text", "text": which}, *pictures]},
    ]


def _picture(picture: Picture) -> JsonObject:
    content = base64.b64encode(picture.content).decode()
    return {"type": "image_url", "image_url": {"url": f"data:{picture.mimetype};base64,{content}"}}


def tools_for(specs: Sequence[ToolSpec]) -> list[JsonObject]:
    """Tools in OpenAI's form."""
    return [
        {
            "type": "function",
            "function": {"name": spec.name, "description": spec.description, "parameters": dict(spec.parameters)},
        }
        for spec in specs
    ]


def clean(text: str) -> str:
    """The text as UTF-8 can carry it: halves of an emoji are joined, what is no character becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text.replace("\x00", "\ufffd")


def _assistant(text: str, calls: Sequence[ToolCall], identity: Callable[[str], str]) -> JsonObject:
    if not calls:
        return {"role": "assistant", "content": clean(text) if text.strip() else UNANSWERED}
    return {
        "role": "assistant",
        "content": clean(text) if text.strip() else "",
        "tool_calls": [
            {
                "id": identity(call.id),
                "type": "function",
                "function": {
                    "name": call.name
                    if _NAME.fullmatch(call.name)
                    else re.sub(r"\W", "_", call.name, flags=re.A)[:64] or "unknown",
                    "arguments": _arguments(call.arguments),
                },
            }
            for call in calls
        ],
    }


def _distinct(calls: Sequence[ToolCall]) -> Sequence[ToolCall]:
    """The calls of one answer, of which equal ones are told apart: on its way to Gemini LiteLLM leaves one of them out
    and both results in, which is refused (litellm 1.106, check_if_part_exists_in_parts)."""
    seen: Counter[tuple[str, str]] = Counter()
    told = []
    for call in calls:
        seen[key := (call.name, _arguments(call.arguments))] += 1
        again = {"_again": seen[key] - 1} if seen[key] > 1 else {}
        told.append(replace(call, arguments=json.dumps(json.loads(key[1]) | again)) if again else call)
    return told


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse)


def as_object(text: str) -> JsonObject | None:
    """The JSON object that a model wrote as a call's arguments; None where it is not one."""
    try:
        arguments = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None


def _arguments(text: str) -> str:
    if (arguments := as_object(text)) is None:
        return json.dumps({"_malformed": clean(text)}, ensure_ascii=False)
    # Escapes may hide what is no character: only then the text is written anew.
    return clean(json.dumps(arguments, ensure_ascii=False) if "\\u" in text else text)


def _id(call_id: str) -> str:
    if _ID.fullmatch(call_id) or _THOUGHT in call_id:
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _names(senders: set[UserId]) -> Mapping[UserId, str]:
    """What stands before each sender's messages: nothing where one person writes alone."""
    if len(senders) < 2:
        return dict.fromkeys(senders, "")
    local = {sender: sender.partition(":")[0].removeprefix("@") for sender in senders}
    return {sender: f"{sender if list(local.values()).count(name) > 1 else name}: " for sender, name in local.items()}
