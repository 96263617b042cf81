"""`roommate self-check`: can this release run here? Asked by the release that runs, before it makes place."""

from __future__ import annotations

import importlib
import pkgutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import roommate
from roommate.administration import preconditions
from roommate.agent.fallback_model import FallbackModel
from roommate.agent.provider_model import ProviderModel
from roommate.composition.from_settings import model_of
from roommate.domain import Account, Check
from roommate.errors import UpdateError
from roommate.maintenance import remote_checks
from roommate.net import outbound_http
from roommate.settings import config
from roommate.settings.config import Settings
from roommate.store import Database, Inbox, copy

INSIDE = "roommate.sandbox.inside."
"""Programs of the rooms' containers: there they are not modules."""


async def run() -> None:
    """Raises UpdateError, and whatever a part of this release raises that is broken.

    Where nothing is set up yet it is enough that every module can be loaded.
    """
    for name in modules():
        importlib.import_module(name)
    settings = config.load()
    if not settings.matrix_user:
        return
    account = await _migrated(settings)
    checks = [
        remote_checks.python(),
        *preconditions.checks(settings),
        reached := await remote_checks.homeserver(settings),
    ]
    if reached.ok:
        checks.append(await remote_checks.login(settings, remote_checks.account(settings, account)))
    _demand(checks)
    async with outbound_http.session() as session:
        model = model_of(settings, settings.llm_model, lambda: session)
        if isinstance(model, ProviderModel | FallbackModel):
            await model.load()


def modules() -> Iterator[str]:
    """All of Roommate's, but those that are programs."""
    for module in pkgutil.walk_packages(roommate.__path__, "roommate."):
        if not module.name.endswith("__main__") and not module.name.startswith(INSIDE):
            yield module.name


async def _migrated(settings: Settings) -> Account | None:
    """The login in a copy of the database, which is migrated here as a start would do it with the database itself."""
    if not (settings.state_dir / "roommate.db").exists():
        return None
    with tempfile.TemporaryDirectory(prefix="self-check-", dir=settings.state_dir) as folder:
        copy(settings.state_dir, Path(folder) / "roommate.db")
        database = Database.open(Path(folder))
        try:
            return await Inbox(database).account()
        finally:
            await database.close()


def _demand(checks: list[Check]) -> None:
    if wrong := next((check for check in checks if check.needed and not check.ok), None):
        raise UpdateError(f"{wrong.what}: {wrong.found}")
