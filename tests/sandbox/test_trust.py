"""A site that looks into TLS has an authority of its own: programs in a room trust it, since the host does."""

from __future__ import annotations

import asyncio
import functools
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from roommate.domain import Destination
from roommate.features.egress.gate import Gate
from roommate.features.egress.proxy import EgressProxy
from roommate.features.egress.safe_connect import Addresses
from roommate.sandbox import mirrors_and_certificates
from tests.broker.conftest import Memory, People
from tests.sandbox.conftest import ROOM, Make, sh


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A folder with an authority, ``ca.pem``, and a server's certificate by it, ``server.pem`` with its key."""
    made = tmp_path / "authority"
    made.mkdir()
    (made / "names").write_text("subjectAltName=DNS:site.test\n")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    for command in (
        f"req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=ours",
        f"req {key} -keyout key -out request -subj /CN=site.test",
        "x509 -req -in request -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out certificate",
    ):
        subprocess.run(["openssl", *command.split()], cwd=made, check=True, capture_output=True)
    (made / "server.pem").write_text((made / "key").read_text() + (made / "certificate").read_text())
    return made


@pytest.fixture
async def secure(authority: Path) -> AsyncIterator[tuple[int, list[str]]]:
    """The port of a server that nobody else would trust, and the programs that have reached it."""
    came: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        came.append(request.headers.get("User-Agent", "").partition("/")[0].lower())
        return web.Response(status=404)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(authority / "server.pem")
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield runner.addresses[0][1], came
    await runner.cleanup()


async def test_programs_in_a_room_trust_whom_the_host_trusts(
    make: Make, authority: Path, secure: tuple[int, list[str]], agents_image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, came = secure
    monkeypatch.setenv("SSL_CERT_FILE", str(authority / "ca.pem"))

    async def here(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    async def none() -> Sequence[Destination]:
        return ()

    gate = Gate(Memory(Destination("site.test", port)), People(), registries=none)
    proxy = EgressProxy(gate, Addresses(loopback=True, resolve=here))
    rooms = make(image=agents_image)
    rooms.attach(lambda room_id, hand: hand.serve(3128, functools.partial(proxy.serve, room_id)))
    hand = await rooms.hand(ROOM)
    url = f"https://site.test:{port}"
    python = f"import urllib.request; urllib.request.urlopen('{url}')"
    programs = {
        "curl": f"curl -sS {url}",
        "git": f"git ls-remote {url}/x.git",
        "python-urllib": f'python3 -c "{python}"',
        "pip": f"python3 -m pip download --no-deps --retries 0 --index-url {url}/simple nothing",
        "uv": f"uv pip install --target /tmp/x --index-url {url}/simple nothing",
        "npm": f"npm view nothing --fetch-retries 0 --registry {url}/",
        "node": f'node -e "fetch(\\"{url}\\", {{headers: {{\\"User-Agent\\": \\"node/1\\"}}}})"',
    }
    said = await asyncio.gather(*(sh(hand, command, timeout=60) for command in programs.values()))
    assert set(came) >= set(programs), [one.text for one in said]
    assert (await sh(hand, "touch /run/room/certificates.pem")).exit.code != 0


def test_a_bundle_has_each_certificate_once(tmp_path: Path) -> None:
    one, other = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----" for text in ("QUJD", "REVG"))
    (tmp_path / "a").write_text(f"# ours\n{one}\n")
    (tmp_path / "b").write_text(f"{other}\n{one}\n-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n")
    assert mirrors_and_certificates.bundle([tmp_path / "a", tmp_path / "b"]) == f"{one}\n{other}\n"
    assert mirrors_and_certificates.bundle([]) == ""
