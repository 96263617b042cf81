"""The key backup on the homeserver: room keys go there as they come, and come from there where they are missing.

https://spec.matrix.org/v1.16/client-server-api/#server-side-key-backups
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from roommate.domain import JsonObject
from roommate.errors import Refused, StateError, Transient
from roommate.matrix.crypto.backed_up_session import ALGORITHM, BackupKey, packed, unpack
from roommate.matrix.crypto.homeserver_requests import Ask
from roommate.matrix.crypto.records import BACKUP, INBOUND, UNSAVED, Records, Vault, load, save
from roommate.matrix.crypto.secret_storage import seal, unseal
from roommate.matrix.crypto.signing import from_unpadded, unpadded
from roommate.matrix.error_mapping import back_off
from roommate.matrix.parse import obj, text

BATCH = 100
"""Room keys in one request: about 120 kB."""
ROOM_SECONDS = 120.0
MOST_ASKED = 10_000
"""Keys of which it is known that they were asked for; anybody in a room can have us ask for any."""
LONGEST_WAIT = 300.0

_OWN = "own"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Served:
    """The backup that the homeserver has now."""

    version: str
    public: str
    count: int


@dataclass(frozen=True, slots=True)
class _Kept:
    version: str
    key: BackupKey


class KeyBackup:
    def __init__(self, vault: Vault, ask: Ask) -> None:
        self._vault, self._ask = vault, ask
        self._kept: _Kept | None = None
        self._asked: set[tuple[str, str]] = set()
        """(room, session) that the backup was asked for lately."""
        self._news = asyncio.Event()
        self.problem = ""
        """Why room keys are not backed up any more, and what to do, for operators; empty when they are, or need not."""

    @property
    def key(self) -> BackupKey | None:
        """Of the backup that is written to; None where there is none."""
        return self._kept.key if self._kept else None

    @property
    def version(self) -> str:
        return self._kept.version if self._kept else ""

    async def begin(self) -> None:
        """Go on with the backup that is remembered, if the homeserver has it still. Raises Transient, StateError."""
        kept: JsonObject | None = await self._vault.do(lambda r: load(r, BACKUP, _OWN))
        self.problem = ""
        if kept is None:
            return
        private = from_unpadded(unseal(self._vault.key, BACKUP, kept["key"]))
        self._kept = _Kept(kept["version"], BackupKey(private))
        try:
            served = await self.served()
        except Refused as error:
            self._refused(error)
            return
        if served is None or (served.version, served.public) != (self._kept.version, self._kept.key.public):
            self._lost()
        self._news.set()

    async def served(self) -> Served | None:
        """Raises MatrixError."""
        try:
            answer = await self._ask.call("tell its key backup", "GET", "/room_keys/version")
        except Refused as error:
            if error.errcode != "M_NOT_FOUND":
                raise
            return None
        count, version = answer.get("count"), text(answer.get("version")) or ""
        known = answer.get("algorithm") == ALGORITHM
        public = text(obj(answer.get("auth_data")).get("public_key")) if known else ""
        return Served(version, (public or "").rstrip("="), count if isinstance(count, int) else 0)

    async def make(self, key: BackupKey, signed: JsonObject) -> str:
        """A new backup, which takes the place of the one before; `signed` is its ``auth_data``. Gives its version."""
        body = {"algorithm": ALGORITHM, "auth_data": signed}
        answer = await self._ask.call("make a key backup", "POST", "/room_keys/version", body)
        return str(answer["version"])

    async def use(self, version: str, key: BackupKey, *, whole: bool) -> None:
        """Write to this backup from now on: all room keys that are here where it may lack some (`whole`), and each
        that comes. Raises StateError."""

        def work(r: Records) -> None:
            sealed = seal(self._vault.key, BACKUP, unpadded(key.private))
            before = load(r, BACKUP, _OWN)
            save(r, BACKUP, _OWN, {"version": version, "key": sealed})
            if whole or before is None or before["version"] != version:
                for name, _ in r.all(INBOUND):
                    r.put(UNSAVED, name, "")

        await self._vault.do(work)
        self._kept, self.problem = _Kept(version, key), ""
        self._asked.clear()
        self._news.set()

    async def waiting(self) -> int:
        """How many room keys are still to be uploaded."""
        return len(await self._vault.do(lambda r: r.all(UNSAVED)))

    # ── Out ──────────────────────────────────────────────────────────────────────────────────────

    def wake(self) -> None:
        """There may be new room keys."""
        self._news.set()

    async def run(self) -> None:
        """Upload room keys as they come, for ever. What fails is tried again later."""
        failures = 0
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                while self._kept is not None and not self.problem and await self._upload(self._kept):
                    pass
                failures = 0
            except (Transient, StateError) as error:
                failures += 1
                seconds = max(back_off(failures, LONGEST_WAIT), getattr(error, "retry_after", None) or 0.0)
                _log.warning("room keys are not backed up yet: %s; trying again in %.0f s", error, seconds)
                await asyncio.sleep(seconds)
                self._news.set()
            except Refused as error:
                self._refused(error)

    async def _upload(self, kept: _Kept) -> bool:
        """One request; gives whether there may be more."""

        def read(r: Records) -> tuple[dict[str, str | None], dict[str, JsonObject]]:
            found: dict[str, str | None] = {}
            rooms: dict[str, JsonObject] = {}
            for name, _ in r.some(UNSAVED, BATCH):
                room_id, _, session_id = name.rpartition(" ")  # earlier releases took any text for a room's id
                found[name] = r.get(INBOUND, name)
                if (session := packed(r, self._vault.key, kept.key, room_id, session_id)) is not None:
                    rooms.setdefault(room_id, {"sessions": {}})["sessions"][session_id] = session
            return found, rooms

        if self._vault.has_none(UNSAVED):
            return False
        found, rooms = await self._vault.do(read)
        if not found:
            return False
        if rooms:
            path = f"/room_keys/keys?{urlencode({'version': kept.version})}"
            await self._ask.call("take room keys for the backup", "PUT", path, {"rooms": rooms}, ROOM_SECONDS)

        def saved(r: Records) -> None:
            for name, value in found.items():
                if r.get(INBOUND, name) == value:  # else there is a better one meanwhile
                    r.drop(UNSAVED, name)

        await self._vault.do(saved)
        return True

    def _refused(self, error: Refused) -> None:
        if error.errcode in ("M_WRONG_ROOM_KEYS_VERSION", "M_NOT_FOUND"):
            self._lost()
        else:
            self.problem = f"room keys are not backed up: {error}"
            _log.error("%s", self.problem)

    def _lost(self) -> None:
        self.problem = (
            "the bot's key backup on the homeserver was deleted, or replaced by another client, so that room keys are "
            "not backed up any more: `roommate recovery restore` with the account's recovery key goes on with the new "
            "one, `roommate recovery setup --replace` makes another"
        )
        _log.error("%s", self.problem)

    # ── In ───────────────────────────────────────────────────────────────────────────────────────

    async def look_up(self, wanted: Iterable[tuple[str, str]]) -> bool:
        """Ask for the keys of these (room, session), each once in this process; gives whether one was found.
        Raises Transient, StateError."""
        found = False
        for room_id, session_id in dict.fromkeys(wanted):
            if (kept := self._kept) is None or (room_id, session_id) in self._asked or not session_id:
                continue
            path = f"/room_keys/keys/{quote(room_id, safe='')}/{quote(session_id, safe='')}"
            try:
                given = await self._ask.call("give a room key of the backup", "GET", f"{path}?{_of(kept)}")
                found = bool(await self._keep(kept, room_id, {session_id: given})) or found
            except Refused as error:
                if error.errcode != "M_NOT_FOUND":
                    _log.warning("%s", error)
            if len(self._asked) >= MOST_ASKED:
                self._asked.clear()  # they may be asked for once more
            self._asked.add((room_id, session_id))
        return found

    async def fetch(self, room_id: str) -> int:
        """Have all keys of a room that the backup has; gives how many were new. Raises MatrixError, StateError."""
        if (kept := self._kept) is None:
            return 0
        path = f"/room_keys/keys/{quote(room_id, safe='')}?{_of(kept)}"
        try:
            answer = await self._ask.call("give the room keys of the backup", "GET", path, None, ROOM_SECONDS)
        except Refused as error:
            if error.errcode != "M_NOT_FOUND":
                raise
            return 0
        sessions, count = list(obj(answer.get("sessions")).items()), 0
        for start in range(0, len(sessions), BATCH):
            count += await self._keep(kept, room_id, dict(sessions[start : start + BATCH]))
        return count

    async def _keep(self, kept: _Kept, room_id: str, sessions: JsonObject) -> int:
        def work(r: Records) -> int:
            count = 0
            for session_id, given in sessions.items():
                try:
                    count += unpack(r, self._vault.key, kept.key, room_id, session_id, obj(given))
                except (ValueError, KeyError, TypeError) as error:
                    _log.warning("a room key of %s in the backup is passed over: %s", room_id, error)
            return count

        return await self._vault.do(work)


def _of(kept: _Kept) -> str:
    return urlencode({"version": kept.version})
