"""Log lines say what they are about, keep no secret, and are kept in a file that rotates."""

from __future__ import annotations

import asyncio
import json
import logging
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from roommate import logs
from roommate.settings import config

log = logging.getLogger("roommate.test")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], logging.raiseExceptions = handlers, True
    root.setLevel(level)


def kept(tmp_path: Path, **settings: object) -> Path:
    """The file that lines are kept in from now on."""
    logs.Logs(config.load(None, state_dir=tmp_path, **settings)).keep()
    return tmp_path / logs.FILE


async def test_lines_say_which_room_and_turn_they_are_about(tmp_path: Path) -> None:
    file = kept(tmp_path, log_format="json")

    async def turn(number: int) -> None:
        await asyncio.sleep(0)
        log.info("in a turn")
        with logs.about(turn=None, request="r1"):
            log.info("beside it")

    async def room(name: str) -> None:
        logs.about(room=name)
        async with asyncio.TaskGroup() as group:
            for number in (1, 2):
                with logs.about(turn=number):
                    group.create_task(turn(number))
        log.info("after them")

    await asyncio.gather(room("!a"), room("!b"))
    log.info("nowhere")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    found = sorted(
        (line.get("room", ""), line["message"], line.get("turn", 0), line.get("request", "")) for line in lines
    )
    each = [
        ("after them", 0, ""),
        ("beside it", 0, "r1"),
        ("beside it", 0, "r1"),
        ("in a turn", 1, ""),
        ("in a turn", 2, ""),
    ]
    assert found == [("", "nowhere", 0, ""), *(("!a", *rest) for rest in each), *(("!b", *rest) for rest in each)]


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_no_secret_is_in_them_and_no_line_is_forged(tmp_path: Path, log_format: str) -> None:
    file = kept(tmp_path, log_format=log_format, matrix_password='pa"ss\nwörd', llm_api_key="an-odd-key")
    with logs.about(room="!a", turn=3):
        log.warning('it was pa"ss\nwörd, in %s\n2026-01-01 00:00:00 INFO forged\x1b[2J', {"key": "an-odd-key"})
        try:
            raise ValueError("Authorization: Bearer s3cr3t-of-theirs and an-odd-key")
        except ValueError:
            log.exception("failed with ghp_0123456789abcdefghij")
    text = file.read_text()
    assert [secret for secret in ('pa"ss', "wörd", "odd-key", "s3cr3t", "ghp_0") if secret in text] == []
    assert "Traceback" in text
    assert "\x1b" not in text
    lines = text.splitlines()
    if log_format == "human":
        assert lines[0].split(" ", 2)[2] == (
            "WARNING !a turn 3: it was [removed], in {'key': '[removed]'}\\n2026-01-01 00:00:00 INFO forged\\x1b[2J"
        )
    else:
        assert [json.loads(line)["level"] for line in lines] == ["warning", "error"]


def test_the_file_is_private_and_rotates(tmp_path: Path) -> None:
    file = kept(tmp_path, log_file_mb=1, log_files=3)
    for number in range(50):
        log.info("%d %s \ud800", number, "x" * 100_000)
    assert sorted(path.name for path in file.parent.iterdir()) == ["roommate.log", "roommate.log.1", "roommate.log.2"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()} == {0o600}
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert all(path.stat().st_size <= 1 << 20 for path in file.parent.iterdir())


def test_a_file_that_cannot_be_written_costs_its_lines_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").write_text("in the way")
    kept(tmp_path)
    log.warning("still said")
    assert [line.split(" ", 2)[2] for line in capsys.readouterr().err.splitlines()] == ["WARNING still said"]


def test_it_can_be_switched_off(tmp_path: Path) -> None:
    file = kept(tmp_path, log_file_mb=0)
    log.warning("said")
    assert not file.exists()


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_a_room_cannot_fill_the_log(tmp_path: Path, log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    file = kept(tmp_path, log_format=log_format)

    def refuse() -> None:
        log.warning("refused %s %s", "x" * (logs.LONGEST - 20) + " Bearer", "S3cret" * 20_000)

    def another_kind() -> None:
        log.error("the hand is lost %s", "x" * 100_000)

    with logs.about(room="!noisy"):
        for _ in range(5000):
            refuse()
        another_kind()
        log.debug("not asked for")
    with logs.about(room="!quiet"):
        refuse()
    for _ in range(30):
        log.info("of no room")
    assert file.stat().st_size < 60_000
    lines = file.read_text().splitlines()
    counts = [sum(word in line for line in lines) for word in ("refused", "hand is lost", "of no room")]
    assert counts == [logs.AT_ONCE + 1, 1, 30]
    assert next(line for line in lines if "hand is lost" in line).count("(98,017 characters more)") == 1
    assert "S3cret" not in file.read_text(), "also where it is cut"

    now += logs.SECONDS
    with logs.about(room="!noisy"):
        refuse()
        refuse()
    (told,) = file.read_text().splitlines()[len(lines) :]
    assert "(and 4,980 more like it)" in told and "!noisy" in told


def test_every_error_is_counted_also_those_that_are_not_written(tmp_path: Path) -> None:
    made = logs.Logs(config.load(None, state_dir=tmp_path))
    with logs.about(room="!noisy"):
        for _ in range(100):
            log.error("again")
    assert made.newest.count == 100
