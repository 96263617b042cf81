"""Podman answers oddly, as it does at times."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from roommate.errors import EngineError
from roommate.sandbox.podman_client import Engine
from roommate.sandbox.podman_service_process import Service

ENDED = "read /proc/1835/cgroup: no such process"
PODMAN = """#!{python}
import http.server, json, socketserver, sys

class Podman(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open({asked!r}, "a") as f:
            print(self.command, file=f)
        with open({asked!r}) as f:
            message = {messages}.get(str(len(f.readlines())))
        body = json.dumps({{"message": message}} if message else {{"State": {{"Pid": 7}}}}).encode()
        self.send_response(500 if message else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET

    def address_string(self):
        return "somebody"

class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

Server(sys.argv[-1].removeprefix("unix://"), Podman).serve_forever()
"""


@pytest.mark.parametrize(
    ("messages", "asked"), [({"1": ENDED}, 2), ({"1": ENDED, "2": ENDED}, 2), ({"1": "it does not want to"}, 1)]
)
async def test_what_podman_missed_in_proc_is_asked_once_more(messages: dict[str, str], asked: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="rp-"))  # short, since a socket lies in it
    try:
        log, podman = folder / "asked", folder / "podman"
        podman.write_text(PODMAN.format(python=sys.executable, asked=str(log), messages=json.dumps(messages)))
        podman.chmod(0o755)
        engine = Engine(Service(str(podman), folder / "run", None))
        try:
            if str(asked) in messages:
                with pytest.raises(EngineError, match=messages[str(asked)]):
                    await engine.process("box")
            else:
                assert await engine.process("box") == 7
        finally:
            await engine.close()
        assert len(log.read_text().splitlines()) == asked
    finally:
        shutil.rmtree(folder)
