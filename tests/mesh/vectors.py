"""Writes docs/mesh-vectors.json: ``python -m tests.mesh.vectors``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from signedjson.key import decode_signing_key_base64
from signedjson.types import SigningKey
from unpaddedbase64 import encode_base64

from roommate.features.mesh import envelope
from roommate.features.mesh.envelope import Message, Request
from roommate.features.mesh.identity_key import fingerprint, rotation, words
from tests.mesh.peer import public_of

FILE = Path(__file__).parents[2] / "docs" / "mesh-vectors.json"
ANN, BEN, ROOM = "@ann:example.org", "@ben:example.org", "!room:example.org"


def key_of(seed: str) -> SigningKey:
    name = envelope.key_id(public_of(decode_signing_key_base64("ed25519", "", seed)))
    return decode_signing_key_base64("ed25519", name, seed)


def vectors() -> dict[str, Any]:
    seeds = [encode_base64(bytes(range(first, first + 32))) for first in (0, 32, 64)]
    ann, ben, next_of_ann = (key_of(seed) for seed in seeds)
    request = Request(
        room_id=ROOM, sender=ANN, origin=public_of(ann), target=public_of(ben), method="exec",
        params={"argv": ["make", "test"], "env": {"LANG": "C.UTF-8"}, "timeout": 60, "x": "ß ☃ \"\\ \u0001 \u2028 𝄞"},
        id="01JCXW3QZ0ABCDEFGHJKMNPQRS", issued=1_763_000_000_000, expires=1_763_000_060_000,
        nonce="AAECAwQFBgcICQoLDA0ODw",
    )  # fmt: skip
    digest = envelope.digest(request)
    bodies: list[dict[str, Any]] = [
        {"kind": "started"},
        {"kind": "output", "stream": "out", "data": "aGVsbG8K"},
        {"kind": "result", "exit": 0, "signal": None, "ms": 12, "truncated": False, "bytes": 6},
    ]
    replies, chain = [], digest
    for seq, body in enumerate(bodies):
        chain = envelope.next_chain(chain, body)
        message = Message(
            type=envelope.REPLY, room_id=ROOM, sender=BEN, origin=public_of(ben), target=public_of(ann),
            request=request.id, digest=digest, seq=seq, chain=chain, body=body,
        )  # fmt: skip
        replies.append(envelope.sign(ben, message))
    content = envelope.sign(ann, request)
    signature = content["signatures"][ANN]
    [name] = signature
    return {
        "keys": [
            {
                "seed": seed,
                "public": public_of(key_of(seed)),
                "key_id": key_of(seed).version,
                "fingerprint": fingerprint(public_of(key_of(seed))).replace(" ", ""),
                "words": words(public_of(key_of(seed))),
            }
            for seed in seeds
        ],
        "request": {
            "content": content,
            "canonical": envelope.canonical({k: v for k, v in content.items() if k != "signatures"}).decode(),
            "digest": digest,
        },
        "replies": replies,
        "rotation": rotation(ann, next_of_ann, 1_763_000_000_000),
        "refused": [
            {
                "why": "no signature",
                "code": "malformed",
                "content": {k: v for k, v in content.items() if k != "signatures"},
            },
            {"why": "an empty signature", "code": "signature", "content": content | {"signatures": {ANN: {name: ""}}}},
            {
                "why": "null for a signature",
                "code": "signature",
                "content": content | {"signatures": {ANN: {name: None}}},
            },
            {
                "why": "another algorithm",
                "code": "signature",
                "content": content | {"signatures": {ANN: {name.replace("ed25519", "none"): signature[name]}}},
            },
            {
                "why": "a second signature",
                "code": "signature",
                "content": content | {"signatures": {ANN: signature, BEN: signature}},
            },
            {"why": "another method", "code": "signature", "content": content | {"method": "ping"}},
            {"why": "another room", "code": "signature", "content": content | {"room_id": "!other:example.org"}},
            {"why": "another target", "code": "signature", "content": content | {"target": public_of(ann)}},
            {
                "why": "a key more",
                "code": "malformed",
                "content": content | {"m.relates_to": {"rel_type": "m.replace"}},
            },
            {"why": "a float", "code": "malformed", "content": content | {"issued": 1.5}},
            {"why": "an integer beyond 53 bits", "code": "malformed", "content": content | {"issued": 2**53}},
            {"why": "another version", "code": "malformed", "content": content | {"v": 2}},
        ],
    }


if __name__ == "__main__":
    FILE.write_text(json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n")
