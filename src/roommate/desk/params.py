"""The parameters of the desk's methods on the control socket, checked as they come in."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from roommate.control.methods import Params


def _bytes(value: Any) -> Any:
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else value
    except binascii.Error:
        raise ValueError("this is no base64") from None


Base64 = Annotated[bytes, BeforeValidator(_bytes)]


class OfRoom(Params):
    room: Annotated[str, Field(min_length=1, max_length=300)]


class Run(OfRoom):
    command: Annotated[list[str], Field(min_length=1)]
    stdin: Base64 = b""


Size = Annotated[int, Field(ge=1, le=9999)]


class OpenShell(OfRoom):
    rows: Size
    columns: Size
    term: Annotated[str, Field(pattern=r"^[A-Za-z0-9._+-]{1,64}$")]


class OfShell(Params):
    shell: Annotated[str, Field(max_length=64)]


class Typed(OfShell):
    keys: Base64


class Resized(OfShell):
    rows: Size
    columns: Size


class OfFile(OfRoom):
    path: Annotated[str, Field(min_length=1, max_length=4096)]


class Piece(OfFile):
    piece: Base64
    first: bool = True


class Session(OfRoom):
    session: Annotated[str, Field(max_length=64)] = ""
    """Tells one who speaks from another."""


class Said(Session):
    text: Annotated[str, Field(min_length=1, max_length=40_000)]


class Reacted(Session):
    event: Annotated[str, Field(max_length=300)]
    key: Annotated[str, Field(min_length=1, max_length=20)]


class Followed(Session):
    since: Annotated[str, Field(max_length=4000)] = ""
    back: Annotated[int, Field(ge=0)] = 0
