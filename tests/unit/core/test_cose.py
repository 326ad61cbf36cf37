"""COSE receipts: what the log's key signs, and that nobody else's bytes pass for it."""

from __future__ import annotations

import random

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from auditlog.core import cbor
from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.cose import (
    cose_key,
    is_cose,
    kid_of,
    parse_cose_receipt,
    sign_cose_receipt,
    verify_cose_receipt,
)
from auditlog.core.keys import Ed25519Signer, split_vkey
from auditlog.core.merkle import hash_leaf, prove_inclusion, root_hash, verify_inclusion
from auditlog.core.tlogproof import TlogProof
from auditlog.errors import EvidenceError, InclusionError, MalformedError, SignatureError
from tests.support.tlog_writer import ORIGIN, log_signer

LEAVES = [hash_leaf(b"%d" % number) for number in range(9)]
CHECKPOINT = Checkpoint(ORIGIN, 9, root_hash(LEAVES))
NOTE = sign_checkpoint(CHECKPOINT, log_signer())
PROOF = TlogProof(5, tuple(prove_inclusion(LEAVES, 5)), NOTE)
RECEIPT = sign_cose_receipt(PROOF, CHECKPOINT, log_signer())


def test_a_receipt_is_read_back() -> None:
    """Proof, origin and size, and the signature of the log's key over the root."""
    found = parse_cose_receipt(RECEIPT)
    assert is_cose(RECEIPT)
    assert (found.proof, found.origin, found.tree_size) == (PROOF, ORIGIN, 9)
    verify_cose_receipt(found, CHECKPOINT, log_signer().verifier)


def test_another_cose_reader_can_check_it() -> None:
    """By RFC 9052 and 9942 alone, with cbor2 and the COSE_Key: root from the path, then the signature."""
    message = cbor2.loads(RECEIPT)
    protected, unprotected, payload, signature = message.value
    size, index, path = cbor2.loads(unprotected[396][-1][0])
    key = cbor2.loads(cose_key(log_signer().verifier))
    header = cbor2.loads(protected)
    assert (message.tag, payload, header[1], header[395], header[4]) == (18, None, -8, 1, key[2])
    assert (key[1], key[-1], header[15]["tree-size"]) == (1, 6, size)
    root = CHECKPOINT.root_hash
    verify_inclusion(LEAVES[5], index, size, path, root)
    signed = cbor2.dumps(["Signature1", protected, b"", root])
    Ed25519PublicKey.from_public_bytes(key[-2]).verify(signature, signed)


def test_the_kid_is_the_thumbprint_of_the_key() -> None:
    """RFC 9679: SHA-256 of the deterministic COSE_Key of its required members."""
    public = split_vkey(log_signer().vkey)[2]
    assert cbor.encode({1: 1, -1: 6, -2: public}) == b"\xa3\x01\x01\x20\x06\x21\x58\x20" + public
    assert len(kid_of(log_signer().verifier)) == 32


def test_the_signature_is_of_one_tree_of_one_log() -> None:
    """Another root, size, origin or key, and it does not hold."""
    found, key = parse_cose_receipt(RECEIPT), log_signer().verifier
    with pytest.raises(SignatureError):
        verify_cose_receipt(found, Checkpoint(ORIGIN, 9, LEAVES[0]), key)
    with pytest.raises(InclusionError):
        verify_cose_receipt(found, Checkpoint(ORIGIN, 10, CHECKPOINT.root_hash), key)
    with pytest.raises(InclusionError):
        verify_cose_receipt(found, Checkpoint("other.example", 9, CHECKPOINT.root_hash), key)
    with pytest.raises(SignatureError):
        verify_cose_receipt(found, CHECKPOINT, Ed25519Signer.from_seed(ORIGIN, bytes(32)).verifier)


def test_one_signature_serves_every_entry_of_a_tree() -> None:
    """It says what the checkpoint says, and nothing of an entry."""
    other = TlogProof(2, tuple(prove_inclusion(LEAVES, 2)), NOTE)
    assert sign_cose_receipt(other, CHECKPOINT, log_signer())[-64:] == RECEIPT[-64:]


def test_a_tree_of_one_entry_has_no_receipt() -> None:
    """RFC 9942 has no form for an empty path."""
    alone = Checkpoint(ORIGIN, 1, LEAVES[0])
    with pytest.raises(MalformedError, match="two entries"):
        sign_cose_receipt(TlogProof(0, (), sign_checkpoint(alone, log_signer())), alone, log_signer())


def test_only_the_key_of_the_log_signs() -> None:
    """A key of another name would make a receipt that nobody can check."""
    with pytest.raises(MalformedError, match="key of the checkpoint's log"):
        sign_cose_receipt(PROOF, CHECKPOINT, Ed25519Signer.from_seed("other.example", bytes(32)))


def test_no_signature_is_of_a_text_and_of_a_structure() -> None:
    """What a note's text could be is never signed as anything else: the two never share a message."""
    signer = log_signer()
    with pytest.raises(ValueError, match="no text"):
        signer.sign_binary(b"log.example\n9\nroot\n")
    structure = cbor.encode(["Signature1", b"", b"", b""])
    assert structure[0] == 0x84
    with pytest.raises(UnicodeDecodeError):
        structure.decode("utf-8")


def test_no_change_of_a_byte_is_a_receipt_that_holds() -> None:
    """Every byte replaced: refused, or no signature, or a note whose lines say nothing new."""
    key, rng = log_signer().verifier, random.Random(9)
    note_at = RECEIPT.index(NOTE.encode())
    for place in range(len(RECEIPT)):
        data = bytearray(RECEIPT)
        data[place] ^= rng.randrange(1, 256)
        try:
            found = parse_cose_receipt(bytes(data))
            verify_cose_receipt(found, CHECKPOINT, key)
            verify_inclusion(LEAVES[5], found.proof.index, 9, list(found.proof.hashes), CHECKPOINT.root_hash)
        except EvidenceError:
            continue
        assert note_at <= place < note_at + len(NOTE.encode())
        assert found.proof.checkpoint != NOTE  # and the verifier opens the note before anything else


@pytest.mark.parametrize("length", range(0, len(RECEIPT), 7))
def test_no_cut_of_a_receipt_is_one(length: int) -> None:
    """A prefix is refused."""
    with pytest.raises(MalformedError):
        parse_cose_receipt(RECEIPT[:length])
