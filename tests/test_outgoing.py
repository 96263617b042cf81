"""How others are reached: through the site's proxy and no other way, and trusting whom the operator trusts."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import aiohttp
import pytest
import trustme

from roommate.demo.embedded_synapse import Synapse
from roommate.errors import ConfigError
from roommate.net import outbound_http
from roommate.settings import config
from tests.cli.test_commands import roommate
from tests.conftest import PASSWORD, MakeDaemon, MakePerson
from tests.front import Front
from tests.proxy import Proxy
from tests.scripted_model import ScriptedModel

VERSIONS = "/_matrix/client/versions"


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing of the site's, and nothing of ours is left behind."""
    for name in ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    yield
    config.load(None)


def port(url: str) -> int:
    found = urlsplit(url).port
    assert found is not None
    return found


async def status(url: str) -> int:
    async with outbound_http.session() as http, http.get(url) as response:
        return response.status


async def test_the_environments_proxy_and_nothing_else_of_it(
    homeserver: Synapse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine homeserver.test login somebody password else\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    there = f"http://homeserver.test{VERSIONS}"
    async with Front(homeserver.url) as front, Proxy({"homeserver.test": port(front.url)}, "me:p%40ss") as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("me:p%40ss", "me:p%2540ss"))
        assert await status(there) == 200
        assert front.asked[-1] == (VERSIONS, ""), "what ~/.netrc has for this host is not for us to tell"
        assert await status(f"{homeserver.url}{VERSIONS}") == 502, "the proxy does not know it"
        config.load(None)
        assert await status(f"{homeserver.url}{VERSIONS}") == 200, "this machine is never reached through it"
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("me:", "you:"))
        config.load(None)
        assert await status(there) == 407
    with pytest.raises(aiohttp.ClientProxyConnectionError) as gone:
        await status(there)
    assert "the proxy of HTTPS_PROXY or HTTP_PROXY cannot be reached" in outbound_http.why(gone.value)


async def test_a_session_stays_with_the_network_that_it_began_with(homeserver: Synapse, tmp_path: Path) -> None:
    """Also where `.env`, which is read anew, names no proxy any more, nor therefore who is reached without it."""
    async with Proxy({}) as proxy:
        (tmp_path / ".env").write_text(f"HTTP_PROXY={proxy.url}\n")
        config.load(tmp_path / ".env")
        async with outbound_http.session() as http:
            config.load(None)
            async with http.get(f"{homeserver.url}{VERSIONS}") as response:
                assert response.status == 200


async def test_all_that_asks_goes_through_the_proxy_of_env(
    homeserver: Synapse, daemon: MakeDaemon, person: MakePerson
) -> None:
    """Names that only the proxy knows: init, doctor, the daemon, and its model."""
    async with ScriptedModel() as model:
        hosts = {"homeserver.test": port(homeserver.url), "model.test": port(model.url)}
        async with Proxy(hosts) as proxy:
            bot, alice = await daemon(start=False, model=model), await person("alice")
            bot.settings |= {
                "MATRIX_HOMESERVER": "http://homeserver.test",
                "LLM_API_BASE": model.url.replace(f"127.0.0.1:{port(model.url)}", "model.test"),
            }
            (bot.folder / ".env").write_text(f"HTTP_PROXY={proxy.url}\nHTTPS_PROXY={proxy.url}\n")
            flags = ("--homeserver", "http://homeserver.test", "--user", bot.user_id, "--password", PASSWORD)
            known = {
                name: value for name, value in bot.settings.items() if name.startswith(("STATE", "LLM", "SANDBOX"))
            }
            code, _, err = await roommate(
                bot.folder, "init", "--yes", *flags, "--operators", alice.user_id, "--image", "none", **known
            )
            assert code == 0, err
            assert proxy.asked["homeserver.test"]
            assert proxy.asked["model.test"]
            proxy.asked.clear()
            code, out, err = await roommate(bot.folder, "doctor", **bot.settings)
            assert "http://homeserver.test speaks Matrix" in out, out + err
            assert proxy.asked["homeserver.test"]
            proxy.asked.clear()
            await bot.start()
            room = await bot.room_with(alice)
            assert (await alice.ask(room, "say: through the proxy")).body
            assert proxy.asked["homeserver.test"]
            assert proxy.asked["model.test"]
            await bot.term()
            (bot.folder / ".env").unlink()
            code, out, _ = await roommate(bot.folder, "doctor", **bot.settings)
            assert "http://homeserver.test does not answer" in out


@pytest.fixture
async def private(homeserver: Synapse, tmp_path: Path) -> AsyncIterator[tuple[Front, Path]]:
    """A homeserver with a certificate of a CA that nobody knows, and that CA."""
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    file = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    async with Front(homeserver.url, context) as front:
        yield front, file


def test_cas_are_read_again_when_their_file_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, other = tmp_path / "ca.pem", trustme.CA()
    trustme.CA().cert_pem.write_to_path(file)
    before = outbound_http.trust(file)
    assert outbound_http.trust(file) is before
    assert outbound_http.trust() is outbound_http.trust() is not before
    other.cert_pem.write_to_path(file)
    assert len(outbound_http.trust(file).get_ca_certs()) == len(before.get_ca_certs())
    assert outbound_http.trust(file).get_ca_certs() != before.get_ca_certs()
    with monkeypatch.context() as environment:
        environment.setenv("SSL_CERT_FILE", str(file))
        assert len(outbound_http.trust().get_ca_certs()) == 1
    with pytest.raises(OSError, match="No such file"):
        outbound_http.trust(tmp_path / "none.pem")


@pytest.mark.parametrize("name", ["MATRIX_CA_FILE", "SSL_CERT_FILE"])
async def test_a_homeserver_with_a_ca_of_its_own(
    private: tuple[Front, Path], daemon: MakeDaemon, person: MakePerson, name: str
) -> None:
    front, ca = private
    bot, alice = await daemon(start=False, MATRIX_HOMESERVER=front.url), await person("alice")
    settings = {**bot.settings, name: str(ca)}
    code, out, _ = await roommate(bot.folder, "doctor", **settings)
    assert f"{front.url} speaks Matrix" in out
    assert "the homeserver's" in out
    flags = ("--yes", "--homeserver", front.url, "--operators", alice.user_id, "--image", "none")
    code, _, err = await roommate(bot.folder, "init", *flags, **settings)
    assert code == 0, err
    bot.settings[name] = str(ca)
    await bot.start()
    room = await bot.room_with(alice)
    assert (await alice.ask(room, "hello")).body


async def test_a_certificate_that_is_not_trusted_is_said(private: tuple[Front, Path], daemon: MakeDaemon) -> None:
    front, ca = private
    bot = await daemon(start=False, MATRIX_HOMESERVER=front.url)
    model = {"LLM_MODEL": "openai/scripted", "LLM_API_KEY": "key", "LLM_API_BASE": front.url}
    code, out, _ = await roommate(bot.folder, "doctor", **bot.settings | model)
    assert code == 2
    [line] = [line for line in out.splitlines() if line.startswith("✘ model")]
    assert line.endswith("; SSL_CERT_FILE names the file with its CA)")
    [line] = [line for line in out.splitlines() if line.startswith("✘ homeserver")]
    assert "its certificate is not trusted" in line
    assert "MATRIX_CA_FILE" in line
    assert "does not answer" not in line
    code, _, err = await roommate(bot.folder, "init", "--yes", "--homeserver", front.url)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "its certificate is not trusted" in err
    assert "MATRIX_CA_FILE" in err
    await bot.spawn()
    await bot.wait_for_log("trying again")
    assert "its certificate is not trusted" in bot.log_text()
    assert "MATRIX_CA_FILE" in bot.log_text()

    elsewhere = front.url.replace("127.0.0.1", "localhost")  # the certificate is not for this name
    code, out, _ = await roommate(bot.folder, "doctor", **bot.settings | {"MATRIX_HOMESERVER": elsewhere,
                                                                         "MATRIX_CA_FILE": str(ca)})  # fmt: skip
    assert "its certificate is not trusted (Hostname mismatch" in out
    assert "names the file with its CA" not in out


@pytest.mark.parametrize("name", ["matrix_ca_file", "ssl_cert_file"])
def test_a_file_without_certificates_is_named(tmp_path: Path, name: str) -> None:
    for content, why in ((None, "no such file"), ("hello", "none in it")):
        file = tmp_path / "ca.pem"
        if content:
            file.write_text(content)
        with pytest.raises(ConfigError, match=f"{name.upper()}: .*{why}"):
            config.load(None, **{name: file})


def test_what_env_said_of_the_network_is_not_there_the_next_time(tmp_path: Path) -> None:
    """A daemon becomes another program with the same environment, and reads the same file anew."""
    file = tmp_path / ".env"
    file.write_text("HTTPS_PROXY=proxy.test:3128\nNO_PROXY=example.org\n")
    config.load(file)
    assert getproxies() == {"https": "http://proxy.test:3128", "no": "example.org,localhost,127.0.0.1,::1"}
    file.write_text("HTTPS_PROXY=http://other.test:3128\n")
    config.load(file)
    assert getproxies() == {"https": "http://other.test:3128", "no": "localhost,127.0.0.1,::1"}
    file.write_text("")
    config.load(file)
    assert getproxies() == {}
    file.write_text("HTTPS_PROXY=socks5://proxy.test\n")
    with pytest.raises(ConfigError, match="HTTPS_PROXY: "):
        config.load(file)
