"""What people of a room see of a peer's request: who asks for what, how it was decided, what came of it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from roommate.domain import JsonObject
from roommate.features.mesh.asked_view import exit_line
from roommate.features.mesh.file_in_parts import IN_THE_OPEN, is_in_the_open
from roommate.features.mesh.refusals import MEANINGS, Code
from roommate.store.mesh_requests import PeerRequest, RequestState
from roommate.text.amounts import size
from roommate.text.printable import block, in_code, one_line, plain, visible

TAIL = 1500
"""Characters of output that are shown."""
MOST = 6000
"""Characters of what is asked that people are shown whole. Nobody approves what is longer."""
_MAY_HAVE_BEGUN = {Code.CANCELLED, Code.REVOKED, Code.TRUST_EXPIRED, Code.FAILED}


def asked_for(method: str, params: Mapping[str, object]) -> str:
    """All of it, as lines of plain text in which nothing is hidden."""
    lines, rest = [], dict(params)
    if method == "exec" and isinstance(argv := rest.get("argv"), list):
        lines.append(shlex.join(map(str, argv)))
        del rest["argv"]
    lines += [f"{name}: {_value(value)}{_unit(method, name)}" for name, value in sorted(rest.items())]
    return visible("\n".join(lines)) if lines else method


def question(who: str, words: str, method: str, params: Mapping[str, object]) -> str:
    """Markdown: what people are asked."""
    return f"{_headline(who, words, method)}\n\n{block(asked_for(method, params))}"


def choices(seconds: float) -> str:
    """Markdown: what a yes and a no do, and what comes of neither."""
    minutes = max(1, round(seconds / 60))
    late = "a minute" if minutes == 1 else f"{minutes} minutes"
    return f"✅ runs it here once, ❌ refuses it. Without an answer it is refused in {late}."


def look(row: PeerRequest, who: str, words: str, tail: str = "") -> str:
    """Markdown: the request as it stands."""
    params = row.content.get("params", {})
    shown = asked_for(row.method, params)
    cut = shown if len(shown) <= MOST else f"{shown[:MOST]}…"
    asks = "asked" if row.state is RequestState.DONE else "asks"
    parts = [f"🛰 {_headline(who, words, row.method, asks)}", block(cut), _state(row)]
    if is_in_the_open(row.method, params, row.result):
        parts.append(f"🔓 {IN_THE_OPEN}.")
    if tail.strip():
        parts.append(block(visible(tail[-TAIL:]).strip("\n")))
    return "\n\n".join(parts)


def refused(who: str, method: str, code: str) -> str:
    return f"⛔ **{who}** asked {_wish(method)}. Nothing was done: {_meaning(code)}."


def _headline(who: str, words: str, method: str, asks: str = "asks") -> str:
    return f"**{who}** ({in_code(words, 64)}) {asks} {_wish(method)}:"


def _wish(method: str) -> str:
    return "to run a program here" if method == "exec" else f"for {in_code(method, 64)} here"


def _state(row: PeerRequest) -> str:
    by = f" Allowed by {plain(row.decided_by)}." if row.decided_by and row.outcome != "not-approved" else ""
    rule = f" *(Policy: {plain(one_line(row.line, 200))}.)*" if row.line and not by else ""
    if row.state is not RequestState.DONE:
        word = {
            RequestState.HELD: "⏸ waits for your decision",
            RequestState.ACCEPTED: "⏳ begins",
            RequestState.RUNNING: "▶ runs",
        }[row.state]
        return f"{word}.{by}{rule}"
    if row.outcome == "result":
        return f"{_result(row.method, row.result or {})}{by}{rule}"
    meaning = _meaning(row.outcome)
    if row.outcome == Code.UNKNOWN:
        return f"❓ {meaning}.{by}"
    return f"{'⏹ Ended' if row.outcome in _MAY_HAVE_BEGUN else '⛔ Not done'}: {meaning}.{by}"


def _result(method: str, result: JsonObject) -> str:
    match result:
        case {"exit": _, "bytes": int(given)}:
            return f"{exit_line(result)} · {size(given)} of output."
        case {"path": str(path), "bytes": int(given)}:
            return f"✅ {in_code(path, 200)}, {size(given)}."
        case {"ok": False}:
            return "❌ failed."
    return "✅ done."


def _meaning(code: str) -> str:
    return MEANINGS[Code(code)] if code in set(Code) else code


def _unit(method: str, name: str) -> str:
    return " s" if (method, name) == ("exec", "timeout") else ""


def _value(value: object) -> str:
    """On its line: a second one would look like another value."""
    return value if isinstance(value, str) and value.isprintable() else repr(value)
