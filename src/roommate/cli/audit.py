"""`roommate audit`: the log of who did what, and whether it is whole."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from datetime import datetime

import typer

from roommate.chat import texts
from roommate.errors import ConfigError
from roommate.settings import config
from roommate.store import Record, audit, reading
from roommate.text.printable import printable

NEWEST = 50
_AGO = re.compile(r"(\d+)([mhd])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400}


def run(since: str, *, verify: bool, as_json: bool) -> int:
    """Print the log, or with `verify` whether it is whole; the exit code. Raises ConfigError, StateError."""
    start = moment(since, time.time()) if since else 0.0
    with reading(config.load().state_dir) as c:
        if verify:
            chain = audit.verify(c)
        else:
            records = audit.read(c, since=start, most=1 << 62 if since else NEWEST)
    if not verify:
        _show(records, as_json)
        return 0
    if as_json:
        typer.echo(json.dumps({"first": chain.first, "last": chain.last, "head": chain.head, "broken": chain.broken}))
    elif chain.broken is None:
        typer.echo(f"whole: lines {chain.first} to {chain.last}, the last with hash {chain.head}")
    else:
        typer.echo(f"BROKEN: line {chain.broken} was changed or taken out; those before it are as they were written")
    return 0 if chain.broken is None else 1


def moment(text: str, now: float) -> float:
    """Seconds since 1970 of ``2h`` (ago) or a date, with a time of the day or without. Raises ConfigError."""
    if ago := _AGO.fullmatch(text):
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        raise ConfigError(f"--since {text}: write 90m, 2h or 7d, or a date such as 2026-11-20") from None


def _show(records: Sequence[Record], as_json: bool) -> None:
    for record in records:
        line = texts.deed(record.at, record.deed)
        typer.echo(json.dumps(_object(record), ensure_ascii=False) if as_json else printable(line))


def _object(record: Record) -> dict[str, object]:
    deed = record.deed
    return {
        "number": record.number,
        "at": record.at,
        "who": deed.who,
        "via": deed.via,
        "what": deed.what,
        "outcome": deed.outcome,
        "room_id": deed.room_id,
        "subject": deed.subject,
        "detail": deed.detail,
        "hash": record.hash.hex(),
    }
