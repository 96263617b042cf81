"""One hook call: maps what a coding agent says to an IPC file, and before a risky call waits for the room's answer.

Called as ``python3 -I -S -B hook.py HOOK AGENT``. Runs in a room's container, on the standard library of Python 3.9
alone. An agent waits for each hook, and importing json costs as much as starting Python (it brings re), os a tenth of
that: so their C parts are used.
"""

import posix
import sys
import time


def setting(name, default):
    """Of the environment."""
    return posix.environ.get(name.encode(), default.encode()).decode("utf-8", "surrogateescape")


HERE = __file__.rpartition("/")[0]
SPOOL = setting("ROOMMATE_SPOOL", "/run/spool")
WORKSPACE = setting("ROOMMATE_WORKSPACE", "/workspace")
ROLE = setting("ROOMMATE_ROLE", "")
TURN = setting("ROOMMATE_TURN", "")
WAIT_SECONDS = float(setting("ROOMMATE_WAIT", "300"))
POLL_SECONDS = 0.1
MOST_PAYLOAD = 16 << 20
MOST_TRANSCRIPT = 1 << 18
SUMMARY, TEXT = 300, 4000
COMMAND = 2001  # more than a card can show: it is seen to be too long

SUBJECTS = (
    "command",
    "file_path",
    "filePath",
    "path",
    "absolute_path",
    "pattern",
    "url",
    "query",
    "prompt",
    "description",
)
SAID = ("returnDisplay", "llmContent", "stdout", "output", "content", "error")
NOISE = ("auth_success",)
LOOKS_ONLY = ("plan", "review")
EDITS = ("write_file", "replace", "edit", "Write", "Edit", "MultiEdit", "NotebookEdit", "apply_patch", "write", "patch")
BEFORE_COMMAND = ("sudo", "env", "exec", "time", "nohup", "command", "sh", "bash", "do", "then", "else", "xargs", "!")


def main(hook, agent, *payload):
    said = parse(payload[0] if payload else sys.stdin.buffer.read(MOST_PAYLOAD).decode("utf-8", "replace"))
    report = {"agent": agent, "session": str(said.get("session_id") or said.get("thread-id") or "")[:100]}
    if TURN.isdigit() and len(TURN) < 19:
        report["turn"] = int(TURN)
    if hook == "session-start":
        write("event-progress", {**report, "summary": "session " + str(said.get("source") or "startup")})
    elif hook == "before-tool":
        before_tool(agent, report, said)
    elif hook == "after-tool":
        write("event-progress", {**report, **call(said), **result(said)})
    elif hook == "after-agent":
        text = said.get("last_assistant_message") or last_said(said) or said.get("prompt_response") or ""
        write("event-result", {**report, "ok": True, "text": str(text)[:TEXT]})
    elif hook == "notification":
        notification(report, said)
    else:
        raise SystemExit("no such hook: " + hook)


def notification(report, said):
    if said.get("type") == "agent-turn-complete" or said.get("notification_type") in NOISE:
        return  # its Stop hook has said so; nobody needs to know
    text = str(said.get("message") or said.get("details") or said.get("type") or "")[:TEXT]
    write("notification", {**report, "summary": str(said.get("title") or "")[:SUMMARY], "text": text})


def last_said(said):
    """Gemini's newest words, out of its transcript: in prompt_response most pieces of a text come twice."""
    try:
        with open(str(said.get("transcript_path") or ""), "rb") as file:
            file.seek(max(0, file.seek(0, 2) - MOST_TRANSCRIPT))
            ends = file.read(MOST_TRANSCRIPT).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in reversed(ends):
        if '"type":"gemini"' in line:
            try:
                return str(parse(line).get("content") or "")
            except ValueError:  # its start lies further back
                return ""
    return ""


def before_tool(agent, report, said):
    about = call(said)
    write("event-progress", {**report, **about})
    if ROLE in LOOKS_ONLY and about["tool"] in EDITS:
        deny(agent, "you were asked to look only: change no file, and say in your report what is to be changed")
        return
    arguments = said.get("tool_input")
    command = arguments.get("command") if isinstance(arguments, dict) else None
    if isinstance(command, list):
        command = " ".join(map(str, command))
    risk = risk_of(command) if isinstance(command, str) else None
    if risk is None or risk in lines(SPOOL + "/in/allowed"):
        return
    asks = posix.urandom(12).hex()
    write("approval-request", {**report, **about, "command": command[:COMMAND], "text": risk, "asks": asks})
    refusal = answer(asks)
    if refusal:
        deny(agent, refusal)


def answer(asks):
    """Why not; empty when it may."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        try:
            with open(SPOOL + "/in/" + asks + ".json") as file:
                verdict = parse(file.read())
            return "" if verdict.get("allow") is True else str(verdict.get("reason") or "somebody in the room said no")
        except FileNotFoundError:
            time.sleep(POLL_SECONDS)
    return "nobody in the room agreed in time; go on without it, or say what you need"


def deny(agent, reason):
    if agent == "gemini":
        verdict = '{"decision": "deny", "reason": %s}'
    else:
        verdict = (
            '{"hookSpecificOutput": {"hookEventName": "PreToolUse", "permissionDecision": "deny",'
            ' "permissionDecisionReason": %s}}'
        )
    print(verdict.replace("%s", quoted(reason)))


# ── What the agents say ──


def call(said):
    """The tool and what it is about."""
    arguments = said.get("tool_input")
    subject = ""
    if isinstance(arguments, dict):
        subject = next((arguments[key] for key in SUBJECTS if arguments.get(key)), "")
    if isinstance(subject, list):
        subject = " ".join(map(str, subject))
    return {"tool": str(said.get("tool_name") or "")[:100], "summary": " ".join(str(subject)[:TEXT].split())[:SUMMARY]}


def result(said):
    """How a call went."""
    response = said.get("error") or said.get("tool_response") or ""
    full = response
    code = None
    failed = str(said.get("hook_event_name")).endswith("Failure") or bool(said.get("error"))
    if isinstance(response, dict):
        failed = failed or bool(response.get("error") or response.get("interrupted"))
        if type(response.get("exit_code")) is int:
            code = response["exit_code"]
        full = "\n".join(str(response[key]) for key in ("llmContent", "error") if response.get(key))
        response = next((response[key] for key in SAID if isinstance(response.get(key), str) and response[key]), "")
    if code is None:
        code = exit_code(full if isinstance(full, str) else "")
    told = {"ok": not failed and code in (None, 0), "text": str(response)[:TEXT]}
    if code is not None:
        told["exit_code"] = code
    took = said.get("duration_ms")
    if isinstance(took, (int, float)) and not isinstance(took, bool):
        told["seconds"] = took / 1000
    return told


def exit_code(text):
    """Of a text such as ``Exit Code: 2``; None where none is told."""
    _, found, behind = text.lower().partition("exit code")
    number = behind.lstrip(": ")[:4].split()[:1] if found else []
    return int(number[0]) if number and number[0].isdigit() else None


# ── What is risky ──


def risk_of(command):
    """The kind of the first risk in a shell command, or None. For people to decide: the wall is the container."""
    patterns = []
    for path in (HERE + "/risks", WORKSPACE + "/.roommate/risks"):
        for line in lines(path):
            kind, colon, words = line.partition(":")
            if colon and not line.startswith("#") and words.split():
                patterns.append((kind.strip()[:40].strip() or "risky", words.split()))
    for words in simple_commands(command):
        for kind, pattern in patterns:
            if matches(pattern, words):
                return kind
    return None


def simple_commands(text):
    """The words of each command of a pipe or list, without quotes, assignments and what runs another command."""
    text = text.replace("\\\n", " ").translate({ord(mark): "\n" for mark in ";|&()`{}"})
    for line in text.split("\n"):
        words = [word.strip("'\"") for word in line.split()]
        while words and (words[0] in BEFORE_COMMAND or words[0].startswith("-") or "=" in words[0]):
            words.pop(0)
        if words:
            words[0] = words[0].rpartition("/")[2]
            yield words


def matches(pattern, words):
    if pattern[0] != words[0]:
        return False
    wanted, before = pattern[1:], pattern[0]
    for word in words[1:]:
        if not wanted:
            break
        if outside(word) if wanted[0] == "OUTSIDE" else word == wanted[0]:
            wanted = wanted[1:]
        elif wanted[0] != "OUTSIDE" and not word.startswith("-") and not before.startswith("-"):
            return False  # another subcommand
        before = word
    return not wanted


def outside(path):
    """Is it a path that the workspace's git cannot bring back?"""
    if path.startswith("-"):
        return False
    whole = path.rstrip("/*") in ("", ".", WORKSPACE)
    git = ".git" in path.split("/")
    elsewhere = path.startswith("/") and not path.startswith((WORKSPACE + "/", "/tmp/"))
    return whole or git or elsewhere or path.startswith(("~", "$")) or ".." in path.split("/")


def lines(path):
    try:
        with open(path) as file:
            return file.read(1 << 16).splitlines()
    except OSError:
        return []


# ── Files ──


def write(kind, report):
    """Under a dotted name first, so that nobody reads half a file; names sort by time and none overwrites another."""
    fields = ", ".join(quoted(key) + ": " + quoted(value) for key, value in {"kind": kind, **report}.items())
    name = f"{time.time_ns():020d}-{posix.getpid()}-{kind}-{posix.urandom(4).hex()}.json"
    folder = SPOOL + "/out/"
    file = posix.open(folder + "." + name, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL, 0o644)
    try:
        posix.write(file, ("{" + fields + "}").encode("ascii"))
    finally:
        posix.close(file)
    posix.rename(folder + "." + name, folder + name)


def quoted(value):
    """A string, number or bool as JSON."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, str):
        try:
            from _json import encode_basestring_ascii
        except ImportError:
            from json.encoder import encode_basestring_ascii
        return encode_basestring_ascii(value)
    return repr(value)


class Context:
    """What the scanner asks for."""

    strict = False
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int


def parse(text):
    """A JSON object; ValueError when it is none."""
    try:
        from _json import make_scanner
    except ImportError:
        from json import loads as scan
    else:

        def scan(text):
            return make_scanner(Context)(text.strip(), 0)[0]

    try:
        value = scan(text)
    except (StopIteration, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("the agent's payload is no JSON object: " + repr(text[:100]))
    return value
