"""The shape of the house: imports point downwards, each third-party library has one owner, one reads the settings."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "roommate"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"cli", "__main__"}),
    frozenset({"demo"}),
    frozenset({"daemon_process"}),
    frozenset({"daemon"}),
    frozenset({"composition"}),
    frozenset({"features"}),
    frozenset({"administration"}),
    frozenset({"doors"}),
    frozenset({"operations", "rooms"}),
    frozenset(
        {
            "matrix",
            "chat",
            "agent",
            "tools",
            "sandbox",
            "store",
            "maintenance",
            "user_client",
            "updates",
            "control",
            "monitoring",
        }
    ),
    frozenset({"matrix_login", "tunnels"}),
    frozenset({"logs"}),
    frozenset({"settings"}),
    frozenset({"host", "net", "text"}),
    frozenset({"domain", "errors", "__init__"}),
)
"""From the top. A module imports from lower layers, and within its layer only its `SIBLINGS`."""

SIBLINGS = (
    {"cli", "__main__"},
    {"__init__"},
)

OWNERS = {
    "canonicaljson": {"features"},
    "cronsim": {"features"},
    "aiohttp": {"agent", "matrix", "user_client", "features", "tunnels", "matrix_login", "net", "monitoring"},
    "litellm": {"agent"},
    "markdown_it": {"matrix"},
    "nacl": {"features", "matrix"},
    "nh3": {"matrix"},
    "Crypto": {"matrix"},
    "nio": {"matrix"},
    "podman": {"sandbox"},
    "prometheus_client": {"monitoring"},
    "prompt_toolkit": {"cli"},
    "pydantic_settings": {"settings"},
    "rich": {"cli"},
    "segno": {"text"},
    "signedjson": {"features"},
    "sqlite3": {"store"},
    "synapse": set[str](),  # a process of its own, never imported
    "typer": {"cli"},
    "unpaddedbase64": {"features"},
    "vodozemac": {"matrix"},
    "watchfiles": {"cli"},
}

ENVIRONMENT = {"settings", "host", "demo", "sandbox", "agent"}
"""Who may touch os.environ: the settings, who hands an environment to a process or to LiteLLM, and what systemd does to
speak with us."""


def modules() -> Iterator[tuple[str, Path, ast.Module]]:
    """(name of the top module or package, file, tree) of every source file of ours."""
    for path in sorted(SOURCE.rglob("*.py")):
        top = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        yield top, path, ast.parse(path.read_text())


def imported(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            if node.module == "roommate":
                yield from ((node.lineno, f"roommate.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def layer_of(top: str) -> int:
    found = [number for number, layer in enumerate(LAYERS) if top in layer]
    assert found, f"{top} has no place in LAYERS yet"
    return found[0]


def test_the_architecture_page_names_every_part() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    parts = {name for layer in LAYERS for name in layer if not name.startswith("__")}
    assert [name for name in sorted(parts) if f"`{name}.py`" not in page and f"`{name}/`" not in page] == []


def test_the_architecture_page_draws_these_layers() -> None:
    page = (SOURCE.parents[1] / "docs" / "architecture.md").read_text()
    drawing = page.partition("## Layers")[2].split("```")[1].removeprefix("text\n").replace(",\n", ", ")
    drawn = [frozenset(re.findall(r"\w+", line)) for line in drawing.splitlines()]
    assert drawn == [frozenset(name for name in layer if not name.startswith("__")) for layer in LAYERS]


def test_imports_point_downwards() -> None:
    wrong = []
    for top, path, tree in modules():
        for line, name in imported(tree):
            if not name.startswith("roommate."):
                continue
            target = name.split(".")[1]
            if target == top or not ((SOURCE / target).exists() or (SOURCE / f"{target}.py").exists()):
                continue  # within a package; or a name of roommate/__init__.py
            together = any({top, target} <= siblings for siblings in SIBLINGS)
            if not together and layer_of(target) <= layer_of(top):
                wrong.append(f"{path.relative_to(SOURCE)}:{line} imports {name}")
    assert not wrong, wrong


def test_no_imports_run_in_a_circle() -> None:
    files = {".".join(path.relative_to(SOURCE.parent).with_suffix("").parts): tree for _, path, tree in modules()}
    uses: dict[str, set[str]] = {}
    for name, tree in files.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body.clear()
        of_packages = {
            f"{node.module}.{alias.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        uses[name] = ({module for _, module in imported(tree)} | of_packages) & files.keys() - {name}
    while free := [name for name, used in uses.items() if not used & uses.keys()]:
        for name in free:
            del uses[name]
    assert not uses, "these wait for each other"


def test_features_do_not_use_each_other() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {name}"
        for top, path, tree in modules()
        for line, name in imported(tree)
        if top == "features" and name.startswith("roommate.features")
        if name.split(".")[2] not in ("feature", path.relative_to(SOURCE).parts[1])  # what one is; itself
    ]
    assert not wrong, wrong


def test_a_library_has_one_owner() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {name}"
        for top, path, tree in modules()
        for line, name in imported(tree)
        if top not in OWNERS.get(name.split(".")[0], {top})
    ]
    assert not wrong, wrong


def test_one_module_reads_the_environment() -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for top, path, tree in modules()
        if top not in ENVIRONMENT
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv", "environb"}
        if isinstance(node.value, ast.Name) and node.value.id == "os"
    ]
    assert not wrong, wrong


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        (
            "roommate.cli.app",
            [
                "asyncio",
                "nio",
                "litellm",
                "podman",
                "pydantic",
                "prompt_toolkit",
                "aiohttp",
                "sqlite3",
                "roommate.composition.features",
            ],
        ),
        (
            "roommate.cli.forward_to_daemon",
            ["asyncio", "typer", "rich", "pydantic", "aiohttp", "sqlite3", "subprocess"],
        ),
        ("roommate.cli.status", ["asyncio", "typer", "rich", "pydantic", "aiohttp", "sqlite3", "subprocess"]),
        (
            "roommate.cli.declared_commands",
            ["asyncio", "aiohttp", "sqlite3", "roommate.composition", "roommate.operations"],
        ),
        ("roommate.user_client", ["nio", "litellm", "podman", "pydantic", "sqlite3"]),
        (
            "roommate.daemon_process",
            [
                *("litellm", "synapse", "typer", "rich", "prompt_toolkit", "prometheus_client"),
                *("podman", "requests", "nio", "Crypto", "aiohttp.web"),
            ],
        ),
    ],
)
def test_a_start_loads_only_what_it_needs(module: str, heavy: list[str]) -> None:
    program = f"import sys, {module}; print(*sorted(set({heavy!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_source_file_says_its_job() -> None:
    silent = [str(path.relative_to(SOURCE)) for _, path, tree in modules() if not ast.get_docstring(tree)]
    assert not silent


def test_an_import_does_nothing() -> None:
    """Of any module: a release's self-check imports them all."""
    program = "import importlib, roommate.cli.self_check as c; [importlib.import_module(name) for name in c.modules()]"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
