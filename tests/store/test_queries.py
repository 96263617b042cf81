"""Every query of the store finds its rows by an index: none reads a table whole that grows with the years."""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import roommate.store
from roommate.store.migrations import migrate

GROWING = frozenset({"inbox", "outbox", "turns", "steps", "cards", "ipc", "audit", "conversations", "known"})

WHOLE = frozenset({"SELECT {_COLUMNS} FROM audit ORDER BY number"})
"""What has to read all there is: the walk along the audit log's chain."""

FOLDER = Path(roommate.store.__path__[0])
SQL = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


def texts(node: ast.expr, module: ModuleType) -> list[str]:
    """What a text in the source may be, with the module's constants in it and each choice made either way."""
    match node:
        case ast.Constant(str(text)):
            return [text]
        case ast.IfExp(_, body, orelse):
            return [*texts(body, module), *texts(orelse, module)]
        case ast.FormattedValue(value):
            return texts(value, module)
        case ast.JoinedStr(values):
            return ["".join(parts) for parts in itertools.product(*(texts(value, module) for value in values))]
    try:
        return [str(eval(compile(ast.Expression(node), module.__name__, "eval"), vars(module)))]
    except NameError as error:
        raise AssertionError(f"{ast.unparse(node)} is known when it runs only: make queries of constants") from error


def queries() -> Iterator[tuple[str, str]]:
    """Where a query is, and its text."""
    for path in sorted(FOLDER.glob("*.py")):
        if path.stem == "migrations":
            continue
        module = importlib.import_module(f"roommate.store.{path.stem}")
        tree = ast.parse(path.read_text())
        inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if not isinstance(node, (ast.Constant, ast.JoinedStr)) or id(node) in inner:
                continue
            source = ast.unparse(node).strip("f'\"")
            begins = node if isinstance(node, ast.Constant) else node.values[0]
            if isinstance(begins, ast.Constant) and isinstance(begins.value, str) and SQL.match(begins.value):
                if source in WHOLE or not GROWING & set(re.findall(r"\w+", source)):
                    continue
                for text in texts(node, module):
                    yield f"{path.stem}:{node.lineno}", text


@pytest.fixture(scope="module")
def empty() -> sqlite3.Connection:
    """What SQLite plans for a database without statistics, as ours is."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    return connection


def plan(c: sqlite3.Connection, query: str) -> list[str]:
    names = dict.fromkeys(re.findall(r":(\w+)", query))
    for count in range(20):
        try:
            rows = c.execute(f"EXPLAIN QUERY PLAN {query}", names or (None,) * count)
        except sqlite3.ProgrammingError:
            continue
        return [row[3] for row in rows]
    raise AssertionError(f"not understood: {query}")


@pytest.mark.parametrize(
    ("where", "query"), [pytest.param(*one, id=f"{one[0]}-{n}") for n, one in enumerate(queries())]
)
def test_no_query_reads_a_growing_table_whole(empty: sqlite3.Connection, where: str, query: str) -> None:
    of_some = {
        name
        for name, sql in empty.execute("SELECT name, sql FROM sqlite_master WHERE type='index'")
        if " WHERE " in f"{sql}"
    }
    aliases = {alias: table for table, alias in re.findall(r"\b(\w+) (?:AS )?(o|target|t|i|s)\b", query)}
    for line in plan(empty, query):
        if found := re.match(r"SCAN (?:TABLE )?(\w+)(?: USING (?:COVERING )?INDEX (\w+))?", line):
            table, index = aliases.get(found[1], found[1]), found[2]
            newest = "WHERE" not in query and "LIMIT" in query
            assert table not in GROWING or index in of_some or newest, f"{where}: {line} in {query}"


def test_the_queries_are_found() -> None:
    found = [query for _, query in queries()]
    assert len(found) > 50
    assert any("unsent" in query for query in found)
