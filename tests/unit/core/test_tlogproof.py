"""tlog-proofs: one spelling, and no second place for the size."""

from __future__ import annotations

import pytest

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.merkle import hash_leaf, prove_inclusion, root_hash
from auditlog.core.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof
from auditlog.errors import MalformedError
from tests.support.tlog_writer import ORIGIN, log_signer

LEAVES = [hash_leaf(b"%d" % number) for number in range(5)]
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 5, root_hash(LEAVES)), log_signer())
PROOF = TlogProof(2, tuple(prove_inclusion(LEAVES, 2)), NOTE)
TEXT = format_tlog_proof(PROOF)
HASH = TEXT.split("\n")[2]


def test_a_proof_is_read_back() -> None:
    """Header, index, hashes, empty line, checkpoint: and the same again."""
    assert TEXT.startswith("c2sp.org/tlog-proof@v1\nindex 2\n")
    assert TEXT.endswith("\n\n" + NOTE)
    assert parse_tlog_proof(TEXT) == PROOF


def test_extra_data_is_read_but_means_nothing() -> None:
    """The optional line is kept for whoever wrote it."""
    proof = TlogProof(2, PROOF.hashes, NOTE, extra=b"hello")
    assert parse_tlog_proof(format_tlog_proof(proof)) == proof
    assert "\nextra aGVsbG8=\nindex 2\n" in format_tlog_proof(proof)


def test_the_only_leaf_needs_no_hash() -> None:
    """In a tree of size 1 the checkpoint follows the index at once."""
    note = sign_checkpoint(Checkpoint(ORIGIN, 1, LEAVES[0]), log_signer())
    proof = TlogProof(0, (), note)
    assert format_tlog_proof(proof) == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{note}"
    assert parse_tlog_proof(format_tlog_proof(proof)) == proof


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c2sp.org/tlog-proof@v1\n",
        TEXT.replace("@v1", "@v2"),
        TEXT.replace("\n", "\r\n"),
        " " + TEXT,
        TEXT.replace("index 2", "index 02"),
        TEXT.replace("index 2", "index -2"),
        TEXT.replace("index 2", "index  2"),
        TEXT.replace("index 2", "Index 2"),
        TEXT.replace("index 2", f"index {2**63 - 1}"),
        TEXT.replace("index 2\n", ""),
        TEXT.replace("index 2\n", "index 2\nindex 2\n"),
        TEXT.replace("index 2\n", "index 2\nextra aGVsbG8=\n"),
        TEXT.replace("index 2\n", "extra \nindex 2\n"),
        TEXT.replace("index 2\n", "extra aGVsbG8\nindex 2\n"),
        TEXT.replace("index 2\n", "extra aGVsbG8=\nextra aGVsbG8=\nindex 2\n"),
        TEXT.replace(HASH, HASH[:-1]),
        TEXT.replace(HASH, "AAAA"),
        TEXT.replace(HASH, HASH + " "),
        TEXT.replace(HASH, "\n".join([HASH] * 64)),
        TEXT.replace("\n\n", "\n", 1),
        TEXT.replace("\n\n", "\n\n\n", 1),
        TEXT.replace(NOTE, ""),
        TEXT.replace(NOTE, "no note"),
        TEXT + "\n",
        "x" * 2_000_000,
    ],
)
def test_anything_else_is_malformed(text: str) -> None:
    """Other versions, spellings, orders and lengths are refused."""
    with pytest.raises(MalformedError):
        parse_tlog_proof(text)


@pytest.mark.parametrize(
    "proof",
    [
        TlogProof(-1, (), NOTE),
        TlogProof(2**63 - 1, (), NOTE),
        TlogProof(0, (b"short",), NOTE),
        TlogProof(0, (LEAVES[0],) * 64, NOTE),
        TlogProof(0, (), "no note"),
        TlogProof(0, (), NOTE, extra=b""),
    ],
)
def test_what_cannot_be_read_is_not_written(proof: TlogProof) -> None:
    """Formatting refuses every member that parsing would."""
    with pytest.raises(MalformedError):
        format_tlog_proof(proof)
