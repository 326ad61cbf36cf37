"""Rollbacks and forks are caught, and the error is the evidence."""

from __future__ import annotations

import pytest

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.merkle import hash_leaf, prove_consistency, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.errors import InconsistentLogError, MalformedError, SignatureError, VerificationError
from auditlog.verify.trusted_log import LogKeys, TrustedLog, check_extends
from tests.support.tlog_writer import ORIGIN, log_signer

LEAVES = [hash_leaf(b"%d" % number) for number in range(12)]
FORKED = [*LEAVES[:6], *(hash_leaf(b"other %d" % number) for number in range(6))]
KEYS = LogKeys([log_signer().verifier], origin=ORIGIN)


def note(leaves: list[bytes], size: int, signer: Ed25519Signer | None = None) -> str:
    """A signed checkpoint over the first leaves."""
    return sign_checkpoint(Checkpoint(ORIGIN, size, root_hash(leaves[:size])), signer or log_signer())


def test_an_honest_log_is_followed() -> None:
    """From nothing, to the same, to larger trees with proofs; an older note may be the start."""
    log = TrustedLog(KEYS)
    assert log.newest is None
    log.update(note(LEAVES, 0))
    log.update(note(LEAVES, 3))
    log.update(note(LEAVES, 3).encode())
    candidate = KEYS.open(note(LEAVES, 9))
    assert log.missing_proof(candidate) == (3, 9)
    log.accept(candidate, prove_consistency(LEAVES[:9], 3))
    assert log.newest is candidate
    again = TrustedLog(KEYS, known=candidate.note)
    again.update(note(LEAVES, 12), prove_consistency(LEAVES, 9))
    assert again.newest is not None
    assert again.newest.tree_size == 12


def test_no_proof_is_needed_where_none_exists() -> None:
    """From nothing, from size 0 and to the same size nothing is to be proven; to a smaller one nothing
    helps.
    """
    log = TrustedLog(KEYS)
    nine = KEYS.open(note(LEAVES, 9))
    assert log.missing_proof(nine) is None
    log.update(note(LEAVES, 0))
    assert log.missing_proof(nine) is None
    log.accept(nine)
    assert log.missing_proof(nine) is None
    assert log.missing_proof(KEYS.open(note(LEAVES, 3))) is None


def test_a_cut_off_log_is_caught() -> None:
    """A smaller checkpoint than the one known carries both notes, the smaller first."""
    log = TrustedLog(KEYS, known=note(LEAVES, 9))
    with pytest.raises(InconsistentLogError) as caught:
        log.update(note(LEAVES, 6), [])
    assert (caught.value.smaller, caught.value.larger) == (note(LEAVES, 6), note(LEAVES, 9))
    assert log.newest is not None
    assert log.newest.tree_size == 9


def test_a_fork_at_one_size_is_caught() -> None:
    """Two roots at one size: both notes are the evidence."""
    log = TrustedLog(KEYS, known=note(LEAVES, 9))
    with pytest.raises(InconsistentLogError) as caught:
        log.update(note(FORKED, 9))
    assert {caught.value.smaller, caught.value.larger} == {note(LEAVES, 9), note(FORKED, 9)}


def test_a_fork_below_is_caught() -> None:
    """A larger tree that does not contain the known one is refused with its own honest proof."""
    log = TrustedLog(KEYS, known=note(LEAVES, 9))
    with pytest.raises(InconsistentLogError) as caught:
        log.update(note(FORKED, 12), prove_consistency(FORKED, 9))
    assert (caught.value.smaller, caught.value.larger) == (note(LEAVES, 9), note(FORKED, 12))


def test_a_wrong_proof_is_not_taken_for_evidence() -> None:
    """A proof of another length says nothing about the log; the checkpoint is not accepted either."""
    log = TrustedLog(KEYS, known=note(LEAVES, 9))
    with pytest.raises(VerificationError) as caught:
        log.update(note(LEAVES, 12), [])
    assert not isinstance(caught.value, InconsistentLogError)
    assert log.newest is not None
    assert log.newest.tree_size == 9


def test_what_the_log_did_not_sign_changes_nothing() -> None:
    """Notes by other keys and other texts are refused before anything is compared."""
    log = TrustedLog(KEYS, known=note(LEAVES, 9))
    stranger = Ed25519Signer.from_seed(ORIGIN, b"\x09" * 32)
    with pytest.raises(SignatureError):
        log.update(note(LEAVES, 12, stranger), prove_consistency(LEAVES, 9))
    with pytest.raises(MalformedError):
        log.update(b"\xff")
    with pytest.raises(SignatureError):
        TrustedLog(KEYS, known=note(LEAVES, 12, stranger))


def test_extension_is_checked_between_any_two_signed_checkpoints() -> None:
    """Receipts and anchors are compared with the same function."""
    three, nine = KEYS.open(note(LEAVES, 3)), KEYS.open(note(LEAVES, 9))
    check_extends(three, nine, prove_consistency(LEAVES[:9], 3))
    with pytest.raises(InconsistentLogError):
        check_extends(nine, three, [])
