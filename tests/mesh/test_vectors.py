"""docs/mesh-vectors.json and docs/mesh-protocol.md are what the code does."""

from __future__ import annotations

import json
import re

import pytest
from signedjson.key import decode_signing_key_base64
from signedjson.sign import sign_json

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Forged, Malformed
from roommate.features.mesh.identity_key import successor
from roommate.features.mesh.policy_file import Policy
from roommate.features.mesh.policy_trials import tried
from roommate.features.mesh.refusals import Code
from tests.mesh.vectors import FILE, vectors

VECTORS = json.loads(FILE.read_text())


def test_the_file_is_as_it_is_made() -> None:
    assert json.loads(json.dumps(vectors())) == VECTORS, "python -m tests.mesh.vectors writes it anew"


def test_what_is_right_is_taken() -> None:
    content = VECTORS["request"]["content"]
    request = envelope.read_request(content)
    envelope.verify(content, request.origin, request.sender)
    chain = envelope.digest(request)
    assert chain == VECTORS["request"]["digest"]
    for reply in VECTORS["replies"]:
        message = envelope.read_message(reply)
        envelope.verify(reply, request.target, message.sender)
        chain = envelope.next_chain(chain, message.body)
        assert (message.chain, message.digest) == (chain, envelope.digest(request))
    first, _, third = (one["public"] for one in VECTORS["keys"])
    assert successor(VECTORS["rotation"]) == (first, third)


@pytest.mark.parametrize("one", VECTORS["refused"], ids=lambda one: one["why"])
def test_what_is_wrong_is_refused_with_its_code(one: dict[str, object]) -> None:
    content = one["content"]
    assert isinstance(content, dict)
    with pytest.raises(Malformed if one["code"] == Code.MALFORMED else Forged):
        request = envelope.read_request(content)
        envelope.verify(content, request.origin, request.sender)


@pytest.mark.parametrize(
    ("given", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_we_sign_as_the_specification_of_matrix_does(given: dict[str, object], signature: str) -> None:
    """https://spec.matrix.org/v1.16/appendices/#json-signing"""
    key = decode_signing_key_base64("ed25519", "1", "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1")
    assert sign_json(dict(given), "domain", key)["signatures"] == {"domain": {"ed25519:1": signature}}


def test_every_code_is_seen_by_a_test() -> None:
    folders = [FILE.parents[1] / "tests" / name for name in ("mesh", "fast")]
    tests = "".join(one.read_text() for folder in folders for one in folder.glob("test_mesh_*.py"))
    tests += "".join(one.read_text() for one in folders[0].glob("test_*.py") if one.name != "test_vectors.py")
    assert [one for one in Code if f"Code.{one.name}" not in tests and f'"{one}"' not in tests] == []


def test_the_pages_name_every_code_and_an_example_that_can_be_read() -> None:
    page = FILE.with_name("mesh-protocol.md").read_text()
    table = dict(re.findall(r"^\| `([a-z-]+)` \| (yes|) \|", page, re.MULTILINE))
    assert table == {one: "yes" if one.is_told else "" for one in Code}
    examples = re.findall(r"```toml\n(.*?)```", FILE.with_name("policy.md").read_text(), re.DOTALL)
    policies = [Policy.read(one) for one in examples]
    assert [len(one.allow) for one in policies] == [3, 2]
    for policy in policies:
        assert [tried(policy, one, 0).found for one in policy.tests] == [one.expect for one in policy.tests] != []
