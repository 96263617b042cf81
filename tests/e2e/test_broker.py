"""The way out of a room as people and programs meet it; and that no key is anywhere but in the daemon."""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.conftest import MakeDaemon, MakePerson
from tests.forge import Forge
from tests.harness import Daemon, marked_processes, notice, run, tool
from tests.sandbox_image import podman
from tests.scripted_model import ScriptedModel

CANARY = "canary-5c0ff33d"
TOKEN = f"ghp_{CANARY}"
TOKEN_SHOWN = {f"Bearer {TOKEN}", "Basic " + base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()}
KEYS = {f"{name}_API_KEY": f"{name.lower()}-{CANARY}" for name in ("GEMINI", "OPENAI", "ANTHROPIC")}


class Provider:
    """Answers every request; `shown` is what it was shown as keys."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.url = ""

    async def serve(self, request: web.Request) -> web.Response:
        self.shown += [value for value in request.headers.values() if CANARY in value]
        return web.json_response({"said": "hello", "usage": {"prompt_tokens": 1200, "completion_tokens": 34}})


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    provider = Provider()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


@pytest.fixture
async def forge() -> AsyncIterator[Forge]:
    async with Forge(TOKEN) as forge:
        yield forge


async def test_people_decide_where_a_room_connects_to(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    alice = await person("alice")
    bot = await daemon(model=model, OPERATORS=alice.user_id)
    room = await bot.room_with(alice)
    asked = await alice.say(room, run("curl -sS http://one.invalid/"))
    await alice.react(
        room,
        (
            await notice(
                bot,
                alice,
                room,
                "`curl -sS http://one.invalid/` in this room's container wants to connect to `one.invalid`",
            )
        ).event_id,
        "❌",
    )
    assert "people here refused it" in (await alice.answer_to(asked)).body
    await alice.say(room, "!egress")
    assert "invalid" not in (await notice(bot, alice, room, "preset `registries`")).body
    await alice.say(room, "!egress add Three.invalid:8443")
    await notice(bot, alice, room, "may connect to `three.invalid:8443` now")

    asked = await alice.say(room, tool("fetch_url", url="http://two.invalid/") + "\n---\nECHO")
    card = await notice(bot, alice, room, "# fetch_url http://two.invalid/` in this room's container wants to connect")
    await alice.react(room, card.event_id, "♾️")
    told = (await alice.answer_to(asked)).body
    assert "two.invalid:80 cannot be reached" in told, "it was let out"
    assert "Errno" not in told
    await bot.kill9()
    await bot.start()
    await alice.say(room, "!egress")
    await notice(bot, alice, room, "- `three.invalid:8443`\n- `two.invalid:80`")
    assert "two.invalid:80 cannot be reached" in (await alice.ask(room, run("curl -sS http://two.invalid/"))).body

    await alice.say(room, "!egress remove two.invalid:80")
    await notice(bot, alice, room, "`two.invalid:80` is not among")
    await alice.say(room, "!egress preset all")
    await notice(bot, alice, room, "preset `all`: every host")
    assert "four.invalid:80 cannot be reached" in (await alice.ask(room, run("curl -sS http://four.invalid/"))).body
    fetched = await alice.ask(room, tool("fetch_url", url="https://five.invalid/") + "\n---\nECHO")
    assert "five.invalid:443 cannot be reached" in fetched.body
    await alice.say(room, "!egress add http://x/")
    await notice(bot, alice, room, "is no host")
    await alice.say(room, "!egress preset everything")
    await notice(bot, alice, room, "`!egress preset none|registries|github|all …` sets")


async def test_only_operators_change_it(bot: Daemon, person: MakePerson) -> None:
    alice = await person("alice")
    room = await bot.room_with(alice)
    await alice.say(room, "!egress preset all")
    await notice(bot, alice, room, "Only an operator can use `!egress preset`")
    asked = await alice.say(room, run("curl -sS http://one.invalid/"))
    card = await notice(bot, alice, room, "♾️ for this room from now on (operators)")
    await alice.react(room, card.event_id, "♾️")
    await notice(bot, alice, room, "Only an operator can let this room connect to a host from now on")
    await alice.react(room, card.event_id, "✅")
    assert "one.invalid:80 cannot be reached" in (await alice.answer_to(asked)).body
    await alice.say(room, "!egress")
    assert "one.invalid" not in (await notice(bot, alice, room, "preset `registries`")).body


async def test_where_the_operator_says_so_people_open_a_host_for_good(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    bot, alice = await daemon(model=model, EGRESS_FOREVER="people"), await person("alice")
    room = await bot.room_with(alice)
    asked = await alice.say(room, run("curl -sS http://one.invalid/"))
    card = await notice(bot, alice, room, "♾️ for this room from now on, ❌ refuses it")
    await alice.react(room, card.event_id, "♾️")
    await notice(
        bot,
        alice,
        room,
        "from now on, and `!egress remove one.invalid:80` ends it",
    )
    assert "one.invalid:80 cannot be reached" in (await alice.answer_to(asked)).body


async def test_a_key_is_nowhere_but_with_its_provider(
    daemon: MakeDaemon, person: MakePerson, model: ScriptedModel, provider: Provider, forge: Forge, image: str
) -> None:
    """Not in an environment, a file, a process list, the image, a log, a message or what the model reads."""
    bases = {name.replace("_KEY", "_BASE"): f"{provider.url}/v1" for name in KEYS}
    bot, alice = await daemon(model=model, start=False), await person("alice")
    forge.add("acme/widget", private=True)
    bot.settings |= KEYS | bases | {"OPERATORS": alice.user_id}
    bot.settings |= {"GITHUB_TOKEN": forge.token, "GITHUB_SERVER_URL": forge.url}
    await bot.start()
    room = await bot.room_with(alice)
    await alice.say(room, "!repo add acme/widget")
    await notice(bot, alice, room, "This room may use `acme/widget` now")
    export = "export GIT_CURL_VERBOSE=1 GIT_TRACE=1; exec 2>trace"
    cloned = f"{export}; git clone {forge.url}/acme/widget && cd widget && echo x >x && git add x"
    pushed = run(f"{cloned} && git commit -qm x && git push origin HEAD:x; tail -n 40 ../trace")
    assert "HEAD -> x" in (await alice.ask(room, pushed)).body
    assert set(forge.shown) >= TOKEN_SHOWN, "the forge had it"
    at = "http://127.0.0.1:8080"
    asks = (
        f"curl -sS {at}/openai+codex/v1/chat/completions -H 'Authorization: Bearer own' -d '{{\"model\": \"gpt-x\"}}'",
        f"curl -sS {at}/gemini/v1beta/models/g:generateContent -d '{{}}'",
        f"curl -sS {at}/anthropic/v1/messages -d '{{}}'",
        f"curl -sS {at}/dashscope/v1/models",
    )
    said = (await alice.ask(room, run("; ".join(asks)))).body
    assert said.count("hello") == 3
    assert "no such provider" in said
    shown = [f"Bearer {KEYS['OPENAI_API_KEY']}", KEYS["GEMINI_API_KEY"], KEYS["ANTHROPIC_API_KEY"]]
    assert provider.shown == shown
    await alice.say(room, "!status")
    await notice(bot, alice, room, "codex with `gpt-x`: 1\u2009234 tokens")

    encoded = max(TOKEN_SHOWN - {f"Bearer {TOKEN}"}).removeprefix("Basic ")
    # They find these words and not themselves.
    pattern = "|".join(f"{word[:-1]}[{word[-1]}]" for word in (CANARY, encoded))
    files = f"grep -rlE '{pattern}' / --exclude-dir=proc --exclude-dir=sys 2>/dev/null"
    processes = f"cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -E '{pattern}'"
    looked = (await alice.ask(room, run(f"{files}; {processes}; env | grep -E '{pattern}'; echo looked"))).body
    assert looked.strip().splitlines()[0].endswith("looked") or looked.strip() == "looked", looked
    assert CANARY not in looked
    [container] = bot.containers()
    places = {
        "the container's configuration": podman("inspect", container),
        "the image's configuration and history": podman("image", "inspect", image) + history_of(image),
        "the image's layers": "" if in_layers(image) == 0 else CANARY,
        "the log": bot.log_text(),
        "messages": repr([shown.looks for shown in alice.messages(room)]),
        "the model's prompts": repr(model.asked),
        "process list": repr(marked_processes(bot.mark)),
        "environment of what the daemon starts": repr(environments(bot)),
        "files": repr([path for path in files_of(bot.state) if re.search(pattern.encode(), path.read_bytes())]),
    }
    assert [name for name, text in places.items() if re.search(pattern, text)] == []
    assert places["files"] == "[]"


def history_of(image: str) -> str:
    return podman("history", "--no-trunc", "--format", "{{.CreatedBy}} {{.Comment}}", image)


def in_layers(image: str) -> int:
    """How often it is in the files of any layer, also those that a later one hides."""
    counting = 'podman save --format docker-archive "$0" | grep --text --count "$1"'
    counted = subprocess.run(("sh", "-c", counting, image, CANARY), capture_output=True, text=True, check=False)
    return int(counted.stdout)


def environments(bot: Daemon) -> list[bytes]:
    return [Path(f"/proc/{pid}/environ").read_bytes() for pid in marked_processes(bot.mark) if pid != bot.pid]


def files_of(state: Path) -> list[Path]:
    """All but the disks, which are mounted beside themselves."""
    return [path for path in state.rglob("*") if path.is_file() and path.suffix != ".img"]
