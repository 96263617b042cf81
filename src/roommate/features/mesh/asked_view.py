"""How the room of a request sees it from our end: who asked whom for what, how it goes, how it ended."""

from __future__ import annotations

import json
import shlex

from roommate.domain import PEER_REQUEST, JsonObject
from roommate.features.mesh.file_in_parts import IN_THE_OPEN, is_in_the_open
from roommate.features.mesh.refusals import Code
from roommate.matrix import render
from roommate.store.mesh_asked import Asked, AskedState
from roommate.text.amounts import age
from roommate.text.printable import block, in_code, one_line, plain, visible
from roommate.tools.sanitized_text import is_binary
from roommate.tools.sanitized_text import sanitized as text_of

LONGEST_WHAT = 300
LONGEST_REASON = 300
TAIL_LINES, TAIL = 8, 1500
"""Of what it printed: its end."""


def live(asked: Asked, tail: bytes) -> JsonObject:
    """The message while it goes on."""
    state = {
        AskedState.SENT: f"⏳ {plain(asked.peer_name)} has not answered yet",
        AskedState.HELD: f"✋ people at {plain(asked.peer_name)} are asked",
        AskedState.RUNNING: "⚙️ runs",
    }
    return _message(asked, state[asked.state], tail)


def ended(asked: Asked, tail: bytes) -> JsonObject:
    """The message when it is over."""
    assert asked.result is not None
    return _message(asked, outcome(asked.method, asked.result), tail)


def what(method: str, params: JsonObject) -> str:
    """What was asked for, on a line: a command as one would type it."""
    match params:
        case {"argv": [*argv]} if method == "exec":
            return shlex.join(map(str, argv))
        case {"tool": str(tool), **rest}:
            return f"{tool} {json.dumps(rest.get('arguments', {}), ensure_ascii=False)}"
        case {"path": str(path)}:
            return f"{method} {path}"
    return method


def outcome(method: str, result: JsonObject) -> str:
    """How it ended, on a line of Markdown."""
    match result:
        case {"kind": "refused", "code": Code.UNKNOWN | Code.FAILED as code}:
            return f"⚠️ {plain(reason(code, result.get('message')))}"
        case {"kind": "refused", "code": str(code)}:
            return f"⛔ refused: {plain(reason(code, result.get('message')))}"
        case {"kind": "result"} if method == "exec":
            return exit_line(result)
        case {"kind": "result", "ok": False}:
            return "❌ it failed there"
        case {"kind": "result"}:
            return "✅ done"
    return f"⚠️ no result: {plain(str(result.get('message', ''))[:LONGEST_REASON])}"


def reason(code: str, message: object = "") -> str:
    """What a refusal means: for a code that we know our own words, and the peer's besides."""
    try:
        known = Code(code).meaning
    except ValueError:
        known = one_line(code, 40)
    said = one_line(str(message or ""), LONGEST_REASON)
    return f"{known} ({said})" if said and said != known else known


def exit_line(result: JsonObject) -> str:
    """How a program ended."""
    ms = result.get("ms")
    took = f" · {age(ms / 1000)}" if isinstance(ms, int) else ""
    cut = " · not all of its output" if result.get("truncated") is True else ""
    if result.get("timed_out") is True:
        return f"⏱ its time was over{took}{cut}"
    if isinstance(number := result.get("signal"), int):
        return f"❌ killed by signal {number}{took}{cut}"
    code = result.get("exit")
    return f"{'✅' if code == 0 else '❌'} exit code {code if isinstance(code, int) else '?'}{took}{cut}"


def _message(asked: Asked, state: str, tail: bytes) -> JsonObject:
    who, peer = plain(asked.who), plain(asked.peer_name)
    lines = [
        f"📡 {who} asks **{peer}** (`{asked.peer_user}`): {in_code(what(asked.method, asked.params), LONGEST_WHAT)}"
    ]
    shown = "[binary output]" if is_binary(tail) else visible(text_of(tail))
    if newest := "\n".join(shown.strip().splitlines()[-TAIL_LINES:])[-TAIL:]:
        lines.append(block(newest))
    lines.append(state)
    if is_in_the_open(asked.method, asked.params, asked.result):
        lines.append(f"🔓 {IN_THE_OPEN}")
    mark = {PEER_REQUEST: {"state": "done" if asked.is_over else "open"}}
    return render.content("\n\n".join(lines), notice=True) | mark
