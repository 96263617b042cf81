"""How this host reaches others: through its proxy, trusting whom it trusts, and in words when it cannot.

The proxy is the environment's (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), and so is SSL_CERT_FILE, which OpenSSL reads:
`config.load` puts there what `.env` says of them.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a request raises when the network, a proxy or garbage is in the way (ValueError: not JSON, not UTF-8)."""

Connect = Callable[..., aiohttp.ClientSession]
"""As `session` is called."""

KEEP_ALIVE_SECONDS = 50.0
"""Shorter than the 60-75 s that homeservers and proxies keep an idle connection; a new one costs round trips."""

FOR_HOMESERVERS = "MATRIX_CA_FILE or SSL_CERT_FILE"
FOR_OTHERS = "SSL_CERT_FILE"
"""What names a file with CAs."""

_NO_ISSUER = frozenset({18, 19, 20, 21, 27})
"""X509_V_ERR_… of openssl-verify(1) that say that a CA is not known here."""


def trust(more: Path | None = None) -> ssl.SSLContext:
    """Whom the host trusts, and the CAs of the file `more`. Raises OSError, ssl.SSLError among it.

    Reading the host's CAs takes 20 to 40 ms, so they are read once, and again when a file has changed.
    """
    paths = ssl.get_default_verify_paths()
    hosts = Path(paths.cafile) if paths.cafile else None
    return _trusting(hosts, hosts and _version(hosts), paths.capath, more, more and _version(more))


def _version(file: Path) -> tuple[int, int, int]:
    found = file.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@lru_cache(maxsize=8)
def _trusting(
    hosts: Path | None, _hosts: object, folder: str | None, more: Path | None, _more: object
) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if more is not None:
        context.load_verify_locations(more)
    return context


def session(*, more: Path | None = None, at_once: int = 100, **options: Any) -> aiohttp.ClientSession:
    """For many requests, `at_once` of them (0 is no limit), trusting the CAs of the file `more` as well; `options` are
    aiohttp's. Whoever asked for it closes it. What is asked through TLS raises OSError where a file cannot be read. The
    environment's proxies are those of now."""

    class Request(_Request):
        trusts, proxies = more, getproxies()

    connector = aiohttp.TCPConnector(limit=at_once, keepalive_timeout=KEEP_ALIVE_SECONDS)
    jar = aiohttp.DummyCookieJar()
    return aiohttp.ClientSession(connector=connector, cookie_jar=jar, request_class=Request, **options)


class LazySession:
    """One `session` of `options`, opened by who first calls this."""

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._session: aiohttp.ClientSession | None = None

    def __call__(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = session(**self._options)
        return self._session

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


class _Request(aiohttp.ClientRequest):
    """Goes through the environment's proxy, and trusts whom we trust, who are looked up where there is TLS.

    aiohttp's own `trust_env` also sends what ~/.netrc has for a host, which may be neither what a room may use nor what
    we mean, and takes two threads for each request.
    """

    trusts: ClassVar[Path | None]
    proxies: ClassVar[Mapping[str, str]]

    def __init__(self, method: str, url: URL, **options: Any) -> None:
        through = options["proxy"] = options.get("proxy") or proxy(url, self.proxies)
        if options.get("ssl") is True and "https" in (url.scheme, through and through.scheme):
            options["ssl"] = trust(self.trusts)
        super().__init__(method, url, **options)


def proxy(url: URL, proxies: Mapping[str, str] | None = None) -> URL | None:
    """The environment's proxy for a URL, with the login that it wants; None where none is to be used. Without `proxies`
    all of the environment is searched for them, which takes 0.1 ms."""
    proxies = getproxies() if proxies is None else proxies
    known = proxies.get(url.scheme)
    return None if known is None or url.host is None or proxy_bypass(url.host, proxies) else URL(known)


def why(error: BaseException, mend: str = FOR_HOMESERVERS) -> str:
    """Why a request came to nothing, as the end of a line: what is wrong with a certificate, and what to set."""
    if certificate := _certificate(error):
        said = certificate.verify_message or str(certificate)
        if certificate.verify_code in _NO_ISSUER:
            said += f"; {mend} names the file with its CA"
        return f"its certificate is not trusted ({said})"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy of HTTPS_PROXY or HTTP_PROXY answers {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy of HTTPS_PROXY or HTTP_PROXY cannot be reached ({error})"
    return str(error) or type(error).__name__


def unanswered(whom: str, error: BaseException, mend: str = FOR_HOMESERVERS) -> str:
    """That somebody gave no answer, as a line."""
    return f"{whom}{': ' if _certificate(error) else ' does not answer: '}{why(error, mend)}"


def _certificate(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The error of a certificate that is in another one: aiohttp and urllib wrap it differently."""
    seen = 0
    while error is not None and seen < 5:
        inner = getattr(error, "certificate_error", None)  # aiohttp's own kind is one of ssl's, and empty
        if inner is None and isinstance(error, ssl.SSLCertVerificationError):
            return error
        inner = inner or getattr(error, "reason", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        seen += 1
    return None
