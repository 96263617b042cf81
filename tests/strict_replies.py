"""What the strict stand-ins of providers are told to say, and what all their streams are made of."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

JsonObject = dict[str, Any]
SIGNATURE = base64.b64encode(b"signed by the provider").decode()


@dataclass(frozen=True, slots=True)
class Out:
    """One reply: what it thinks, says and calls (name, arguments), and why it ends, in the provider's own word."""

    text: str = ""
    calls: Sequence[tuple[str, JsonObject]] = ()
    thought: str = ""
    stop: str = ""


def event(data: JsonObject, name: str = "") -> str:
    return (f"event: {name}\n" if name else "") + f"data: {json.dumps(data)}\n\n"


def pieces(text: str) -> list[str]:
    return re.findall(r"\S+\s*", text)
