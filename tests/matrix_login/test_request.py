"""What is secret in a request goes nowhere else than where it was sent."""

from __future__ import annotations

import pytest
from aiohttp import web

from roommate.demo.synapse_config import free_port
from roommate.matrix_login.http_request import NotMatrix, call


async def test_no_answer_leads_a_secret_elsewhere() -> None:
    heard: list[str] = []
    port = free_port()

    async def elsewhere(request: web.Request) -> web.Response:
        heard.append(await request.text())
        return web.json_response({})

    async def lead(request: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"http://127.0.0.1:{port}/elsewhere")

    app = web.Application()
    app.router.add_route("*", "/elsewhere", elsewhere)
    app.router.add_route("*", "/{path:.*}", lead)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        url = f"http://127.0.0.1:{port}"
        with pytest.raises(NotMatrix, match=f"leads to http://127.0.0.1:{port}/elsewhere"):
            await call(url, "POST", "/token", form={"refresh_token": "a secret"})
        with pytest.raises(NotMatrix, match="leads to"):
            await call(url, "POST", "/login", {"password": "a secret"})
        with pytest.raises(NotMatrix, match="leads to"):
            await call(url, "GET", "/whoami", token="a secret")
        assert heard == []
        assert await call(url, "GET", "/versions") == {}
        assert heard == [""]
    finally:
        await runner.cleanup()
