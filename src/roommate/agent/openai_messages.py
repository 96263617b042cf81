"""A history as OpenAI's chat messages, in the form that the strictest provider takes."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from roommate.agent.cached_per_step import CachedPerStep
from roommate.domain import Answer, JsonObject, Picture, Prompt, Step, ToolCall, ToolResult, ToolSpec, UserId

UNANSWERED = "(This turn was ended before an answer.)"
"""Stands where a turn has no answer: several providers refuse a user message behind another or behind a tool result."""

WORKING = "(I am at work. Before I go on, something is said to me.)"
"""Stands before what is said to a turn that runs, for the same providers."""

LOOKING = "(I look at the picture.)"
"""Stands between the results of calls and their pictures, for the same providers. A result cannot hold its picture
itself: OpenAI and those like it take text there only."""

HANDED_OVER = "(So far another model did this.)"
GO_ON = "(Go on from here.)"
"""Stand behind results of calls that another model made: a provider that signs thoughts refuses calls of the running
turn that are not signed, and what a user says begins another one for it."""

THINK_ALOUD = frozenset({"deepseek", "moonshot"})
"""Providers that take no answer with calls without the ``reasoning_content`` that came with it."""

BLIND = "[You cannot see pictures: tell so where what they show matters.]"
PICTURES = 4
"""The newest of a turn that a model is shown: providers limit how large a request is."""

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,40}")
_THOUGHT = "__thought__"
"""LiteLLM keeps Gemini's signature of a thought in the call's id; it takes it out again for everybody else."""


class Message(dict[str, Any]):
    """A chat message that stays as it is; the wire that writes it keeps it `written`, too."""

    __slots__ = ("written",)
    written: bytes


class Messages:
    """Histories as chat messages, for one model. What is made of a step is made once, however often it is asked with.

    For LiteLLM (`litellm`) an empty text beside calls is none: it would go to Gemini, which refuses it. Providers in
    `THINK_ALOUD` refuse an answer without its thought: one that they did not give gets a blank one.
    """

    def __init__(self, model: str = "", *, litellm: bool = True, provider: str = "") -> None:
        self._model = model
        self._litellm = litellm
        self._blank = {"reasoning_content": " "} if provider in THINK_ALOUD else {}
        self._signs = provider in ("gemini", "vertex_ai", "vertex_ai_beta")
        self._made: CachedPerStep[Message] = CachedPerStep()

    def of(self, system: str, history: Sequence[Step], *, sees: bool = True) -> list[Message]:
        """The history: it starts with a Prompt, each call of an Answer has its ToolResult behind it.

        Where several people wrote, each message begins with its writer: ``alice: …``, the whole Matrix id where two
        share that name. Prompts behind one another are one message. Pictures of results come behind them, as a user's
        message; those that people sent stand with their words, for a model that `sees`. Arguments that are not a JSON
        object are sent back as ``{"_malformed": "…"}``, empty texts get a word. What the model wants back of its
        thoughts goes along, to it alone; work of another that it is to go on with is handed over.
        """
        names = _names({step.sender for step in history if isinstance(step, Prompt)})
        out: list[Message] = [Message(role="system", content=clean(system))] if system else []
        given = [(step, picture) for step in history for picture in _pictures(step)] if sees else []
        shown = {id(picture) for _, picture in given[-PICTURES:]}
        pictures: list[JsonObject] = []
        theirs = signed = False
        """The newest answer is another model's; the ids of its calls may hold signatures that this one knows."""
        before: Step | None = None
        for step in history:
            if pictures and not isinstance(step, ToolResult):
                out += self._look(pictures)
                pictures = []
            match step:
                case Prompt():
                    seen = tuple(picture for picture in step.pictures if id(picture) in shown)
                    if isinstance(before, Prompt):
                        name = "" if before.sender == step.sender else names[step.sender]
                        out[-1] = self._made(step, _prompt, name, seen, out[-1], sees)
                    else:
                        if out and out[-1]["role"] in ("user", "tool"):
                            out.append(self._assistant(WORKING))
                        out.append(self._made(step, _prompt, names[step.sender], seen, None, sees))
                case Answer():
                    others = bool(step.thought and step.thought.model != self._model)
                    if theirs and not others and out[-1]["role"] == "tool":
                        out += self._handed_over()
                    theirs, signed = others, not others if step.thought else self._signs
                    out.append(self._made(step, self._answer, signed))
                case ToolResult():
                    out.append(self._made(step, _result, signed))
                    if step.picture and id(step.picture) in shown:
                        pictures.append(_picture(step.picture))
            before = step
        if pictures:
            return out + self._look(pictures)
        return out + self._handed_over() if theirs and isinstance(before, ToolResult) else out

    def _answer(self, step: Answer, signed: bool) -> Message:
        calls = _distinct(step.calls) if self._litellm else step.calls
        message = self._assistant(clean(step.text) if step.text.strip() else "" if calls else UNANSWERED)
        if calls:
            message["tool_calls"] = [_call(call, _identity(call.id, signed)) for call in calls]
            if self._litellm and not message["content"]:
                message["content"] = None
        if step.thought and step.thought.model == self._model:
            message |= step.thought.fields
        return message

    def _assistant(self, content: str) -> Message:
        return Message(role="assistant", content=content, **self._blank)

    def _look(self, pictures: list[JsonObject]) -> list[Message]:
        which = (
            "The picture that the tool gave:" if len(pictures) == 1 else "The pictures that the tools gave, in order:"
        )
        shown = Message(role="user", content=[{"type": "text", "text": which}, *pictures])
        return [self._assistant(LOOKING), shown]

    def _handed_over(self) -> list[Message]:
        return [self._assistant(HANDED_OVER), Message(role="user", content=GO_ON)]


def messages(system: str, history: Sequence[Step], model: str = "", *, sees: bool = True) -> list[Message]:
    """See `Messages.of`."""
    return Messages(model).of(system, history, sees=sees)


def _joined(before: str | list[JsonObject], text: str, pictures: Sequence[Picture]) -> str | list[JsonObject]:
    """A user's words, behind what stands there already; a list of parts where there are pictures."""
    if isinstance(before, str) and not pictures:
        return before + text
    parts = [{"type": "text", "text": before}] if isinstance(before, str) and before else list(before)
    return [*parts, {"type": "text", "text": text}, *map(_picture, pictures)]


def _pictures(step: Step) -> Sequence[Picture]:
    match step:
        case Prompt(pictures=pictures):
            return pictures
        case ToolResult(picture=Picture() as picture):
            return (picture,)
    return ()


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


def _call(call: ToolCall, call_id: str) -> JsonObject:
    name = call.name if _NAME.fullmatch(call.name) else re.sub(r"\W", "_", call.name, flags=re.A)[:64] or "unknown"
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": _arguments(call.arguments)}}


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


def _prompt(step: Prompt, name: str, seen: Sequence[Picture], behind: Message | None, sees: bool) -> Message:
    """A user's message; `behind` is the one that it becomes a part of."""
    said = name + (clean(step.text).strip() or "(nothing)")
    if step.picture_paths and not sees:
        said += f"\n{BLIND}"
    return Message(
        role="user", content=_joined(behind["content"] if behind else "", f"\n\n{said}" if behind else said, seen)
    )


def _result(step: ToolResult, signed: bool) -> Message:
    content = clean(step.text) if step.text.strip() else "(no output)"
    return Message(role="tool", tool_call_id=_identity(step.call_id, signed), content=content)


def _identity(call_id: str, signed: bool) -> str:
    """The call's id, in a form that all take; only where it may be `signed` a signature stays in it."""
    if signed if _THOUGHT in call_id else _ID.fullmatch(call_id):
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _names(senders: set[UserId]) -> Mapping[UserId, str]:
    """What stands before each sender's messages: nothing where one person writes alone."""
    if len(senders) < 2:
        return dict.fromkeys(senders, "")
    local = {sender: sender.partition(":")[0].removeprefix("@") for sender in senders}
    return {sender: f"{sender if list(local.values()).count(name) > 1 else name}: " for sender, name in local.items()}
