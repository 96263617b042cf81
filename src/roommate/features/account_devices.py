"""The devices of the bot's account: operators see them, are told of a new one, and put old ones out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from roommate.administration.startup_order import Phase, Service
from roommate.errors import ControlError, MatrixError
from roommate.features.feature import Feature
from roommate.matrix.crypto.account_devices import AccountDevice
from roommate.matrix.crypto.encryption import Encryption
from roommate.operations import Call, Params, Table, Who, operation
from roommate.rooms.control_room import ControlRoom
from roommate.settings.config import Settings
from roommate.text.amounts import age
from roommate.text.printable import in_code, plain

OFF = "there is no encryption here: E2EE=off"
MOST = 255


class Named(Params):
    devices: Annotated[
        list[str], Field(min_length=1, max_length=100, title="DEVICE", description="As `devices ls` has it.")
    ]


def _about(one: AccountDevice) -> Sequence[str]:
    return (
        "this daemon" if one.ours else "",
        "signed" if one.signed else "not signed" if one.encrypts else "without keys",
        "" if one.seen is None else f"seen {age(max(0.0, time.time() - one.seen))} ago",
    )


def _listed(found: Sequence[AccountDevice]) -> str:
    return "\n".join(
        f"- {in_code(one.id, MOST)} {plain(one.name)}: {', '.join(filter(None, _about(one)))}" for one in found
    )


def _table(found: Sequence[AccountDevice]) -> Table:
    rows = [(one.id, one.name, *_about(one), one.fingerprint) for one in found]
    return Table(rows, ("device", "name", "", "keys", "last seen", "fingerprint"))


@dataclass(frozen=True, slots=True)
class Devices:
    encryption: Encryption | None
    control: ControlRoom
    settings: Callable[[], Settings]

    @operation("devices.list", reads=_listed, terminal=_table, who=Who.OPERATORS, chat="devices", cli="devices ls")
    async def list(self, params: Params, call: Call) -> Sequence[AccountDevice]:
        """Shows the devices of my account."""
        return await self._known().devices.all()

    @operation(
        "devices.remove", audit="devices-remove", subject=lambda params: " ".join(params.devices), cli="devices rm"
    )
    async def remove(self, params: Named, call: Call) -> str:
        """Logs out devices of my account for good."""
        await self._known().devices.remove(params.devices, self.settings().matrix_password.get_secret_value())
        return f"{len(params.devices)} removed."

    def _known(self) -> Encryption:
        if self.encryption is None:
            raise ControlError(OFF)
        return self.encryption

    async def announce(self) -> None:
        """Tell operators which device the bot is, once for each."""
        if self.encryption is None or not self.control.room_id:
            return
        try:
            found = [one for one in await self.encryption.devices.all() if one.ours]
        except MatrixError:
            return  # the next start tells
        for one in found:
            words = " ".join(one.fingerprint[start : start + 4] for start in range(0, len(one.fingerprint), 4))
            text = f"My device is {in_code(one.id, MOST)}, with the fingerprint {in_code(words, MOST)}."
            await self.control.tell(text, once=f"device {one.id}")


def feature(devices: Devices) -> Feature:
    return Feature([devices], services=(Service(Phase.SERVE, devices.announce),))
