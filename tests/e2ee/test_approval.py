"""A homeserver that wants a person to approve a new identity in a browser: what they see, and that the bot goes on."""

from __future__ import annotations

import html
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from roommate.demo.embedded_synapse import Synapse
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon
from tests.e2ee import strict
from tests.e2ee.strict import Node
from tests.e2ee.test_recovery import recovery, set_up

WHO = """<cas:serviceResponse xmlns:cas="http://www.yale.edu/tp/cas"><cas:authenticationSuccess>
<cas:user>bot</cas:user></cas:authenticationSuccess></cas:serviceResponse>"""
ADDRESS = re.compile(r"logged in as the bot, at (\S+) :")


@pytest.fixture
async def single_sign_on() -> AsyncIterator[str]:
    """Where the organisation's people log in, as CAS has it; everybody is the bot."""

    async def login(request: web.Request) -> web.StreamResponse:
        service = request.query["service"]
        raise web.HTTPFound(f"{service}{'&' if '?' in service else '?'}ticket=ST-1")

    async def validate(request: web.Request) -> web.StreamResponse:
        return web.Response(text=WHO, content_type="text/xml")

    app = web.Application()
    app.router.add_get("/login", login)
    app.router.add_get("/{version:.*}proxyValidate", validate)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def browse(address: str) -> str:
    """What somebody with a browser does who is shown this address; gives the page that they end on."""
    async with aiohttp.ClientSession() as browser:
        page = await (await browser.get(address)).text()
        assert "identity" in page or "confirm" in page.lower(), page
        [button] = re.findall(r'<a href="([^"]+/login\?service=[^"]+)"', page)
        return await (await browser.get(html.unescape(button))).text()


async def test_the_bot_goes_on_as_soon_as_somebody_has_approved_it(
    node: Node, daemon: MakeDaemon, single_sign_on: str, tmp_path: Path
) -> None:
    cas = {"cas_config": {"enabled": True, "server_url": single_sign_on}}
    async with Synapse(tmp_path, limits="open", more=cas) as homeserver:
        account = await homeserver.register("bot", PASSWORD)
        async with aiohttp.ClientSession() as browser:  # the account is that of somebody whom the organisation knows
            await browser.get(f"{homeserver.url}/_matrix/client/v3/login/sso/redirect?redirectUrl=https://a.example/")
        owner = await strict.person(node, homeserver.url, account.user_id, PASSWORD)
        before = await owner.do("masterKey", user=account.user_id)

        bot = await daemon(start=False)
        bot.user_id = account.user_id
        bot.settings |= {"MATRIX_HOMESERVER": homeserver.url, "MATRIX_USER": account.user_id, "MATRIX_PASSWORD": ""}
        bot.settings["MATRIX_ACCESS_TOKEN"] = account.access_token
        await bot.start()
        code, _, err = await recovery(bot, "setup", "--replace")
        assert code == 1
        assert "run this again then" in err
        found = ADDRESS.search(" ".join(err.split()))
        assert found, err
        page = await browse(found[1])
        assert "Thank you" in page, page
        await bot.wait_for_log("is signed by the account's own keys")
        assert await owner.do("masterKey", user=account.user_id) != before
        await set_up(bot)
        code, out, _ = await recovery(bot, "status")
        assert (code, "set up" in out, "problem" in out) == (0, True, False)
        _, out, _ = await roommate(bot.cwd, "devices", "ls", "--json", **bot.settings)
        assert [one["signed"] for one in json.loads(out) if one["ours"]] == [True]
        await owner.do("stop")
        await bot.term()
