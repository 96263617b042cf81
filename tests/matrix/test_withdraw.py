"""A room whose rows are withdrawn while one is on its way, and that gets another one in the same moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from roommate.domain import Draft, RoomId, UserId
from roommate.matrix.homeserver import Homeserver
from roommate.matrix.sender import Sender
from roommate.store import Database, Outbox
from tests.patience import PATIENCE

ROOM, BOT = RoomId("!old:example.org"), UserId("@bot:example.org")


async def test_a_row_that_comes_while_its_room_is_withdrawn_ends_nothing(tmp_path: Path) -> None:
    asked, may_answer, sent = asyncio.Event(), asyncio.Event(), list[str]()

    async def take(request: web.Request) -> web.Response:
        asked.set()
        await may_answer.wait()
        sent.append((await request.json())["body"])
        return web.json_response({"event_id": f"${len(sent)}"})

    async def login(request: web.Request) -> web.Response:
        return web.json_response({"user_id": BOT, "device_id": "D", "displayname": "Bot"})

    app = web.Application()
    app.router.add_get("/_matrix/client/v3/account/whoami", login)
    app.router.add_get("/_matrix/client/v3/profile/{rest:.*}", login)
    app.router.add_put("/_matrix/client/v3/rooms/{room}/send/{type}/{txn}", take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    database = Database.open(tmp_path)
    outbox, homeserver = Outbox(database), Homeserver(f"http://127.0.0.1:{port}", BOT)
    await homeserver.sign_in("", None, "token")
    sender = Sender(homeserver, outbox)
    sends = asyncio.create_task(sender.run())
    try:
        async with asyncio.timeout(PATIENCE):
            await outbox.put([Draft(ROOM, {"msgtype": "m.notice", "body": "first"})])
            sender.wake()
            await asyncio.wait([sends, asyncio.create_task(asked.wait())], return_when=asyncio.FIRST_COMPLETED)
            withdrawn = asyncio.create_task(sender.withdraw(ROOM))
            await asyncio.sleep(0)
            await outbox.put([Draft(ROOM, {"msgtype": "m.notice", "body": "second"})])
            sender.wake()
            while ROOM not in sender._queues:
                assert not sends.done(), sends.exception()
                await asyncio.sleep(0.01)
            may_answer.set()
            await withdrawn
            while len(sent) < 2:
                assert not sends.done(), sends.exception()
                await asyncio.sleep(0.01)
        assert sent == ["first", "second"]
    finally:
        sends.cancel()
        await asyncio.gather(sends, return_exceptions=True)
        await homeserver.close()
        await database.close()
        await runner.cleanup()
