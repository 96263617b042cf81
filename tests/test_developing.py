"""What docs/developing.md says of adding something is all that it takes: done to a copy of the source, and used."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import MakeDaemon, MakePerson
from tests.patience import PATIENCE
from tests.scripted_model import ScriptedModel

ROOT = Path(__file__).parents[1]


def grown(folder: Path, part: str) -> tuple[Path, list[str]]:
    """A program to start in place of `roommate`, from a source with the changes of this part; and their files."""
    page = (ROOT / "docs" / "developing.md").read_text()
    [diff] = re.findall(rf"^## {part}\n.*?^```diff\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name in ("src", "hooks"):
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


async def test_a_tool_is_a_file_and_a_line(
    tmp_path: Path, daemon: MakeDaemon, person: MakePerson, model: ScriptedModel
) -> None:
    program, files = grown(tmp_path, "A tool for the model")
    assert files == ["src/roommate/tools/count_words.py", "src/roommate/tools/room_tools.py"]
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
