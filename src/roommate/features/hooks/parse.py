"""One IPC file's content into a HookEvent: the trust border. Nothing in it says which room it is from."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from roommate.domain import HookEvent, HookKind

SHORT, SUMMARY, TEXT = 100, 300, 4000
COMMAND = 2001
"""Of a command that is asked about: one character more than a card can show, so that it is seen to be too long."""

_KIND = re.compile(r"(?! )[^:\x00-\x1f\x7f-\x9f\u2028\u2029]{1,40}(?<! )")
"""Of a risk: a line of the file that says which are allowed for good."""
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


class Unfit(Exception):
    """This file is no IPC file; the message says why."""


def _cut(most: int) -> BeforeValidator:
    def cut(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        # Lone surrogates are fine in JSON and nowhere else.
        return _CONTROL.sub("\ufffd", value[:most].encode("utf-8", "replace").decode())

    return BeforeValidator(cut)


class _Report(BaseModel):
    """What we read of a file; all else in it is passed over. Too long texts are cut."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, defer_build=True)

    agent: Annotated[str, _cut(SHORT)] = ""
    session: Annotated[str, _cut(SHORT)] = ""
    tool: Annotated[str, _cut(SHORT)] = ""
    summary: Annotated[str, _cut(SUMMARY)] = Field("", validation_alias=AliasChoices("summary", "title"))
    ok: bool | None = None
    seconds: float | None = Field(None, ge=0, le=1e7, allow_inf_nan=False)
    exit_code: int | None = Field(None, ge=-255, le=255)
    text: Annotated[str, _cut(TEXT)] = Field("", validation_alias=AliasChoices("text", "message"))
    turn: int | None = Field(None, ge=1, lt=1 << 63)
    asks: str = Field("", pattern=r"^[0-9A-Za-z]{0,64}$")
    command: Annotated[str, _cut(COMMAND)] = Field(
        "", validation_alias=AliasChoices("command", "summary", "title"), exclude=True
    )


def parse(kind: HookKind, content: bytes) -> HookEvent:
    """Raises Unfit."""
    try:
        report = _Report.model_validate(json.loads(content))
    except RecursionError:
        raise Unfit("it is nested too deep") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise Unfit(f"{'.'.join(map(str, first['loc']))[:SHORT] or 'it'}: {first['msg']}") from None
    except ValueError:
        raise Unfit("it is no JSON") from None
    if kind is not HookKind.APPROVAL:
        return HookEvent(kind, **report.model_dump())
    if not report.asks:
        raise Unfit("it asks without an id")
    if not report.command.strip():
        raise Unfit("it asks about nothing")
    if not _KIND.fullmatch(report.text):
        raise Unfit("it asks without a kind of risk, such as push: one line of 40 characters at most, without a colon")
    return HookEvent(kind, **report.model_dump(), command=report.command)
