"""Recovery of encrypted rooms: a key for the operator, with which another device of the bot is who this one was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.errors import Refused
from roommate.matrix.crypto.encryption import Encryption
from roommate.matrix.crypto.recovery import NewRecovery, Recovered, Recovery, Standing
from roommate.operations import Call, Params, Table, operation

SECONDS = 1800.0
"""A backup may have many keys, and a homeserver its pace."""


class SetUp(Params):
    replace: Annotated[bool, Field(description="Also where there is a recovery key, or another client's identity.")] = (
        False
    )


class Shown(Params):
    key_id: Annotated[str, Field(max_length=300)]


class Restored(Params):
    key: Annotated[str, Field(min_length=1, max_length=1000)]
    """The recovery key, or its passphrase."""


def _state(found: Standing) -> str:
    if not found.shown:
        return "begun: `roommate recovery setup` goes on, and shows the recovery key"
    if not found.key_id:
        return "none: `roommate recovery setup` makes a recovery key"
    if not found.ours:
        return "there is a recovery key, and the bot was not given it: `roommate recovery restore`"
    return "set up"


def _table(found: Standing) -> Table:
    rows = [("recovery", _state(found))]
    if found.version:
        rows.append(("backup", f"version {found.version}, {found.keys} room keys, {found.waiting} to be uploaded"))
    if found.problem:
        rows.append(("problem", found.problem))
    return Table(rows)


def _read(found: Standing) -> str:
    return "\n".join(f"- {name}: {what}" for name, what in _table(found).rows)


@dataclass(frozen=True, slots=True)
class RecoveryOfRooms:
    encryption: Encryption | None
    """None while the operator wants none."""

    @operation("recovery.status", reads=_read, terminal=_table, cli="recovery status")
    async def status(self, params: Params, call: Call) -> Standing:
        """Shows whether encrypted rooms can be read again where the state is lost, and what the key backup has."""
        return await self._recovery.standing()

    @operation("recovery.setup", audit="recovery.setup", seconds=SECONDS)
    async def setup(self, params: SetUp, call: Call) -> NewRecovery:
        """Makes a recovery key and a key backup; gives the key until somebody was shown it."""
        return await self._recovery.setup(replace=params.replace)

    @operation("recovery.shown")
    async def shown(self, params: Shown, call: Call) -> str:
        """Forgets the recovery key, which somebody was shown."""
        await self._recovery.shown(params.key_id)
        return ""

    @operation("recovery.restore", audit="recovery.restore", seconds=SECONDS)
    async def restore(self, params: Restored, call: Call) -> Recovered:
        """Takes the account's identity and its room keys over, with its recovery key or passphrase."""
        return await self._recovery.restore(params.key)

    @property
    def _recovery(self) -> Recovery:
        if self.encryption is None:
            raise Refused("E2EE is off: there is nothing to recover")
        if not self.encryption.works:
            raise Refused(self.encryption.sealing.out_of_order)
        return self.encryption.recovery
