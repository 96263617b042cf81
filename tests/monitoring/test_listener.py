"""Whoever reaches the HTTP listener gets an answer in bounded time, and holds nothing for long."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping

import pytest

from roommate.demo.synapse_config import free_port
from roommate.monitoring import listener
from roommate.monitoring.listener import Answer, Listener
from tests.patience import PATIENCE


async def _ok(headers: Mapping[str, str]) -> Answer:
    return 200, "text/plain", headers.get("Accept", "").encode()


async def _slow(headers: Mapping[str, str]) -> Answer:
    await asyncio.sleep(3600)
    raise AssertionError


async def _bad(headers: Mapping[str, str]) -> Answer:
    raise RuntimeError("a secret")


@pytest.fixture(params=["127.0.0.1", "::1"])
async def address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    monkeypatch.setattr(listener, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(listener, "CONNECTION_SECONDS", 1.0)
    port = free_port()
    running = asyncio.create_task(Listener(request.param, port, {"/ok": _ok, "/slow": _slow, "/bad": _bad}).run())
    async with asyncio.timeout(PATIENCE):
        while True:
            with contextlib.suppress(OSError):
                (await asyncio.open_connection(request.param, port))[1].close()
                break
            await asyncio.sleep(0.02)
    yield request.param, port
    running.cancel()
    await asyncio.wait([running])


async def _said(address: tuple[str, int], text: str) -> str:
    """All that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(text.encode())
    async with asyncio.timeout(PATIENCE):
        try:
            found = await reader.read()
        except ConnectionResetError:
            found = b""
    writer.close()
    return found.decode()


def _get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: me\r\nConnection: close\r\n\r\n"


async def test_answers(address: tuple[str, int]) -> None:
    good = await _said(address, _get("/ok"))
    assert good.startswith("HTTP/1.1 200 ") and good.endswith("\r\n\r\nme") and "no-store" in good
    assert (await _said(address, _get("/slow"))).startswith("HTTP/1.1 503 ")
    bad = await _said(address, _get("/bad"))
    assert bad.startswith("HTTP/1.1 500 ") and "secret" not in bad and "Traceback" not in bad
    assert (await _said(address, _get("/../etc/passwd"))).startswith("HTTP/1.1 404 ")


@pytest.mark.parametrize(
    "text", ["", "GET /ok HT", "POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\nx"]
)
async def test_who_does_not_come_to_an_end_is_cut_off(address: tuple[str, int], text: str) -> None:
    await _said(address, text)
    assert (await _said(address, _get("/ok"))).startswith("HTTP/1.1 200 ")


async def test_garbage_is_refused(address: tuple[str, int]) -> None:
    assert (await _said(address, "\x00\x01\r\n\r\n")).startswith("HTTP/1.0 400 ")
