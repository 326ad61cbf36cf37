"""Bare proofs: what a tlog-proof or COSE receipt shows, that it shows no more, and that no mutation does."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.cose import sign_cose_receipt
from auditlog.core.receipt import parse_receipt
from auditlog.core.tlogproof import TlogProof, format_tlog_proof, parse_tlog_proof
from auditlog.verify import CosignedBy, EntryIs, ModelIs, OperatorIs, Outcome, Report, Verifier
from tests.support.mutations import gained
from tests.support.receipts_factory import Factory, shown_whole

FACTORY = Factory(decisions=6)
RECEIPT = parse_receipt(FACTORY.receipt_bytes(FACTORY.decisions[2]))
CHECKPOINT, _ = open_checkpoint(RECEIPT.proof.checkpoint, [FACTORY.log_key.verifier])
TLOG = format_tlog_proof(RECEIPT.proof).encode()
COSE = sign_cose_receipt(RECEIPT.proof, CHECKPOINT, FACTORY.log_key)
VERIFIER = Verifier(FACTORY.trust(quorum=2, require=["quorum"]))
BOTH = pytest.mark.parametrize("proof", [TLOG, COSE], ids=["tlog-proof", "cose"])


def verify(proof: bytes, entry: bytes = RECEIPT.entry) -> Report:
    """The report on a proof of the entry."""
    return VERIFIER.verify_proof(proof, entry)


@BOTH
def test_it_shows_the_entry_and_its_cosigners_and_not_its_writer(proof: bytes) -> None:
    """Place, tree and witnesses are proven; nothing of the body is stated; the headline says so."""
    report = verify(proof)
    assert report.exit_code == 0, report.headline
    assert {fact.name for fact in report.facts if fact.grade == "proven"} == {
        *("log", "tree_size", "cosigned", "quorum", "index", "leaf_hash", "kind")
    }
    assert not [fact for fact in report.facts if fact.grade == "stated"]
    assert [step.number for step in report.steps if step.outcome is Outcome.NOT_CHECKED][:3] == [8, 9, 10]
    assert "not who sealed it" in report.headline
    assert report.claimed_time is None


@BOTH
def test_expectations_about_the_writer_cannot_be_checked(proof: bytes) -> None:
    """What a fact needs, an expectation needs too: exit 3, never passed."""
    for expect, code in (
        (OperatorIs(FACTORY.origin), 0),
        (EntryIs("index", str(RECEIPT.proof.index)), 0),
        (CosignedBy("w1", "w2"), 0),
        (EntryIs("producer", "gpu-0"), 3),
        (ModelIs(name="loan"), 3),
        (OperatorIs("other.example"), 1),
    ):
        assert VERIFIER.verify_proof(proof, RECEIPT.entry, expect=expect).exit_code == code


@BOTH
def test_an_entry_of_the_log_itself_needs_no_writer(proof: bytes) -> None:
    """Beside genesis the same proof is whole, and has no reservation."""
    del proof
    receipt = parse_receipt(FACTORY.receipt_bytes(0))
    report = verify(format_tlog_proof(receipt.proof).encode(), receipt.entry)
    assert report.exit_code == 0
    assert report.reservations == ()


@BOTH
def test_other_entries_fail(proof: bytes) -> None:
    """Another entry of the log, a cut one, an empty one, a huge one."""
    for entry in (FACTORY.entries[1], RECEIPT.entry[:-1], b"", b"x" * 65_536):
        assert verify(proof, entry).exit_code == 1


@BOTH
def test_a_disclosure_beside_it_is_checked(proof: bytes) -> None:
    """The entry's commitments are in the log, so what opens them is proven."""
    from auditlog.core.disclosure import Disclosures, format_disclosures
    from tests.support.receipts_factory import decision_id

    shown = format_disclosures(Disclosures(decision_id(2), (shown_whole(2, "response"),)))
    report = VERIFIER.verify_proof(proof, RECEIPT.entry, disclosures=shown)
    assert report.exit_code == 0, report.headline
    assert any(fact.name == "response" and fact.grade == "proven" for fact in report.facts)


def test_a_receipts_proof_goes_out_and_comes_back() -> None:
    """Export and import: the same bytes."""
    assert parse_tlog_proof(TLOG.decode()) == RECEIPT.proof
    assert format_tlog_proof(parse_tlog_proof(TLOG.decode())).encode() == TLOG


def test_extra_data_changes_nothing_and_is_named() -> None:
    """A line that nobody signed is ignored, and the first step says so."""
    proof = TlogProof(RECEIPT.proof.index, RECEIPT.proof.hashes, RECEIPT.proof.checkpoint, b"trust me")
    report, plain = verify(format_tlog_proof(proof).encode()), verify(TLOG)
    assert report.facts == plain.facts
    assert "authenticated by nothing" in report.steps[0].detail


@BOTH
def test_no_mutation_says_more(proof: bytes) -> None:
    """Bytes replaced, cut, doubled and moved: none is accepted with a fact that the original lacks."""
    rng, original = random.Random(4), verify(proof)
    for _ in range(1500):
        data = bytearray(proof)
        for _ in range(rng.randrange(1, 4)):
            at, to = rng.randrange(len(data)), rng.randrange(len(data))
            if rng.random() < 0.6:
                data[at] = rng.randrange(256)
            elif rng.random() < 0.5:
                del data[min(at, to) : max(at, to) + 1]
                data = data or bytearray(b"x")
            else:
                data[at:at] = data[to : to + 40]
        report = verify(bytes(data))
        assert report.exit_code == 1 or not gained(original, report)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=400), st.binary(max_size=50), st.sampled_from([b"", b"\xd2", b"\xd2\x84", TLOG[:40]])
)
def test_any_bytes_give_a_report(data: bytes, entry: bytes, head: bytes) -> None:
    """Total: a failed first step, never an exception."""
    report = VERIFIER.verify_proof(head + data, entry)
    json.dumps(report.to_json())
    assert report.exit_code == 1
