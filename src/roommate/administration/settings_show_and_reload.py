"""What is set, with secrets masked; and what becomes of new settings while the daemon runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from roommate.settings.config import LIVE, Settings

MASKED = "********"


@dataclass(frozen=True, slots=True)
class Setting:
    name: str
    value: str
    default: bool
    """Nobody has set it."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Names of settings: those that count from now on, and those that only a restart takes in."""

    changed: Sequence[str]
    need_restart: Sequence[str]


class LiveSettings:
    """Of a daemon that runs: calling it gives them as they are now, for some change while it does."""

    def __init__(self, settings: Settings) -> None:
        self._now = settings

    def __call__(self) -> Settings:
        return self._now

    def take(self, fresh: Settings) -> Reloaded:
        """Take in what may change; gives what became of each that is different."""
        self._now, reloaded = changed(self._now, fresh)
        return reloaded


def settings(set_to: Settings) -> Sequence[Setting]:
    """As the daemon has them now."""
    return [
        Setting(name.upper(), _shown(getattr(set_to, name)), name not in set_to.model_fields_set)
        for name in Settings.model_fields
    ]


@dataclass(frozen=True, slots=True)
class Difference:
    """Between what runs and what is written: as `Setting.value` each, but a secret's is only "changed"."""

    name: str
    runs: str
    written: str
    needs: str
    """What takes it in: reload or restart."""


def differences(now: Settings, written: Settings) -> Sequence[Difference]:
    """Each setting that a daemon that begins now would have otherwise."""
    return [_difference(name, now, written) for name in _different(now, written)]


def changed(now: Settings, fresh: Settings) -> tuple[Settings, Reloaded]:
    """What the settings of a daemon that runs become when it is shown `fresh` ones, and what became of each."""
    different = _different(now, fresh)
    live = [name for name in different if name in LIVE]
    late = [name.upper() for name in different if name not in LIVE]
    taken = now.model_copy(update={name: getattr(fresh, name) for name in live})
    return taken, Reloaded([name.upper() for name in live], late)


def _different(now: Settings, fresh: Settings) -> list[str]:
    return [name for name in Settings.model_fields if getattr(now, name) != getattr(fresh, name)]


def _difference(name: str, now: Settings, written: Settings) -> Difference:
    runs, comes = getattr(now, name), getattr(written, name)
    if isinstance(runs, SecretStr):
        before, after = (MASKED if secret.get_secret_value() else "" for secret in (runs, comes))
        after = "changed" if before == after else after
    else:
        before, after = _shown(runs), _shown(comes)
    return Difference(name.upper(), before, after, "reload" if name in LIVE else "restart")


def _shown(value: object) -> str:
    match value:
        case SecretStr():
            return MASKED if value.get_secret_value() else ""
        case tuple():
            return ",".join(map(str, value))
        case bool():
            return str(value).lower()
        case Path():
            return "" if value == Path() else str(value)
    return str(value)
