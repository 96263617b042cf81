"""Hooks in a room's real container report, and a person sees it; they ask, and a person decides."""

from __future__ import annotations

import asyncio
import json
import shlex
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from roommate.sandbox.agent_hooks import examine
from tests.conftest import MakeDaemon
from tests.harness import Daemon, run, tool
from tests.patience import PATIENCE
from tests.person import Person, Shown
from tests.sandbox_image import podman
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]
PAYLOADS = Path(__file__).parents[1] / "hooks" / "payloads"
SCRIPT = Path(__file__).parents[2] / "scripts" / "check-ipc-logs.sh"


def hook(agent: str, name: str, payload: object) -> str:
    """The shell command that calls a hook as an agent does."""
    return f"printf %s {shlex.quote(json.dumps(payload))} | /run/hooks/wrapper {agent} {name}"


async def live(bot: Daemon, alice: Person, room: str, words: str, seconds: float = PATIENCE) -> Shown:
    # Of a short turn nothing may be seen but its end, which has all of it in its details.
    found = await alice.wait(
        lambda: next((m for m in bot.said(alice, room) if any(words in look for look in (*m.looks, m.html))), None),
        seconds,
        what=f"a message with {words!r}",
    )
    assert found is not None
    return found


async def test_what_a_hook_reports_is_seen_while_the_turn_runs(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("echo warm"))
    payloads = [json.loads(line) for line in (PAYLOADS / "qwen.jsonl").read_text().splitlines()]
    of = {payload["hook_event_name"]: payload for payload in reversed(payloads)}
    script = "; ".join(
        (
            hook("qwen", "session-start", of["SessionStart"]),
            hook("qwen", "before-tool", of["PreToolUse"]),
            "sleep 1.5",
            hook("qwen", "after-tool", of["PostToolUse"]),
            hook("qwen", "after-agent", {**of["Stop"], "last_assistant_message": "All <b>is</b> *done*"}),
            "sleep 0.5",
        )
    )
    asked = await alice.say(room, run(script))
    began = await live(bot, alice, room, "write_file")
    assert began.content["io.roommate.turn"]["state"] == "running"
    assert any("/workspace/hello.txt" in look for look in began.looks)
    answer = await alice.answer_to(asked)
    assert answer.event_id == began.event_id
    assert "qwen" in answer.html
    assert "1 call" in answer.html
    assert "All &lt;b&gt;is&lt;/b&gt; *done*" in answer.html, "shown as it is, without meaning"


async def test_outside_of_a_turn_a_notification_is_a_notice_within_a_second(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    later = hook("claude", "notification", {"message": "The tests are green"})
    command = f"sleep 2; {later}; date +%s.%N > /workspace/when; sleep 60"
    await alice.ask(room, tool("run_command", command=command, background=True, wake=False))
    notice = await live(bot, alice, room, "🔔 **claude**: The tests are green")
    seen = time.time()
    assert notice.msgtype == "m.notice"
    assert "claude" in notice.body
    when = await alice.ask(room, run("cat when"))
    written = next(float(word) for word in when.body.split() if word.startswith("1") and "." in word)
    assert seen - written < 1


@pytest.mark.parametrize(("key", "allowed"), [("✅", True), ("♾️", True), ("❌", False)])
async def test_a_risky_call_is_asked_and_the_answer_reaches_the_agent(
    bot: Daemon, person: MakePerson, key: str, allowed: bool
) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    push = hook("gemini", "before-tool", {"tool_name": "run_shell_command", "tool_input": {"command": "git push"}})
    asked = await alice.say(room, run(f"{push}; echo the hook is done"))
    card = await live(bot, alice, room, "git push")
    await alice.wait(lambda: any("io.roommate.card" in m.content for m in bot.said(alice, room)), what="a card")
    [card] = [m for m in bot.said(alice, room) if "io.roommate.card" in m.content]
    assert "gemini" in card.body
    assert "git push" in card.body
    await alice.react(room, card.event_id, key)
    answer = await alice.answer_to(asked)
    assert "the hook is done" in answer.body
    assert ("deny" in answer.body) == (not allowed)
    if not allowed:
        assert alice.user_id in answer.body, "the agent is told who said no"
    if key == "♾️":
        again = await alice.ask(room, run(f"{push}; echo done again"))
        assert "deny" not in again.body
        assert len([m for m in bot.said(alice, room) if "io.roommate.card" in m.content]) == 1


ASKING = r"""
import json, os, time
def ask(number, **more):
    os.chdir("/run/spool/out")
    about = {"agent": "gemini", "tool": "sh", "command": f"push {number}", "text": "push", "asks": f"a{number}"}
    with open(".new", "w") as file:
        json.dump({**about, **more}, file)
    os.rename(".new", f"{number:020d}-1-approval-request-x.json")
def refusal(number):
    while True:
        try:
            return json.load(open(f"/run/spool/in/a{number}.json"))["reason"]
        except FileNotFoundError:
            time.sleep(0.05)
ask(0, command="# status\n" + "x" * 300 + "; git push", agent="**evil** [x](https://evil.example)", tool="`# a")
ask(1, command="x" * 5000)
print(refusal(1))
for number in range(2, 302):
    ask(number)
refusals = [refusal(number) for number in range(4, 302)]
print(len(refusals), set(refusals))
"""


async def test_a_room_is_not_buried_in_cards(bot: Daemon, person: MakePerson) -> None:
    """A program that asks and asks is refused at once; and what it says of itself is data."""
    alice = await person("alice")
    room = await bot.room_with(alice)
    answer = await alice.ask(room, run(f"python3 -c {shlex.quote(ASKING)}"))
    assert "people are shown 2000 characters of a command at most" in answer.body
    assert "298 {'people were asked too much here: go on without it, and say what you need'}" in answer.body
    cards = [m for m in bot.said(alice, room) if "io.roommate.card" in m.content]
    assert len(cards) == 3
    [odd] = [card for card in cards if "That is not all of it" in card.body]
    assert "♾️" not in odd.looks[0]
    assert odd.html.count("<a ") <= 1 and "<h1" not in odd.html, "but for who is called"
    assert "; git push\n</code>" in odd.html, "in full in the details"
    await alice.wait(lambda: [m.body[:1] for m in bot.said(alice, room) if m.is_card] == ["➖"] * 3, what="their ends")


HOSTILE = r"""
import os, socket
os.chdir("/run/spool/out")
names = (f"{number:020d}-1-event-progress-bad.json" for number in range(100))
os.symlink("/etc/passwd", next(names))
os.symlink("/proc/self/mem", "event-result.json")
os.mkfifo(next(names))
os.mkfifo("notification.json")
socket.socket(socket.AF_UNIX).bind(next(names))
os.mkdir(next(names))
with open(next(names), "wb") as sparse:
    sparse.truncate(1 << 30)
with open(next(names), "w") as deep:
    deep.write('{"text":' * 8000 + "1" + "}" * 8000)
for name in (b"0-1-approval\nrequest.json", b"\xff\xfe.json", b"\x1b[2J.json"):
    os.mkfifo(name)
for number in range(3_000):
    with open(f"{number:020d}-2-event-progress-x.json", "w") as flood:
        flood.write('{"text": "flood"}')
    if number % 100 == 0:
        os.symlink("/dev/zero", ".other")
        os.rename(".other", f"{number:020d}-2-event-progress-x.json")
"""


async def test_a_hostile_room_harms_no_other_and_is_heard_when_it_behaves(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    bad, good = await bot.room_with(alice), await bot.room_with(alice)
    await alice.ask(good, run("echo warm"))
    asked = await alice.say(bad, run(f"python3 -c {shlex.quote(HOSTILE)} && echo done"))
    for number in range(3):
        told = await alice.say(good, run(hook("qwen", "notification", {"message": f"fine {number}"}) + "; sleep 0.3"))
        await live(bot, alice, good, f"fine {number}")
        await alice.answer_to(told)
    assert "done" in (await alice.answer_to(asked)).body
    await alice.ask(bad, run("cd /run/spool/out; find . -name '*-2-*' -delete; echo emptied"))
    told = await alice.say(bad, run(hook("qwen", "notification", {"message": "I am good now"}) + "; sleep 1"))
    await live(bot, alice, bad, "I am good now", 30)
    await alice.answer_to(told)
    log = bot.log_text()
    assert log.count("was set aside") >= 10
    assert "\x1b" not in log
    assert "root:x:0" not in repr([shown.looks for shown in alice.messages(bad)])


async def test_in_is_read_only_and_settings_are_nobodys_to_change(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    places = "/run/spool/in /run/hooks /etc/gemini-cli /etc/qwen-code /etc/claude-code /etc/codex /etc/opencode"
    answer = await alice.ask(
        room, run(f"for f in {places}; do ls $f && touch $f/x; done; touch /run/spool/out/.x && echo fine")
    )
    assert answer.body.count("Read-only file system") == 7
    assert "managed_config.toml" in answer.body
    assert "fine" in answer.body


async def test_what_was_reported_while_the_daemon_was_away_is_told_once(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("echo warm"))
    await bot.kill9()
    [container] = bot.containers()
    podman("exec", container, "sh", "-c", hook("qwen", "notification", {"message": "while you were away"}))
    await bot.start()
    await live(bot, alice, room, "while you were away")
    await bot.kill9()
    await bot.start()
    await alice.ask(room, run("echo again"))
    await asyncio.sleep(0.3)
    assert len([m for m in bot.said(alice, room) if "while you were away" in m.body]) == 1


async def test_the_check_script_finds_what_is_wrong(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model), await person("alice")
    room = await bot.room_with(alice)
    await alice.ask(room, run("echo warm"))
    [container] = bot.containers()
    checked = subprocess.run([SCRIPT, container], capture_output=True, text=True, timeout=PATIENCE)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("✔") == 16
    podman("exec", container, "sh", "-c", "echo nonsense | /run/hooks/wrapper claude after-tool")
    checked = subprocess.run([SCRIPT, container], capture_output=True, text=True, timeout=PATIENCE)
    assert checked.returncode == 1
    assert "claude after-tool exit 1" in checked.stdout
    found = await asyncio.to_thread(examine, bot.state)
    assert not found.ok
    assert "claude after-tool" in found.found
