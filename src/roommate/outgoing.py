"""How this host reaches others: through its proxy, trusting whom it trusts, and in words when it cannot.

The proxy is the environment's (HTTP_PROXY, HTTPS_PROXY, NO_PROXY), and so is SSL_CERT_FILE, which OpenSSL reads:
`config.load` puts there what `.env` says of them.
"""

from __future__ import annotations

import ssl
from pathlib import Path

import aiohttp

NETWORK_ERRORS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""What a request raises when the network, a proxy or garbage is in the way (ValueError: not JSON, not UTF-8)."""

KEEP_ALIVE_SECONDS = 50.0
"""Shorter than the 60-75 s that homeservers and proxies keep an idle connection; a new one costs round trips."""

_NO_ISSUER = frozenset({18, 19, 20, 21, 27})
"""X509_V_ERR_… of openssl-verify(1) that say that a CA is not known here."""


def trust(more: Path | None = None) -> ssl.SSLContext:
    """Whom the host trusts, and the CAs of the file `more`. Raises OSError, ssl.SSLError among it. Reads files."""
    context = ssl.create_default_context()
    if more is not None:
        context.load_verify_locations(more)
    return context


def session(
    *, seconds: float | None = None, more: Path | None = None, timeout: aiohttp.ClientTimeout | None = None
) -> aiohttp.ClientSession:
    """For requests that take `seconds` at most, or as `timeout` says. Whoever asked for it closes it."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=trust(more), keepalive_timeout=KEEP_ALIVE_SECONDS),
        timeout=timeout or aiohttp.ClientTimeout(total=seconds),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
    )


def why(error: BaseException) -> str:
    """Why a request came to nothing, as the end of a line: what is wrong with a certificate, and what to set."""
    if certificate := _certificate(error):
        said = certificate.verify_message or str(certificate)
        if certificate.verify_code in _NO_ISSUER:
            said += "; MATRIX_CA_FILE or SSL_CERT_FILE names the file with its CA"
        return f"its certificate is not trusted ({said})"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy of HTTPS_PROXY or HTTP_PROXY answers {error.status} {error.message}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return f"the proxy of HTTPS_PROXY or HTTP_PROXY cannot be reached ({error})"
    return str(error) or type(error).__name__


def unanswered(whom: str, error: BaseException) -> str:
    """That somebody gave no answer, as a line."""
    return f"{whom}: {why(error)}" if _certificate(error) else f"{whom} does not answer: {why(error)}"


def _certificate(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The error of a certificate that is in another one: aiohttp and urllib wrap it differently."""
    seen = 0
    while error is not None and seen < 5:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error
        inner = getattr(error, "certificate_error", None) or getattr(error, "reason", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        seen += 1
    return None
