"""A bot's line to Matrix without a bot: intake and sender on a store of their own, that tests start and crash."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from roommate.domain import Account, Draft, Incoming, JsonObject, Rank, RoomId, SyncBatch, UserId
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.intake import Intake
from roommate.matrix.sender import Sender
from roommate.net import outbound_http
from roommate.store import Database, Inbox, Outbox
from tests.patience import PATIENCE


class Crash(Exception):
    """What a test lets happen."""


class CrashingInbox(Inbox):
    """Dies at a commit, before or after it is on the disk."""

    crash: str | None = None

    async def commit(self, batch: SyncBatch) -> None:
        if self.crash == "before":
            raise Crash
        await super().commit(batch)
        if self.crash == "after":
            raise Crash


class CrashingOutbox(Outbox):
    """Dies when a row has arrived, before that is known."""

    crash = False

    async def sent(self, row: int, event_id: str) -> None:
        if self.crash:
            raise Crash
        await super().sent(row, event_id)


class Line:
    """`connect`, `crash` and `connect` again is a restart on the same state."""

    def __init__(
        self,
        url: str,
        user_id: str,
        password: str,
        folder: Path,
        session: outbound_http.Connect = outbound_http.session,
        login: Account | None = None,
    ) -> None:
        """`session` and `login` are for a homeserver that is not reached by HTTP."""
        self.user_id = UserId(user_id)
        self.url = url
        self._password = password
        self._session, self._login = session, login
        self._folder = folder
        self._database: Database | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.batches: list[SyncBatch] = []
        """What intake stored since the last connect."""

    async def open(self) -> Self:
        """The store and the login, and nothing that runs."""
        self._database = Database.open(self._folder)
        self.inbox, self.outbox = CrashingInbox(self._database), CrashingOutbox(self._database)
        self.homeserver = Homeserver(self.url, self.user_id, session=self._session)
        self.batches = []
        self.intake = Intake(self.homeserver, self.inbox, self.batches.append)
        self.sender = Sender(self.homeserver, self.outbox)
        saved = await self.inbox.account() or self._login
        await self.inbox.keep_account(await self.homeserver.sign_in(self._password, saved))
        return self

    async def connect(self) -> Self:
        await self.open()
        self.run(self.intake.run(), self.sender.run())
        await self.ready()
        return self

    def run(self, *services: Any) -> None:
        self._tasks += [asyncio.create_task(service) for service in services]

    async def ready(self) -> None:
        ready = asyncio.create_task(self.intake.ready.wait())
        await asyncio.wait([ready, *self._tasks], return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE)
        if not ready.done():
            ready.cancel()
            await self.ended()
            raise AssertionError("intake was not ready after 20 s")

    async def ended(self) -> None:
        """Raises what a service ended with."""
        for task in self._tasks:
            if task.done():
                await task

    async def crash(self) -> None:
        """All at once, as at a kill: nothing is finished."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._database is not None:
            await self.homeserver.close()
            await self._database.close()
            self._database = None

    # ── in ───────────────────────────────────────────────────────────────────────────────────────

    async def kept(self, room: str) -> list[Incoming]:
        """What is in the inbox of a room, in order."""
        return [row.incoming for row in await self.inbox.waiting(RoomId(room))]

    async def wait_kept(
        self, room: str, enough: Callable[[list[Incoming]], Any], timeout: float = PATIENCE
    ) -> list[Incoming]:
        found: list[Incoming] = []
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while not enough(found := await self.kept(room)):
                    await self.ended()
                    await asyncio.sleep(0.005)
                return found
        raise AssertionError(f"after {timeout} s the inbox of {room} has {found}")

    async def state(self, room: str) -> tuple[str, int, bool, str | None]:
        """Membership, members, encrypted, name."""
        assert self._database is not None
        row = await self._database.run(
            lambda c: c.execute(
                "SELECT membership, joined, encrypted, name FROM rooms WHERE room_id = ?", (room,)
            ).fetchone()
        )
        assert row is not None, f"nothing is known of {room}"
        return row[0], row[1], bool(row[2]), row[3]

    # ── out ──────────────────────────────────────────────────────────────────────────────────────

    async def put(self, *drafts: Draft) -> list[int]:
        rows = await self.outbox.put(drafts)
        self.sender.wake()
        return list(rows)

    async def say(self, room: str, *texts: str, rank: Rank = Rank.ANSWER) -> list[int]:
        return await self.put(*(Draft(RoomId(room), text(each), rank) for each in texts))

    async def fate(self, row: int) -> tuple[str, str | None]:
        """``unsent``, ``sent`` or ``failed``; and the event id or the reason."""
        assert self._database is not None
        state, event_id, why = await self._database.run(
            lambda c: c.execute("SELECT state, event_id, failed FROM outbox WHERE id = ?", (row,)).fetchone()
        )
        return state, why if state == "failed" else event_id


def text(body: str, notice: bool = False) -> JsonObject:
    return {"msgtype": "m.notice" if notice else "m.text", "body": body, "m.mentions": {}}


def texts(happened: list[Incoming]) -> list[str]:
    return [each.what.text for each in happened if hasattr(each.what, "text")]
