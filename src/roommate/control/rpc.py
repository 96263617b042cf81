"""JSON-RPC 2.0 as the daemon reads it: one frame's content into requests, and what is wrong with those that are none.

https://www.jsonrpc.org/specification
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from roommate.domain import JsonObject

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
FAILED = -32000
"""The method is fine, and what it was asked to do is not done; ``data`` has the ``exit_code`` for a command line."""
NOT_PERMITTED = -32001
BUSY = -32002

MOST_IN_A_BATCH = 100

Id = str | int | None


class Flaw(Exception):
    """Why there is an error instead of a result."""

    def __init__(self, code: int, message: str, data: JsonObject | None = None, *, of: Id = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data
        self.of = of
        """The request's id, where it has one that can be read."""

    def response(self) -> JsonObject:
        error = {"code": self.code, "message": str(self)} | ({"data": self.data} if self.data else {})
        return {"jsonrpc": "2.0", "id": self.of, "error": error}


class Request(BaseModel):
    """One call. Without an `id` it is a notification: nothing is answered, not even that it failed."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)

    jsonrpc: Literal["2.0"]
    method: Annotated[str, Field(max_length=100)]
    params: dict[str, Any] | list[Any] = {}
    id: Id = None

    @property
    def is_notification(self) -> bool:
        return "id" not in self.model_fields_set

    def named(self) -> Mapping[str, Any]:
        """The parameters, which have names here. Raises Flaw."""
        if isinstance(self.params, dict):
            return self.params
        if self.params:
            raise Flaw(INVALID_PARAMS, "parameters go by name", of=self.id)
        return {}

    def response(self, result: Any) -> JsonObject:
        return {"jsonrpc": "2.0", "id": self.id, "result": result}


def parse(content: bytes) -> tuple[Sequence[Request | Flaw], bool]:
    """What a frame asks, and whether it is a batch, whose answers go together. Raises Flaw where it is no JSON."""
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Flaw(PARSE_ERROR, "this is no JSON") from error
    if not isinstance(said, list):
        return [_request(said)], False
    if not said:
        raise Flaw(INVALID_REQUEST, "a batch without requests")
    if len(said) > MOST_IN_A_BATCH:
        raise Flaw(INVALID_REQUEST, f"a batch has {MOST_IN_A_BATCH} requests at most, not {len(said)}")
    return [_request(one) for one in said], True


def flaws_of(error: ValidationError) -> str:
    """What does not fit, in one line."""
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'it'}: {one['msg'].lower()}" for one in error.errors()[:3])


def _request(said: Any) -> Request | Flaw:
    try:
        return Request.model_validate(said)
    except ValidationError as error:
        known = said.get("id") if isinstance(said, dict) else None
        readable = known if isinstance(known, str | int) and not isinstance(known, bool) else None
        return Flaw(INVALID_REQUEST, f"this is no request: {flaws_of(error)}", of=readable)
