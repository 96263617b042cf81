"""No secret gets through, wherever in a line it stands; ordinary lines stay as they are."""

from __future__ import annotations

import json
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roommate.logs.redaction import REMOVED, Redaction

ORDINARY = [
    "ready after 0.1 s as @roommate:example.org",
    "!RyTczKYgsD9vK8gRUXp307s608IoERpOwioKvD4fe3g turn 12: the homeserver did not send: M_LIMIT_EXCEEDED",
    "MATRIX_PASSWORD is not the password of @roommate:example.org on https://matrix.example.org:8448",
    "the saved login is dead: logging in anew with MATRIX_PASSWORD",
    "the provider does not take the key: check LLM_API_KEY",
    "1 234 tokens, $0.0012; a history of 90000 tokens is too long",
    "the bearer of this is a basic authentication, and no cookie",
    "not let out to example.org:8443 by @alice:example.org",
    "task-1234567890123 and disk-sk-1",
    "mat_multiplication_of_large_matrices and mar_1",
]
WORD = st.text(st.characters(codec="ascii", categories=["L", "Nd"]), min_size=20, max_size=40)
AROUND = st.text(st.sampled_from(" \n.,:;()[]{}<>\"'"), max_size=5)
SHAPES = [
    "sk-{}", "sk-ant-api03-{}", "sk-or-v1-{}", "ghp_{}", "gho_{}", "github_pat_{}", "glpat-{}", "AIza{}",
    "syt_Ym90_{}_1a2B3c", "syr_Ym90_{}_1a2B3c", "mat_{}_1a2B3c", "mar_{}_1a2B3c",
    "Bearer 1{}", "Authorization: Bearer 1{}", "Authorization: Basic {}==",
    "authorization: token {}", "Proxy-Authorization: Negotiate {}", "https://user:p@{}@example.org/x",
    "'Authorization': 'Bearer {}'", "x-api-key: {}", "X-Goog-Api-Key: {}", "Cookie: session={}; other=1",
    "Set-Cookie: id={}; HttpOnly", "https://user:{}@example.org/x", "https://{}@example.org/x.git",
    "postgres://user:{}@localhost/db", "password={}", "MATRIX_PASSWORD='{}'", "?access_token={}&x=1",
    "?key=AIza{}", '"access_token": "{}"', "{{'api_key': '{}'}}", "OPENAI_API_KEY={}", "client_secret={}",
    "token%3D{}", "eyJhbGciOiJI.{}.x", "a.b-eyJhbGciOiJI-sk-0123456789.{}",
    "token=eyJhbGciOiJI.{}.x", "some.words.of.eyJhbGciOiJI.{}", "eyJ.eyJ-eyJhbGciOiJI.{}",
    "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n-----END OPENSSH PRIVATE KEY-----",
]  # fmt: skip


@pytest.mark.parametrize("line", ORDINARY)
def test_ordinary_lines_stay(line: str) -> None:
    assert Redaction(["a password of ours"])(line) == line


@pytest.mark.parametrize("shape", SHAPES)
@given(secret=WORD, before=AROUND, after=AROUND)
def test_what_has_the_shape_of_a_secret_is_taken_out(shape: str, secret: str, before: str, after: str) -> None:
    text = Redaction()(f"failed{before} {shape.format(secret)} {after}again")
    assert secret not in text
    assert REMOVED in text
    assert text.startswith("failed")


@given(st.text(min_size=6, max_size=40), AROUND, AROUND)
def test_what_is_known_is_taken_out_however_it_is_written(secret: str, before: str, after: str) -> None:
    redact = Redaction()
    redact.learn("another one", secret)
    ways = [secret, quote(secret, safe="", errors="replace"), json.dumps(secret)[1:-1], repr(secret)[1:-1]]
    for written in ways:
        assert redact(f"{before}{written}{after}") in {
            f"{before}{REMOVED}{after}",
            redact(f"{before}{REMOVED}{after}"),
        }


def test_a_web_token_goes_whole_and_alone() -> None:
    assert Redaction()("a token=eyJhbGciOiJI.eyJz.x-y_z, and x-eyJhbGciOiJI.z") == f"a token={REMOVED}, and x-{REMOVED}"
    assert Redaction()("an eyJhbGciOiJI. of no-eyJhbGc.x") == "an eyJhbGciOiJI. of no-eyJhbGc.x"


def test_short_settings_take_nothing_out() -> None:
    assert Redaction(["", "key"])("a key") == "a key"


@pytest.mark.parametrize(
    "hostile",
    [
        "a",
        "a-",
        "token",
        "://",
        "://a",
        "eyJ",
        "eyJ-",
        "password=",
        "-----BEGIN PRIVATE KEY-----",
        "syt_",
        "bearer ",
        "'\"",
    ],
)
def test_no_text_holds_it_up(hostile: str) -> None:
    text = hostile * (200_000 // len(hostile))
    began = time.process_time()
    Redaction(["a password of ours"])(text)
    assert time.process_time() - began < 5, "it takes time in proportion: some 20 ms here"
