"""Alerts: what the control room cannot carry, told by a program of the operator's or an HTTP receiver.

What was told is kept in a file, so that a daemon that fails again and again does not tell again and again. The file has
its size from the beginning: it can be written when the disk is full.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from roommate.domain import JsonObject
from roommate.errors import ProgramFailed
from roommate.host.run_configured_command import run_configured_command

log = logging.getLogger(__name__)

FILE = "alerts.json"
FILE_BYTES = 8192
AGAIN_SECONDS = 6 * 3600
"""What goes on is told again after so long."""
ENDED_SECONDS = 3600
"""The same of daemons that ended: nobody can say when that is over."""
MOST_AN_HOUR = 10
TRY_SECONDS = 60
"""Between two tries where nobody takes it."""
SEND_SECONDS = 15.0
LONGEST_TEXT = 1000

FIRING, RESOLVED = "firing", "resolved"

LOGIN, STATE, ENDED, BACKUP_RUN, TEST = "login", "database", "ended", "backup run", "test"
"""Problems that are told where they happen."""

_ALERTMANAGER = "/api/v2/alerts"
_NEVER = "0001-01-01T00:00:00Z"


@dataclass(slots=True)
class _Kept:
    """What the file says. Times are seconds since 1970."""

    boot: str = ""
    """The boot in which a daemon runs; empty when it has ended in order."""
    sent: list[float] = field(default_factory=list)
    """The newest messages."""
    active: dict[str, list[float]] = field(default_factory=dict)
    """What goes on: since when, and when it was told and tried last (0 for never)."""
    file: int | None = None
    """Its descriptor, where there is one."""


class Alerts:
    """Nothing happens, and there is no file, where neither `command` nor `url` is set. Every method blocks, for
    2 × SEND_SECONDS at most, and raises nothing."""

    def __init__(self, state: Path, *, bot: str, command: str, url: str, environment: Mapping[str, str]) -> None:
        self._file = state / FILE
        self._bot = bot
        self._command = command
        self._url = url
        self._environment = environment
        self._host = socket.gethostname()
        self._runs = False

    def __bool__(self) -> bool:
        return bool(self._command or self._url)

    def fire(self, key: str, text: str) -> None:
        """This goes on: it is told when it begins, and again after AGAIN_SECONDS."""
        self._tell(key, text)

    def resolve(self, key: str) -> None:
        """It is over, which is told when it was told before."""
        if not self:
            return
        with self._kept() as kept:
            since, told, _ = kept.active.pop(key, (0.0, 0.0, 0.0))
            if told and self._may(kept):
                self._send(RESOLVED, key, "it is over", since)

    def begun(self) -> None:
        """A daemon runs from now on. When the one before ended without a word, that is told."""
        if not self:
            return
        self._runs, boot = True, _boot()
        with self._kept() as kept:
            died, kept.boot = kept.boot == boot, boot
        if died:
            why = "killed, out of memory, or by systemd's watchdog: the journal of the system knows"
            self._tell(ENDED, f"the daemon had ended without a word ({why}); it has been started again")

    def ended(self) -> None:
        """The daemon that began with us ends in order."""
        if self._runs:
            self._runs = False
            with self._kept() as kept:
                kept.boot = ""

    def _tell(self, key: str, text: str) -> None:
        if not self:
            return
        now, again = time.time(), ENDED_SECONDS if key == ENDED else AGAIN_SECONDS
        with self._kept() as kept:
            since, told, tried = kept.active.get(key, (now, 0.0, 0.0))
            if now - told >= again and now - tried >= TRY_SECONDS and self._may(kept):
                tried = now
                # Before it is sent: who is killed meanwhile must not send it again with each start.
                kept.active[key] = [since, told, tried]
                self._write(kept)
                if len(self._send(FIRING, key, text, since)) < bool(self._command) + bool(self._url):
                    told = now
            kept.active[key] = [since, told, tried]

    def _may(self, kept: _Kept) -> bool:
        now = time.time()
        kept.sent = [at for at in kept.sent if now - 3600 < at <= now]
        if len(kept.sent) >= MOST_AN_HOUR:
            return False
        kept.sent.append(now)
        return True

    # ── Sending ──

    def test(self) -> list[str]:
        """Tell something harmless; gives why a receiver did not take it, for each that did not."""
        return self._send(FIRING, TEST, "this is a test: nothing is wrong", time.time()) if self else []

    def _send(self, status: str, key: str, text: str, since: float) -> list[str]:
        """Why a receiver did not take it, a line for each that did not."""
        title = f"Roommate on {self._host}: {key}{' is well again' if status == RESOLVED else ''}"
        text = f"{self._bot}: {text[:LONGEST_TEXT]}"
        failed = []
        if self._command:
            known = {**self._environment, "ALERT_STATUS": status, "ALERT_KEY": key, "ALERT_TITLE": title}
            said = f"{title}\n\n{text}\n"
            try:
                run_configured_command("ALERT_COMMAND", self._command, text=said, env=known, seconds=SEND_SECONDS)
            except ProgramFailed as error:
                failed.append(str(error))
        if self._url:
            try:
                _post(self._url, content_for(self._url, status, key, title, text, since, self._host))
            except urllib.error.HTTPError as error:
                failed.append(f"ALERT_URL answers with HTTP {error.code}")
            except (OSError, ValueError, HTTPException) as error:  # the URL is often a password: it is not shown
                failed.append(f"ALERT_URL does not answer ({type(error).__name__})")
        for why in failed:
            log.warning("an alert was not told: %s", why)
        return failed

    # ── The file ──

    @contextlib.contextmanager
    def _kept(self) -> Iterator[_Kept]:
        """What was told so far; written back at the end. Where the file cannot be used, it begins from nothing."""
        try:
            file = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            log.warning("%s: %s", self._file, error.strerror)
            yield _Kept()
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            kept = _parsed(os.pread(file, FILE_BYTES, 0))
            kept.file, before = file, _text(kept)
            try:
                yield kept
            finally:
                if _text(kept) != before:
                    self._write(kept)
        finally:
            os.close(file)

    def _write(self, kept: _Kept) -> None:
        if kept.file is None:
            return
        try:
            os.pwrite(kept.file, _text(kept).ljust(FILE_BYTES)[:FILE_BYTES], 0)
            os.fdatasync(kept.file)
        except OSError as error:
            log.warning("%s: %s", self._file, error.strerror)


def content_for(url: str, status: str, key: str, title: str, text: str, since: float, host: str) -> Any:
    """What is posted: alerts for an Alertmanager, else what its receivers get, with the fields that chats, ntfy and
    Gotify show."""
    labels = {"alertname": f"Roommate{key.title()}", "severity": "critical", "instance": host, "service": "roommate"}
    annotations = {"summary": title, "description": text}
    begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since or time.time()))
    ended = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if status == RESOLVED else _NEVER
    if url.partition("?")[0].rstrip("/").endswith(_ALERTMANAGER):
        over = {"endsAt": ended} if status == RESOLVED else {}
        return [{"labels": labels, "annotations": annotations, "startsAt": begun, **over}]
    alert: JsonObject = {
        "status": status,
        "labels": labels,
        "annotations": annotations,
        "startsAt": begun,
        "endsAt": ended,
        "generatorURL": "",
        "fingerprint": key,
    }
    return {
        "version": "4",
        "receiver": "roommate",
        "status": status,
        "groupKey": f"roommate/{host}/{key}",
        "groupLabels": {"alertname": labels["alertname"]},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "truncatedAlerts": 0,
        "alerts": [alert],
        "title": title,
        "message": text,
        "text": f"{title}: {text}",
        "content": f"{title}: {text}",
        "priority": 3 if status == RESOLVED else 5,
    }


def _post(url: str, content: Any) -> None:
    """Raises OSError, ValueError, HTTPException."""
    url, login = _without_login(url)
    headers = {
        **login,
        "Content-Type": "application/json",
        "User-Agent": "Roommate",
        # ntfy makes its message of these fields of the body; others pass them over.
        "X-Template": "yes",
        "X-Title": "{{.title}}",
        "X-Message": "{{.message}}",
    }
    request = urllib.request.Request(url, json.dumps(content).encode(), headers)  # noqa: S310 — the operator's own
    with urllib.request.urlopen(request, timeout=SEND_SECONDS) as answer:  # noqa: S310
        answer.read(1024)


def _without_login(url: str) -> tuple[str, Mapping[str, str]]:
    """A URL without the user and password in it, which urllib would take for a part of the host; and the header that
    has them."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    given = unquote_to_bytes(login if ":" in login else f"{login}:")
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {b64encode(given).decode()}"}


def _parsed(text: bytes) -> _Kept:
    try:
        found = json.loads(text)
        active = {str(key): [float(at) for at in times] for key, times in found["active"].items() if len(times) == 3}
        return _Kept(str(found["boot"]), [float(at) for at in found["sent"]], active)
    except (ValueError, TypeError, KeyError, AttributeError):
        return _Kept()


def _text(kept: _Kept) -> bytes:
    return json.dumps({"boot": kept.boot, "sent": kept.sent, "active": kept.active}).encode()


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
