"""Another implementation of RFC 9942 (scitt-cose) reads the same receipts.

It accepts every receipt of ours; what it refuses, we refuse. What it accepts and we do not is named here: the
rules of our profile, among them the tree size that RFC 9942 leaves unsigned.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scitt_cose.receipt import verify_receipt

from auditlog.core.keys import split_vkey
from auditlog.core.trust import parse_trust

FILES = sorted((Path(__file__).parents[1] / "vectors" / "proof").glob("*-cose*.json"))

OURS_ALONE = {
    "attached-root",
    "checkpoint-in-bytes",
    "checkpoint-no-note",
    "checkpoint-of-other-size",
    "claim-more",
    "consistency-proof-more",
    "header-more",
    "issuer-of-other-log",
    "key-is-array",
    "keys-in-other-order",
    "no-checkpoint",
    "no-tree-size",
    "other-kid",
    "other-subject",
    "other-typ",
    "short-kid",
    "tree-size-0",
    "tree-size-2-to-the-63",
    "tree-size-as-text",
    "tree-size-only-in-claims",
    "tree-size-unlike-the-checkpoint",
    "two-inclusion-proofs",
    "unsigned-size",
}
"""Names of vectors (`bad-cose-...`) that RFC 9942 alone lets through."""


def _verify(vector: dict[str, Any]) -> Any:
    trust = parse_trust(base64.b64decode(vector["trust_b64"]))
    public = Ed25519PublicKey.from_public_bytes(split_vkey(trust.policy.logs[0].verifier.vkey)[2])
    return verify_receipt(
        base64.b64decode(vector["proof_b64"]),
        leaf_entry_hex=base64.b64decode(vector["entry_b64"]).hex(),
        log_public_key_pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
    )


@pytest.mark.parametrize("file", [pytest.param(file, id=file.stem) for file in FILES])
def test_a_peer_accepts_ours_and_what_it_refuses_we_refuse(file: Path) -> None:
    """One verdict for all, but for the rules that only our profile has."""
    vector = json.loads(file.read_bytes())
    is_ours_alone = file.stem.removeprefix("bad-cose-") in OURS_ALONE
    assert _verify(vector).ok == (vector["ok"] or is_ours_alone)


def test_without_the_signed_size_a_decision_moves() -> None:
    """Why the size is bound: by RFC 9942 alone entry 4 of 14 is also entry 4 of 15."""
    file = next(file for file in FILES if file.stem == "bad-cose-unsigned-size")
    result = _verify(json.loads(file.read_bytes()))
    assert (result.ok, result.tree_size, result.leaf_index) == (True, 15, 4)
