"""Steps 1 to 6 and 15: the receipt, whose log it is of, who signed, how many witnesses, and where the entry
is.
"""

from __future__ import annotations

import dataclasses

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.merkle import prove_inclusion, root_hash
from auditlog.core.note import Ed25519Signer, Signature, format_signature
from auditlog.core.receipt import Receipt, format_receipt
from auditlog.core.tlogproof import TlogProof
from auditlog.verify import Grade, Outcome, Report, Verifier
from auditlog.verify.headline import OPERATOR_ONLY, find_reservations
from auditlog.verify.shown import Shown
from auditlog.verify.steps_anchor import Anchored
from tests.support.receipts_factory import Factory, seed

FACTORY = Factory(decisions=6, anchored=(8,))
INDEX = FACTORY.decisions[0]


def verify(receipt: Receipt | bytes, **trust: object) -> Report:
    """Verify under a trust file of these options."""
    data = receipt if isinstance(receipt, bytes) else format_receipt(receipt)
    return Verifier(FACTORY.trust(**trust)).verify(data)


def step(report: Report, number: int) -> Outcome:
    """The outcome of a step."""
    return report.steps[number - 1].outcome


def expect_failure(report: Report, number: int) -> None:
    """The first failed step is this one, and the exit code says so."""
    assert report.first_failure is not None
    assert report.first_failure.number == number, report.headline
    assert report.exit_code == 1
    assert report.headline.startswith(f"FAILED at step {number} ")


def with_proof(receipt: Receipt, **changes: object) -> Receipt:
    """The receipt with another index, other hashes or another checkpoint."""
    return dataclasses.replace(receipt, proof=dataclasses.replace(receipt.proof, **changes))


def test_an_honest_receipt_is_verified() -> None:
    """Every step that has something to look at passes, and the exit code is 0."""
    report = verify(FACTORY.receipt(INDEX), quorum=2, require=["quorum", "devnet"])
    assert report.exit_code == 0
    assert report.verdict == "verified"
    assert {step(report, n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15)} == {Outcome.PASSED}
    assert {step(report, n) for n in (11, 13, 14)} == {Outcome.NOT_CHECKED}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"\x00" * 100,
        b"{}\n",
        b'{"v":"auditlog/receipt@v2"}\n',
        b"[" * 100_000,
        b'{"v":1,"v":1}\n',
        b" " * 17_000_000,
    ],
    ids=["empty", "newline", "binary", "empty object", "other version", "deep", "repeated", "huge"],
)
def test_what_is_no_receipt_fails_step_1(data: bytes) -> None:
    """Anything that is not a receipt is a failed first step; the others are not checked and say why."""
    report = verify(data)
    expect_failure(report, 1)
    assert all(
        item.outcome is Outcome.NOT_CHECKED and item.detail == "step 1 failed" for item in report.steps[1:]
    )
    assert report.facts == ()


def test_another_spelling_of_the_same_receipt_fails_step_1() -> None:
    """White space or a second newline is not this receipt."""
    data = FACTORY.receipt_bytes(INDEX)
    expect_failure(verify(data + b"\n"), 1)
    expect_failure(verify(b" " + data), 1)


def test_a_log_the_trust_file_lacks_fails_step_2() -> None:
    """A receipt of another origin is refused before any signature is looked at."""
    other = Factory(origin="other.example/log", decisions=1)
    expect_failure(verify(other.receipt(other.decisions[0])), 2)


def test_another_key_of_the_same_name_fails_step_3() -> None:
    """Whoever signs with their own key under the log's name is not the log."""
    thief = Ed25519Signer.from_seed(FACTORY.origin, bytes(32))
    checkpoint = Checkpoint(FACTORY.origin, len(FACTORY.entries), root_hash(FACTORY.leaves))
    receipt = with_proof(FACTORY.receipt(INDEX), checkpoint=sign_checkpoint(checkpoint, thief))
    expect_failure(verify(receipt), 3)


def test_cosignatures_without_the_logs_own_fail_step_3() -> None:
    """Witnesses check that a log is consistent, not what is in it: their lines alone are no checkpoint."""
    note = FACTORY.checkpoint()
    lines = note.split("\n")
    without = "\n".join(line for line in lines if not line.startswith(f"\u2014 {FACTORY.origin} "))
    expect_failure(verify(with_proof(FACTORY.receipt(INDEX), checkpoint=without)), 3)


def test_a_changed_size_fails_step_3() -> None:
    """The size is under the log's signature."""
    size = len(FACTORY.entries)
    note = FACTORY.checkpoint(witnesses=0).replace(f"\n{size}\n", f"\n{size + 1}\n", 1)
    expect_failure(verify(with_proof(FACTORY.receipt(INDEX), checkpoint=note)), 3)


def test_a_wrong_cosignature_of_a_known_witness_fails_step_3() -> None:
    """A known key that signs wrongly spoils the note, even if no quorum is asked for."""
    note = FACTORY.checkpoint(witnesses=1)
    other = FACTORY.checkpoint(len(FACTORY.entries) - 1, witnesses=1)
    swapped = "\n".join([*note.split("\n")[:-2], other.split("\n")[-2], ""])
    expect_failure(verify(with_proof(FACTORY.receipt(INDEX), checkpoint=swapped)), 3)


def test_unknown_signature_lines_are_ignored_and_counted() -> None:
    """A line by a key the trust file lacks proves nothing and harms nothing; the report says it is there."""
    stranger = Ed25519Signer.from_seed("stranger.example", bytes(32))
    note = FACTORY.checkpoint(witnesses=0)
    note += stranger.sign(note.split("\n\n")[0] + "\n")
    report = verify(with_proof(FACTORY.receipt(INDEX, anchored=()), checkpoint=note))
    assert report.exit_code == 0
    assert "1 signature line(s) by keys that the trust file lacks ignored (stranger.example)" in (
        report.steps[2].detail
    )


def test_a_retired_log_is_believed_up_to_its_final_size() -> None:
    """What the key of a retired log signs later, or instead, is refused."""
    size, root = len(FACTORY.entries), root_hash(FACTORY.leaves).hex()
    final = {"origin": FACTORY.origin, "size": size, "root": root}
    assert verify(FACTORY.receipt(INDEX), retired=[final]).exit_code == 0
    expect_failure(verify(FACTORY.receipt(INDEX), retired=[{**final, "size": size - 1}]), 3)
    expect_failure(verify(FACTORY.receipt(INDEX), retired=[{**final, "root": "00" * 32}]), 3)
    assert (
        verify(FACTORY.receipt(INDEX), retired=[{**final, "origin": "other.example", "size": 1}]).exit_code
        == 0
    )


def test_too_few_cosignatures_are_not_checked_and_forbid_verified_where_required() -> None:
    """Absent evidence is not false evidence: exit 3 if the trust file requires it, else 0."""
    receipt = FACTORY.receipt(INDEX, witnesses=1)
    required = verify(receipt, quorum=2, require=["quorum"])
    assert (step(required, 4), step(required, 15), required.exit_code) == (
        Outcome.NOT_CHECKED,
        Outcome.NOT_CHECKED,
        3,
    )
    assert required.verdict == "not fully checked"
    assert verify(receipt, quorum=2, require=[]).exit_code == 0
    assert verify(receipt, quorum=1, require=["quorum"]).exit_code == 0


def test_quorum_none_never_satisfies_a_required_quorum() -> None:
    """A trust file that requires a quorum and names none can verify nothing."""
    assert verify(FACTORY.receipt(INDEX), quorum=0, require=["quorum"]).exit_code == 3


def test_a_missing_require_means_quorum_and_anchor() -> None:
    """The default is strict: a devnet does not satisfy it."""
    report = verify(FACTORY.receipt(INDEX), quorum=2, require=None)
    assert report.exit_code == 3
    assert "a final anchor" in report.steps[14].detail
    assert "witness" not in report.steps[14].detail


def test_the_time_on_record_is_when_the_quorum_was_complete() -> None:
    """One of two gives the first cosignature's time, two of two the second's."""
    assert verify(FACTORY.receipt(INDEX), quorum=1).on_record_by == "2026-01-01T00:05:00.000000Z"
    assert verify(FACTORY.receipt(INDEX), quorum=2).on_record_by == "2026-01-01T00:06:00.000000Z"
    assert verify(FACTORY.receipt(INDEX, witnesses=1), quorum=2).on_record_by is None
    assert verify(FACTORY.receipt(INDEX)).on_record_by is None


def test_a_truncated_or_lengthened_path_fails_step_6() -> None:
    """A path has exactly as many hashes as the index and the size need."""
    receipt = FACTORY.receipt(INDEX)
    hashes = receipt.proof.hashes
    for other in (hashes[:-1], hashes[1:], (), (*hashes, bytes(32)), hashes[::-1]):
        expect_failure(verify(with_proof(receipt, hashes=other)), 6)


def test_another_index_fails_step_6() -> None:
    """No other index fits the path, inside the tree or beyond it."""
    receipt = FACTORY.receipt(INDEX)
    for index in [*range(INDEX), *range(INDEX + 1, 40), 2**53 - 1]:
        expect_failure(verify(with_proof(receipt, index=index)), 6)


def test_index_aliases_of_a_true_proof_fail() -> None:
    """The proof of leaf 7 of 8 also computes the root as (11, 12) or (13, 14): the signed size forbids it."""
    factory = Factory(decisions=4, anchored=())
    assert len(factory.entries) == 8
    proof = TlogProof(7, tuple(prove_inclusion(factory.leaves, 7)), factory.checkpoint(8))
    receipt = dataclasses.replace(factory.receipt(7), proof=proof)
    verifier = Verifier(factory.trust())
    assert verifier.verify(format_receipt(receipt)).exit_code == 0
    for alias in (11, 13, 14, 19):
        changed = dataclasses.replace(receipt, proof=dataclasses.replace(proof, index=alias))
        report = verifier.verify(format_receipt(changed))
        assert report.first_failure is not None
        assert report.first_failure.number == 6


def test_a_changed_entry_fails_step_6() -> None:
    """One changed bit of the entry is another leaf hash."""
    receipt = FACTORY.receipt(INDEX)
    changed = receipt.entry.replace(b'"status":200', b'"status":201')
    expect_failure(verify(dataclasses.replace(receipt, entry=changed)), 6)


def test_facts_before_a_failure_are_only_those_of_steps_that_passed() -> None:
    """A failed inclusion proves no index, whatever the receipt says."""
    report = verify(with_proof(FACTORY.receipt(INDEX), index=0))
    assert {fact.name for fact in report.facts} == {"log", "tree_size", "cosigned"}
    assert {fact.grade for fact in report.facts} == {Grade.PROVEN}


def _cosigned_at(seconds: int) -> str:
    """The checkpoint with one cosignature at any time, even one no honest witness names."""
    note = FACTORY.checkpoint(witnesses=0)
    text = note.split("\n\n")[0] + "\n"
    witness = FACTORY.witnesses[0]
    message = b"cosignature/v1\ntime %d\n" % seconds + text.encode()
    signature = Ed25519PrivateKey.from_private_bytes(seed("witness", 1)).sign(message)
    return note + format_signature(
        Signature(witness.name, witness.key_id, seconds.to_bytes(8, "big") + signature)
    )


@pytest.mark.parametrize(
    ("seconds", "told", "since"),
    [
        (1_767_225_900, "w1 2026-01-01T00:05:00.000000Z", "2026-01-01T00:05:00.000000Z"),
        (0, "w1 no stated time", None),
        (2**62, f"w1 @{2**62}", f"@{2**62}"),
    ],
)
def test_odd_cosignature_times_date_nothing_they_should_not(
    seconds: int, told: str, since: str | None
) -> None:
    """No time at all dates nothing; a time after the year 9999 is no date, and no crash."""
    report = verify(with_proof(FACTORY.receipt(INDEX), checkpoint=_cosigned_at(seconds)), quorum=1)
    assert report.exit_code == 0
    assert step(report, 4) is Outcome.PASSED
    assert [fact.value for fact in report.facts if fact.name == "cosigned"] == [told]
    assert report.on_record_by == since


def test_a_final_anchor_gives_the_time_on_record_and_lifts_the_headline() -> None:
    """The earliest of several counts; what was not checked counts for nothing."""
    shown, opened = Shown(), None

    def anchor(time: str, *, is_checked: bool = True) -> Anchored:
        return Anchored(opened, "evm@v1", is_checked=is_checked, is_devnet=False, time=time)  # type: ignore[arg-type]

    later, earlier = "2026-01-02T00:00:00.000000Z", "2026-01-01T12:00:00.000000Z"
    shown.add_anchors((anchor("", is_checked=False), anchor(later), anchor(earlier)))
    assert shown.recorded == earlier
    assert shown.has_final_anchor
    assert OPERATOR_ONLY not in find_reservations(shown, FACTORY.trust())
    assert shown.values["recorded"] == (earlier,)
