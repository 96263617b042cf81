"""What goes from our device to others: kept with the step of the ratchet that made it, and posted until it arrives."""

from __future__ import annotations

import logging
import secrets
from urllib.parse import quote

from roommate.domain import JsonObject
from roommate.errors import Refused
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.records import POSTED, Records, Vault, load, save

MOST_DEVICES = 40
"""In one request: a room key for a device takes about 2 kB."""

_log = logging.getLogger(__name__)


def post(r: Records, kind: str, messages: list[tuple[str, str, JsonObject]]) -> None:
    """Have these contents go to (user, device): in the transaction that made them."""
    for start in range(0, len(messages), MOST_DEVICES):
        to: dict[str, dict[str, JsonObject]] = {}
        for user, device, content in messages[start : start + MOST_DEVICES]:
            to.setdefault(user, {})[device] = content
        save(r, POSTED, f"roommate-{secrets.token_hex(12)}", {"type": kind, "messages": to})


class ToDevice:
    """nio drops what a homeserver did not take, without a word (`AsyncClient.send_to_device_messages` looks at no
    error): here it stays until it was taken, with the transaction id that makes a second request the same one."""

    def __init__(self, vault: Vault, ask: Ask) -> None:
        self._vault, self._ask = vault, ask

    async def flush(self) -> None:
        """Raises MatrixError, StateError: then it is to be tried again."""
        if self._vault.has_none(POSTED):
            return
        waiting: list[str] = await self._vault.do(lambda r: [name for name, _, _ in r.oldest_first(POSTED)])
        for txn_id in waiting:
            kept: JsonObject | None = await self._vault.do(lambda r, txn_id=txn_id: load(r, POSTED, txn_id))  # type: ignore[misc]
            if kept is None:
                continue  # somebody else has sent it meanwhile
            path = f"/sendToDevice/{quote(kept['type'])}/{txn_id}"
            try:
                await self._ask.call("pass on keys", "PUT", path, {"messages": kept["messages"]})
            except Refused as error:
                _log.error("keys for %s were not passed on: %s", ", ".join(kept["messages"]), error)
            await self._vault.do(lambda r, txn_id=txn_id: r.drop(POSTED, txn_id))  # type: ignore[misc]
