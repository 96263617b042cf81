"""What README and docs tell people to type works, and what they point to is there."""

import re
import shlex
import subprocess
import tempfile
from pathlib import Path

import pytest

from roommate.maintenance.env_file import OF_OTHERS
from roommate.settings.config import Settings
from tests.patience import PATIENCE
from tests.tools.all_tools import ALL_TOOLS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)")
ENDLESS = {"scripts/demo", "scripts/test", ".venv/bin/roommate run", ".venv/bin/roommate doctor",
           ".venv/bin/roommate image build --stage agents", ".venv/bin/roommate init", "scripts/install-service.sh",
           "scripts/setup-synapse.sh --env .env", "scripts/deploy.sh", "scripts/uninstall.sh"}  # fmt: skip
"""They run for long, change this machine, or need a configuration that a clone has not: here they show their help."""


def commands() -> list[str]:
    lines = [line for page in PAGES for tag, text in BLOCK.findall(page.read_text()) if tag == "sh"
             for line in text.splitlines() if line.strip()]  # fmt: skip
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize("line", commands())
def test_a_shell_line_works(line: str, image: str) -> None:
    arguments = shlex.split(line)
    if line in ENDLESS:
        arguments.append("--help")
    with tempfile.TemporaryDirectory(prefix="docs-") as folder:  # short: sockets live below it
        if arguments[0] == "scripts/demo" and line not in ENDLESS:
            arguments += ["--folder", f"{folder}/demo"]
        done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    if "python3 --version" in line:
        assert "Python 3." in done.stdout


def test_every_block_says_what_it_is() -> None:
    tags = {tag for page in PAGES for tag, _ in BLOCK.findall(page.read_text())}
    assert tags <= {"sh", "text", "diff", "toml"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, _ in LINK.findall(page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_file_that_is_named_is_there(page: Path) -> None:
    """Those of the source and of the tests, by their path; not what a diff adds."""
    roots = (ROOT, ROOT / "src" / "roommate")
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    named = re.findall(r"`((?:src|tests|bench|scripts|hooks|[a-z_]+)/[\w/.-]+\.(?:py|sh))`", text)
    assert [path for path in named if not any((root / path).exists() for root in roots)] == []


def test_every_tool_is_described() -> None:
    rows = re.findall(r"^\| (`.*?) \|", (ROOT / "docs" / "tools.md").read_text(), re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == ALL_TOOLS.keys()


def test_the_settings_that_the_docs_name_exist() -> None:
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)\b", text))
    assert named <= {name.upper() for name in Settings.model_fields} | OF_OTHERS
