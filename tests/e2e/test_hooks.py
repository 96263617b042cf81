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
from tests.e2e.test_conversation import tool
from tests.harness import Daemon
from tests.person import Person, Shown
from tests.sandbox_image import podman
from tests.scripted_model import ScriptedModel

MakePerson = Callable[[str], Awaitable[Person]]
PAYLOADS = Path(__file__).parents[1] / "hooks" / "payloads"
SCRIPT = Path(__file__).parents[2] / "scripts" / "check-ipc-logs.sh"


def run(command: str) -> str:
    return tool("run_command", command=command) + "\n---\nECHO"


def hook(agent: str, name: str, payload: object) -> str:
    """The shell command that calls a hook as an agent does."""
    return f"printf %s {shlex.quote(json.dumps(payload))} | /run/hooks/wrapper {agent} {name}"


async def live(bot: Daemon, alice: Person, room: str, words: str, seconds: float = 15) -> Shown:
    found = await alice.wait(
        lambda: next((m for m in bot.said(alice, room) if any(words in look for look in m.looks)), None),
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
    await alice.ask(room, tool("run_command", command=command, background=True))
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


async def test_in_is_read_only_and_settings_are_nobodys_to_change(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    places = "/run/spool/in /run/hooks /etc/gemini-cli /etc/qwen-code /etc/claude-code /etc/codex"
    answer = await alice.ask(
        room, run(f"for f in {places}; do ls $f && touch $f/x; done; touch /run/spool/out/.x && echo fine")
    )
    assert answer.body.count("Read-only file system") == 6
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
    checked = subprocess.run([SCRIPT, container], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert checked.stdout.count("✔") == 15
    podman("exec", container, "sh", "-c", "echo nonsense | /run/hooks/wrapper claude after-tool")
    checked = subprocess.run([SCRIPT, container], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 1
    assert "claude after-tool exit 1" in checked.stdout
    found = await asyncio.to_thread(examine, bot.state)
    assert not found.ok
    assert "claude after-tool" in found.found
