"""A model's arguments: here what it wrote becomes a type, or an error that tells it what is wrong."""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from roommate.domain import JsonObject, ToolSpec
from roommate.errors import ToolError


class Arguments(BaseModel):
    """The docstring of each is what the model reads about the tool. Numbers may be text: some models write them so."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True, defer_build=True)


A = TypeVar("A", bound=Arguments)


def one_text(value: object) -> object:
    """Some models write a command as a list of words."""
    if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
        return shlex.join(value)
    return value


Text = Annotated[str, Field(min_length=1)]
Command = Annotated[Text, BeforeValidator(one_text)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def schema(kind: type[Arguments]) -> JsonObject:
    """The JSON Schema of a tool's arguments, with those words only that every provider understands."""
    whole = kind.model_json_schema()
    properties = {}
    for name, wanted in whole.get("properties", {}).items():
        given = next((one for one in wanted.get("anyOf", ()) if one["type"] != "null"), wanted)
        of = {"items": {"type": given["items"]["type"]}} if given["type"] == "array" else {}
        properties[name] = {"type": given["type"], **of, "description": wanted["description"]}
    return {"type": "object", "properties": properties, "required": whole.get("required", [])}


def loaded(spec: ToolSpec, text: str) -> JsonObject:
    """The object that a model wrote, without what it left open. Raises ToolError."""
    given = _load(spec, text)
    if isinstance(given, str):  # JSON within JSON
        given = _load(spec, given)
    if not isinstance(given, dict):
        raise _wrong(spec, f"the arguments are not a JSON object but {short(json.dumps(given))}")
    return {name: value for name, value in given.items() if value is not None}


def validated(spec: ToolSpec, kind: type[A], given: JsonObject) -> A:
    """Raises ToolError, whose text tells the model what is wrong and what is right."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise _wrong(spec, "; ".join(_explain(one) for one in error.errors(include_url=False)[:5])) from None


def _load(spec: ToolSpec, text: str) -> Any:
    if not text.strip():
        return {}
    try:
        return from_json(text.encode("utf-8", "replace"), allow_inf_nan=False)
    except ValueError as error:
        raise _wrong(spec, f"the arguments are not valid JSON ({error})") from None


def _wrong(spec: ToolSpec, problem: str) -> ToolError:
    wanted = json.dumps(spec.parameters, ensure_ascii=False)
    return ToolError(f"{spec.name} was not run: {problem}.\nIts arguments are one JSON object of this schema: {wanted}")


def _explain(problem: Any) -> str:
    name = ".".join(str(part) for part in problem["loc"][:1])
    if problem["type"] == "missing":
        return f"`{name}` is missing"
    if problem["type"] == "extra_forbidden":
        return f"there is no argument {short(name)}"
    if not name:
        return str(problem["msg"])
    given = json.dumps(problem["input"], default=str)
    return f"`{name}`: {problem['msg'].lower()}, and it is {short(given)}"


def short(text: str) -> str:
    """What a model wrote, to be told to it."""
    text = text.encode("utf-8", "replace").decode()
    return f"`{text}`" if len(text) <= 80 else f"`{text[:79]}…`"
