"""What is wrong is judged from signs alone; who is alerted hears of it once, whatever crashes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import tracemalloc
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.administration import daemon_health
from roommate.administration.daemon_health import CRITICAL, OK, WARNING, Problem, Signs
from roommate.administration.health_watch import Alarm
from roommate.administration.status import Status
from roommate.errors import ConfigError, ProgramFailed, StateError
from roommate.host.run_configured_command import run_configured_command
from roommate.monitoring import alert_delivery as alerts_module
from roommate.monitoring.alert_delivery import BACKUP_RUN, LOGIN, Alerts
from roommate.settings.config import load

WELL = Signs("", 5000, 12.0, 0.0, 50 << 30, 100 << 30, 3600.0, 0)


@pytest.mark.parametrize(
    ("change", "level", "key"),
    [
        ({}, OK, ""),
        ({"synced_ago": None, "uptime": 10}, CRITICAL, daemon_health.START),
        ({"synced_ago": None, "uptime": 600}, CRITICAL, daemon_health.SYNC),
        ({"synced_ago": 90.0}, WARNING, daemon_health.SYNC),
        ({"synced_ago": 400.0}, CRITICAL, daemon_health.SYNC),
        ({"unsent_seconds": 700.0}, WARNING, daemon_health.OUTBOX),
        ({"unsent_seconds": 4000.0}, CRITICAL, daemon_health.OUTBOX),
        ({"disk_free": 9 << 30}, WARNING, daemon_health.DISK),
        ({"disk_free": 1 << 30}, CRITICAL, daemon_health.DISK),
        ({"disk_free": 0, "disk_size": 0}, OK, ""),
        ({"trouble": "the disk is full"}, CRITICAL, daemon_health.DATABASE),
        ({"backup_age": None}, WARNING, daemon_health.BACKUP),
        ({"backup_age": 3 * 86_400.0}, WARNING, daemon_health.BACKUP),
        ({"model_failures": 3}, WARNING, daemon_health.MODEL),
    ],
)
def test_what_is_wrong(change: dict[str, Any], level: str, key: str) -> None:
    found = daemon_health.problems(replace(WELL, **change))
    assert daemon_health.level(found) == level
    assert [problem.key for problem in found] == ([key] if key else [])
    assert all(problem.key in daemon_health.KEYS and "\n" not in problem.text for problem in found)


_number = st.floats(0, 1e9) | st.none()


@given(_number, st.floats(0, 1e9), st.integers(0, 1 << 50), st.integers(0, 1 << 50), _number, st.integers(0, 99))
def test_any_signs_are_judged(
    synced: float | None, unsent: float, free: int, size: int, backup: float | None, failures: int
) -> None:
    found = daemon_health.problems(Signs("", 1.0, synced, unsent, free, size, backup, failures))
    assert daemon_health.level(found) in (OK, WARNING, CRITICAL)
    assert [one.level for one in found] == sorted((one.level for one in found), key=[CRITICAL, WARNING].index)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("127.0.0.1:9", ("127.0.0.1", 9)),
        ("[::1]:8080", ("::1", 8080)),
        ("example.org:80", ("example.org", 80)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("", None),
    ],
)
def test_where_it_listens(text: str, address: tuple[str, int] | None) -> None:
    assert load(None, http_listen=text).http_address == address


@pytest.mark.parametrize("text", ["on", "0", "65536", ":8080", "::1:8080", "http://x:80", "-1", "1.2.3.4"])
def test_an_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"HTTP_LISTEN: .*such as 8080"):
        load(None, http_listen=text)


@pytest.mark.parametrize("setting", [{"alert_command": "mail 'x"}, {"backup_command": '"'}, {"alert_url": "ntfy.sh/x"}])
def test_wrong_programs_and_urls_are_refused(setting: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting)).upper()):
        load(None, **setting)


def _program(tmp_path: Path) -> tuple[str, Path]:
    """An ALERT_COMMAND, and the file where it leaves what it was told: a line of JSON each."""
    told = tmp_path / "told"
    text = f"""import json, os, sys
with open({str(told)!r}, "a") as file:
    print(json.dumps([os.environ["ALERT_STATUS"], os.environ["ALERT_KEY"], sys.stdin.read(), sys.argv[1:]]), file=file)
"""
    (tmp_path / "alert.py").write_text(text)
    return f"{sys.executable} {tmp_path / 'alert.py'} 'two words' $HOME", told


def _told(file: Path) -> list[tuple[str, str]]:
    lines = file.read_text().splitlines() if file.exists() else []
    return [(status, key) for status, key, *_ in map(json.loads, lines)]


def _alerts(state: Path, command: str = "", url: str = "") -> Alerts:
    return Alerts(state, bot="@bot:x", command=command, url=url, environment=dict(os.environ))


def test_an_alert_is_told_once_and_its_end_too(tmp_path: Path) -> None:
    command, told = _program(tmp_path)
    for _ in range(3):  # a daemon each
        _alerts(tmp_path, command).fire(LOGIN, "the daemon has ended: the access token is dead")
    assert _told(told) == [("firing", LOGIN)]
    _, _, text, arguments = json.loads(told.read_text())
    assert "@bot:x: the daemon has ended: the access token is dead" in text
    assert arguments == ["two words", "$HOME"], "no shell reads it"
    for _ in range(2):
        _alerts(tmp_path, command).resolve(LOGIN)
    assert _told(told) == [("firing", LOGIN), ("resolved", LOGIN)]
    _alerts(tmp_path, command).fire(LOGIN, "again")
    assert len(_told(told)) == 3
    assert (tmp_path / alerts_module.FILE).stat().st_mode & 0o777 == 0o600


def test_many_alerts_are_bounded(tmp_path: Path) -> None:
    command, told = _program(tmp_path)
    for number in range(30):
        _alerts(tmp_path, command).fire(f"key{number}", "something")
    assert len(_told(told)) == alerts_module.MOST_AN_HOUR


def test_a_full_disk_does_not_tell_again_and_again(tmp_path: Path) -> None:
    command, told = _program(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", disk], check=True)
    try:
        _alerts(disk, command).begun()
        with (disk / "rest").open("wb", buffering=0) as rest, pytest.raises(OSError, match="space"):
            while True:
                rest.write(bytes(1024))
        for _ in range(3):
            _alerts(disk, command).fire(daemon_health.DISK, "the disk is full")
        assert _told(told) == [("firing", daemon_health.DISK)]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_daemon_that_ended_without_a_word_is_told_of(tmp_path: Path) -> None:
    command, told = _program(tmp_path)
    first = _alerts(tmp_path, command)
    first.begun()
    first.ended()
    second = _alerts(tmp_path, command)
    second.begun()
    _alerts(tmp_path, command).ended()  # of one that never began: it found the folder in use
    assert _told(told) == []
    for _ in range(3):  # killed each time
        _alerts(tmp_path, command).begun()
    assert _told(told) == [("firing", "ended")]


def test_an_error_that_ends_each_start_is_told_once(tmp_path: Path) -> None:
    command, told = _program(tmp_path)
    for _ in range(3):
        daemon = _alerts(tmp_path, command)
        daemon.begun()
        daemon.fire(alerts_module.ENDED, "an error")
        daemon.ended()
    _alerts(tmp_path / "no such folder", command).fire(LOGIN, "also without a file")
    assert _told(told) == [("firing", alerts_module.ENDED), ("firing", LOGIN)]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"boot": 1, "sent": [], "active": 7}', b"\xff" * 9000])
def test_a_file_that_is_none_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    command, told = _program(tmp_path)
    (tmp_path / alerts_module.FILE).write_bytes(content)
    _alerts(tmp_path, command).fire(LOGIN, "x")
    _alerts(tmp_path, command).fire(LOGIN, "x")
    assert _told(told) == [("firing", LOGIN)]


class _Receiver(BaseHTTPRequestHandler):
    posted: list[tuple[dict[str, str], Any]]
    status: int

    def do_POST(self) -> None:
        self.posted.append((dict(self.headers), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def receiver() -> Iterator[tuple[str, type[_Receiver]]]:
    handler = type("Receiver", (_Receiver,), {"posted": [], "status": 200})
    server = HTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", handler
    server.shutdown()
    server.server_close()


def test_a_receiver_gets_json_that_it_knows(tmp_path: Path, receiver: tuple[str, type[_Receiver]]) -> None:
    url, handler = receiver
    _alerts(tmp_path, url=f"{url}/topic?auth=secret").fire(daemon_health.DISK, "full")
    [(headers, content)] = handler.posted
    assert (headers["X-Template"], headers["X-Title"], headers["X-Message"]) == ("yes", "{{.title}}", "{{.message}}")
    assert content["version"] == "4" and content["status"] == "firing"
    [alert] = content["alerts"]
    assert alert["labels"]["alertname"] == "RoommateDisk" and alert["annotations"]["description"] == "@bot:x: full"
    assert "full" in content["text"] and "full" in content["content"] and content["priority"] == 5
    (tmp_path / "am").mkdir()
    manager = _alerts(tmp_path / "am", url=f"{url}/api/v2/alerts")
    manager.fire(daemon_health.DISK, "full")
    manager.resolve(daemon_health.DISK)
    (_, [begun]), (_, [over]) = handler.posted[1:]
    assert begun["labels"] == over["labels"] and "endsAt" not in begun and over["endsAt"] >= over["startsAt"]


def test_what_nobody_took_is_tried_again_and_the_url_stays_secret(
    tmp_path: Path, receiver: tuple[str, type[_Receiver]], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    url, handler = receiver
    handler.status = 403
    alerts = _alerts(tmp_path, url=f"{url}/topic-that-is-a-password")
    alerts.fire(daemon_health.DISK, "full")
    alerts.fire(daemon_health.DISK, "full")
    assert len(handler.posted) == 1, "not at once"
    assert "ALERT_URL answers with HTTP 403" in caplog.text and "password" not in caplog.text
    monkeypatch.setattr(alerts_module, "TRY_SECONDS", 0)
    handler.status = 200
    alerts.fire(daemon_health.DISK, "full")
    alerts.fire(daemon_health.DISK, "full")
    assert len(handler.posted) == 2


def test_a_receiver_that_wants_a_login_gets_the_one_of_the_url(
    tmp_path: Path, receiver: tuple[str, type[_Receiver]]
) -> None:
    url, handler = receiver
    for login, header in (("me:p%40ss:word", b"me:p@ss:word"), ("me", b"me:")):
        assert _alerts(tmp_path, url=url.replace("//", f"//{login}@")).test() == []
        headers, _ = handler.posted.pop()
        assert headers["Authorization"] == f"Basic {b64encode(header).decode()}" and "@" not in headers["Host"]


def test_a_receiver_that_speaks_no_http_ends_nothing(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer, _ = server.accept()
            with peer:
                peer.recv(1 << 16)
                peer.sendall(b"220 mail.example.org ESMTP\r\n")

        Thread(target=answer, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        assert _alerts(tmp_path, url=url).test() == ["ALERT_URL does not answer (BadStatusLine)"]


def test_a_text_that_is_no_unicode_is_told(tmp_path: Path) -> None:
    command, told = _program(tmp_path)
    _alerts(tmp_path, command).fire(BACKUP_RUN, "a backup failed: caf\udce9.txt")
    assert "caf?.txt" in json.loads(told.read_text())[2]


def test_a_test_says_who_did_not_take_it(tmp_path: Path, receiver: tuple[str, type[_Receiver]]) -> None:
    url, handler = receiver
    command, told = _program(tmp_path)
    assert _alerts(tmp_path, command, url).test() == []
    assert _told(told) == [("firing", "test")] and len(handler.posted) == 1
    handler.status = 500
    failed = _alerts(tmp_path, "false", url).test()
    assert failed == ["ALERT_COMMAND ended with code 1", "ALERT_URL answers with HTTP 500"]
    assert _alerts(tmp_path, url="http://127.0.0.1:9/x").test() == ["ALERT_URL does not answer (URLError)"]
    assert _alerts(tmp_path).test() == []


def test_without_a_receiver_there_is_no_file(tmp_path: Path) -> None:
    alerts = _alerts(tmp_path)
    alerts.begun()
    alerts.fire(LOGIN, "x")
    alerts.resolve(LOGIN)
    alerts.ended()
    assert list(tmp_path.iterdir()) == []


async def test_problems_are_told_when_they_are_new(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command, told = _program(tmp_path)

    async def look() -> Status:
        raise StateError("a path")

    caplog.set_level("INFO")
    watch = Alarm(look, _alerts(tmp_path, command))
    disk = Problem(daemon_health.DISK, CRITICAL, "the disk is full", True)
    few = Problem(daemon_health.MODEL, WARNING, "the model has failed")
    for problems in ((), (disk, few), (disk, few), (few,), ()):
        await watch.tell(problems)
    assert _told(told) == [("firing", daemon_health.DISK), ("resolved", daemon_health.DISK)]
    levels = [(record.levelname, record.message) for record in caplog.records if "health_watch" in record.name]
    assert levels == [
        ("ERROR", "the disk is full"),
        ("WARNING", "the model has failed"),
        ("INFO", "well again: disk"),
        ("INFO", "well again: model"),
    ]
    await watch.tell(await watch._problems())
    assert _told(told)[-1] == ("firing", daemon_health.DATABASE)


async def test_a_new_daemon_tells_that_what_ended_the_last_one_is_over(tmp_path: Path) -> None:
    command, told = _program(tmp_path)
    _alerts(tmp_path, command).fire(LOGIN, "dead")
    _alerts(tmp_path, command).fire(BACKUP_RUN, "failed")

    async def look() -> Status:
        raise AssertionError

    await Alarm(look, _alerts(tmp_path, command)).tell(())
    assert _told(told) == [("firing", LOGIN), ("firing", BACKUP_RUN), ("resolved", LOGIN)], "a backup has to come first"


def test_a_program_of_the_operators_is_bounded(tmp_path: Path) -> None:
    left = tmp_path / "left"
    with pytest.raises(ProgramFailed, match="BACKUP_COMMAND was killed: it took more than 1 s"):
        run_configured_command(
            "BACKUP_COMMAND", f"sh -c '(sleep 3; touch {left}) & wait'", env={"PATH": os.environ["PATH"]}, seconds=1
        )
    with pytest.raises(ProgramFailed, match="ended with code 3: oh no"):
        run_configured_command("X", "sh -c 'echo first; echo oh no >&2; exit 3'", env=dict(os.environ), seconds=10)
    with pytest.raises(ProgramFailed, match="could not be started: No such file"):
        run_configured_command("X", "/no/such/program", env={}, seconds=10)
    run_configured_command("X", 'sh -c \'test "$0" = /tmp/file && test -z "$HOME"\'', "/tmp/file", env={}, seconds=10)
    tracemalloc.start()
    with pytest.raises(ProgramFailed, match="code 1: the end"):
        run_configured_command("X", "sh -c 'yes | head -c 30M; echo the end; exit 1'", env=dict(os.environ), seconds=60)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20, "what it prints is not held"
    tracemalloc.stop()
    time.sleep(2.5)
    assert not left.exists(), "what it started is killed with it"
