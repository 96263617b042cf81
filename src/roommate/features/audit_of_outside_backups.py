"""Backups that were made beside the daemon: whoever made one has read our files as ours, and it holds the login."""

from __future__ import annotations

import logging
from typing import Annotated

from pydantic import Field

from roommate.errors import ProgramFailed
from roommate.operations import Call, Params, operation

log = logging.getLogger(__name__)


class Made(Params):
    file: Annotated[str, Field(min_length=1, max_length=4096)]


class Failed(Params):
    why: Annotated[str, Field(min_length=1, max_length=4096)]


class Backups:
    @operation("backup.made", audit="backup", subject=lambda params: params.file)
    async def made(self, params: Made, call: Call) -> None:
        """Notes that there is a backup."""
        return

    @operation("backup.failed", audit="backup")
    async def failed(self, params: Failed, call: Call) -> None:
        """Notes that there is none, and why."""
        log.error("a backup failed: %s", params.why)  # which is told in the control room
        raise ProgramFailed(params.why)
