"""What docs/developing.md says of adding something is all that it takes: done to a copy of the source, and used."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import MakeDaemon, MakePerson
from tests.e2e.test_audit import log_of
from tests.harness import notice
from tests.patience import PATIENCE, until
from tests.scripted_model import ScriptedModel

ROOT = Path(__file__).parents[1]


def grown(folder: Path, *parts: str) -> tuple[Path, list[str]]:
    """A program to start in place of `roommate`, from a source with the changes of these parts; and their files."""
    page = (ROOT / "docs" / "developing.md").read_text()
    found = [re.findall(rf"^## {part}\n.*?^```diff\n(.*?)^```", page, re.MULTILINE | re.DOTALL) for part in parts]
    diff = "".join(one for [one] in found)
    for name in ("src", "hooks", "scripts", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = ["git", "apply", "-"]
    done = subprocess.run(command, cwd=folder, input=diff, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    program = folder / "roommate"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(folder / 'src')!r})\n"
        "from roommate.cli import main\n\nmain()\n"
    )
    program.chmod(0o755)
    return program, re.findall(r"^\+\+\+ b/(.*)$", diff, re.MULTILINE)


async def test_a_tool_is_a_file_and_a_line_a_card_two_lines_and_a_feature_a_file_and_a_line(
    tmp_path: Path, daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    program, files = grown(tmp_path, "A tool for the model", "A card", "A feature")
    of_the_tool = ["tools/count_words.py", "tools/room_tools.py"]
    of_the_card = ["domain/cards.py", "features/reset.py"]
    of_the_feature = ["domain/cards.py", "features/leftovers.py", "composition/features.py"]
    assert files == [f"src/roommate/{name}" for name in (*of_the_tool, *of_the_card, *of_the_feature)]
    bot, alice = await daemon(start=False, model=model), await person("alice")
    await bot.start(PATIENCE, program)
    room = await bot.room_with(alice)

    def use(name: str, **arguments: str) -> str:
        return f"TOOL {name} {json.dumps(arguments)}"

    script = [
        use("write_file", path="a.txt", content="one two three"),
        "\n".join(
            [use("count_words", path="a.txt"), use("count_words", path="gone.txt"), use("count_words", file="x")]
        ),
        "ECHO",
    ]
    answer = await alice.ask(room, "\n---\n".join(script))
    assert "a.txt has 3 words" in answer.body
    assert "gone.txt: no such file" in answer.body
    assert "count_words was not run: `path` is missing; there is no argument `file`" in answer.body
    steps = str(answer.content["formatted_body"])
    assert "✔ <strong>count_words</strong> <code>a.txt</code> — 3 words" in steps
    assert "✘ <strong>count_words</strong> <code>gone.txt</code>" in steps

    await alice.say(room, "!rest")
    card = (await notice(bot, alice, room, "Stop this room's container")).event_id
    await alice.wait(lambda: len(alice.reactions(room, card)) == 2, what="its choices")
    await alice.react(room, card, "✅")
    await notice(bot, alice, room, "✅ allowed by alice")

    assert "leftovers may lie in" in bot.log_text(), "the feature's service runs"
    script = [use("write_file", path="tmp/a.txt", content="old"), use("count_leftovers"), "ECHO"]
    assert "tmp has 1 file" in (await alice.ask(room, "\n---\n".join(script))).body
    await alice.say(room, "!tidy")
    card = (await notice(bot, alice, room, "Delete all that lies in")).event_id
    await alice.wait(lambda: len(alice.reactions(room, card)) == 2, what="its choices")
    await alice.react(room, card, "✅")
    await notice(bot, alice, room, "nothing lies in `tmp` any more")
    assert "tmp has 0 files" in (await alice.ask(room, "\n---\n".join([use("count_leftovers"), "ECHO"]))).body


async def test_an_operation_is_one_file(tmp_path: Path, daemon: MakeDaemon, person: MakePerson) -> None:
    program, files = grown(tmp_path, "An operation")
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run([tmp_path / "scripts" / "commands"], env=environment, check=True)
    assert "`!prompt add TEXT" in (tmp_path / "docs" / "commands.md").read_text()
    assert files == ["src/roommate/features/model_and_prompt.py"]
    alice, bob = await person("alice"), await person("bob")
    bot = await daemon(start=False, OPERATORS=alice.user_id)
    await bot.start(PATIENCE, program)
    room = await bot.room_with(alice, bob, name="Den")
    await alice.say(room, "!prompt Speak Latin.")
    await notice(bot, alice, room, "From the next turn on")
    await alice.say(room, "!prompt add Slowly.")
    assert "Speak Latin.\nSlowly.\n" in (await notice(bot, alice, room, "Slowly")).body
    await bob.say(room, "!prompt add Loudly.")
    await notice(bot, bob, room, "Only an operator can use `!prompt add`")
    await alice.say(room, "!help all")
    told = "`!prompt add TEXT|none` adds a line to what the model is told in a room besides (operators)"
    await notice(bot, alice, room, told)

    async def typed(*arguments: str) -> str:
        command = [str(program), "prompt", "add", *arguments]
        environment = {**os.environ, **bot.settings}

        def start() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, env=environment, cwd=bot.folder, capture_output=True, text=True, timeout=PATIENCE, check=False
            )

        done = await asyncio.to_thread(start)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert await typed("Den", "Please.", "--json") == '"Speak Latin.\\nSlowly.\\nPlease."\n'
    assert "Adds a line to what the model is told" in await typed("--help")
    done = [(line["who"], line["subject"], line["outcome"]) for line in await log_of(bot) if line["what"] == "prompt"]
    assert done == [
        (alice.user_id, "12 characters", "done"),
        (alice.user_id, "7 characters more", "done"),
        (bob.user_id, "7 characters more", "refused"),
        ("uid 0", "7 characters more", "done"),
    ]


async def test_a_setting_is_a_line_a_table_a_step_and_a_service_a_line_with_its_phase(
    tmp_path: Path, daemon: MakeDaemon
) -> None:
    program, files = grown(tmp_path, "A setting", "A table", "A service")
    of_the_table, of_the_service = (
        ["store/census.py", "store/migrations.py"],
        ["features/census.py", "composition/features.py"],
    )
    assert files == [f"src/roommate/{name}" for name in ("settings/config.py", *of_the_table, *of_the_service)]
    bot = await daemon(start=False, CENSUS_SECONDS="0.1")
    await bot.start(PATIENCE, program)
    await until(lambda: bot.log_text().count("there are 0 rooms") > 2, "rooms that are counted again and again")

    async def done(*command: str, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **bot.settings, **settings}
        return await asyncio.to_thread(
            subprocess.run, command, env=environment, cwd=bot.folder, capture_output=True, text=True, check=False
        )

    shown = json.loads((await done(str(program), "settings", "--json")).stdout)
    assert "census_seconds" in json.dumps(shown).lower()
    await bot.term()
    refused = await done(str(program), "run", CENSUS_SECONDS="often")
    assert "CENSUS_SECONDS: it must be a number" in refused.stderr
    look = (
        "import contextlib, sqlite3, sys; from pathlib import Path; from roommate.store import take_down, version\n"
        "state = Path(sys.argv[1]); known = version(state); take_down(state, known - 1)\n"
        "print(known - version(state))"
    )
    undone = await done(sys.executable, "-c", look, str(bot.state), PYTHONPATH=str(tmp_path / "src"))
    assert (undone.stdout, undone.stderr) == ("1\n", "")
