"""The proxy of a site, which alone knows where hosts are; it counts who was asked for."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections import Counter
from typing import Self
from urllib.parse import urlsplit


class Proxy:
    """`hosts` are names, each with the port of 127.0.0.1 that it stands for; a `login` (user:password) is demanded."""

    def __init__(self, hosts: dict[str, int], login: str = "") -> None:
        self.hosts = hosts
        self.asked: Counter[str] = Counter()
        self._wanted = f"proxy-authorization: basic {base64.b64encode(login.encode()).decode()}" if login else ""
        self._login = login
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"http://{self._login}{'@' if self._login else ''}127.0.0.1:{port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await self._pass_on(reader, writer)
        writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        method, target, _ = line.split()
        url = urlsplit(f"//{target}" if method == "CONNECT" else target)
        assert url.hostname is not None
        if self._wanted and self._wanted.lower() not in [field.lower() for field in fields]:
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        self.asked[url.hostname] += 1
        if url.hostname not in self.hosts:
            writer.write(b"HTTP/1.1 502 Never heard of it\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.hosts[url.hostname])
        if method == "CONNECT":
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            path = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
            kept = [field for field in fields if not field.lower().startswith(("proxy-", "connection:"))]
            back.write("\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]).encode())
        await asyncio.gather(_pour(reader, back), _pour(there, writer))
        back.close()


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while piece := await reader.read(1 << 16):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
