"""Two receipts of one log that cannot both be honest: of one size, with two roots."""

from __future__ import annotations

from dataclasses import replace

from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer, Signature, format_signature
from auditlog.core.receipt import format_receipt
from auditlog.errors import InconsistentLogError
from auditlog.verify import Grade, Outcome, Verifier
from auditlog.verify.comparison import CurrentLog
from auditlog.verify.forks import Forks, convict
from tests.support.memory_source import MemorySource
from tests.support.receipts_factory import Factory
from tests.support.tlog_writer import log_files

SIZE = 12
FACTORY = Factory(decisions=10, anchored=(10,))
PLACE = FACTORY.decisions[2]


def forked(from_place: int = SIZE - 1) -> Factory:
    """The same log, but for one entry that somebody else is shown."""
    other = Factory(decisions=10, anchored=(10,))
    other.leaves[from_place] = hash_leaf(b"what others are shown")
    return other


def found(*receipts: bytes, **trust: object) -> dict[int, InconsistentLogError]:
    """The contradictions among these receipts."""
    forks = Forks(FACTORY.trust(**trust))
    for number, receipt in enumerate(receipts):
        forks.take(number, receipt)
    return forks.found()


def test_receipts_of_one_history_do_not_contradict_each_other() -> None:
    """Equal checkpoints, other sizes, other logs and things that are no receipts."""
    stranger = Factory(origin="log.example/other", decisions=10)
    receipts = [FACTORY.receipt_bytes(PLACE, size) for size in (SIZE, SIZE, SIZE + 1)]
    receipts += [
        FACTORY.receipt_bytes(FACTORY.decisions[0], SIZE),
        stranger.receipt_bytes(PLACE, SIZE),
        b"",
        b"{}",
    ]
    assert found(*receipts) == {}
    assert found() == {}


def test_two_roots_at_one_size_convict_every_receipt_that_shows_either() -> None:
    """Both notes are the evidence; a receipt of another size is not part of it."""
    one, other = FACTORY.receipt_bytes(PLACE, SIZE), forked().receipt_bytes(PLACE, SIZE)
    errors = found(one, FACTORY.receipt_bytes(PLACE, SIZE - 1), other, one)
    assert set(errors) == {0, 2, 3}
    for error in errors.values():
        assert (error.smaller, error.larger) == (FACTORY.checkpoint(SIZE), forked().checkpoint(SIZE))


def test_anchored_checkpoints_count_too() -> None:
    """The fork shows at the anchored size only: the receipts' own checkpoints are of different sizes."""
    one, other = FACTORY.receipt_bytes(PLACE, SIZE), forked(9).receipt_bytes(PLACE, SIZE + 1)
    assert set(found(one, other)) == {0, 1}
    crossed = forked(9).receipt_bytes(PLACE, 10, anchored=())
    assert set(found(one, crossed)) == {0, 1}


def test_what_the_log_did_not_sign_convicts_nobody() -> None:
    """Anybody can write a checkpoint with another root."""
    other = forked()
    other.log_key = Ed25519Signer.from_seed(FACTORY.origin, bytes(32))
    assert found(FACTORY.receipt_bytes(PLACE, SIZE), other.receipt_bytes(PLACE, SIZE)) == {}


def test_a_wrong_line_hides_no_fork() -> None:
    """The receipt fails by itself, and the other one is told of the history that it shows."""
    shown, key = forked().receipt(PLACE, SIZE), FACTORY.witnesses[0]
    wrong = format_signature(Signature(key.name, bytes.fromhex(key.vkey.split("+")[1]), bytes(72)))
    proof = replace(shown.proof, checkpoint=shown.proof.checkpoint + wrong)
    data = format_receipt(replace(shown, proof=proof))
    assert Verifier(FACTORY.trust()).verify(data).first_failure is not None
    assert set(found(FACTORY.receipt_bytes(PLACE, SIZE), data)) == {0, 1}


def test_a_convicted_report_fails_at_step_13() -> None:
    """Exit 1, both notes, and no fact that says the log is as it was."""
    receipt = FACTORY.receipt_bytes(PLACE, SIZE)
    error = found(receipt, forked().receipt_bytes(PLACE, SIZE))[0]
    log = CurrentLog(MemorySource(log_files(FACTORY.entries, FACTORY.log_key)))
    report = convict(Verifier(FACTORY.trust()).verify(receipt, log=log), error)
    assert (report.exit_code, report.evidence) == (1, error)
    assert report.headline.startswith("FAILED at step 13 (log comparison): expected one root hash of")
    assert [step.number for step in report.steps if step.outcome is Outcome.FAILED] == [13]
    assert not any(fact.name == "same_log_now" and fact.grade is Grade.PROVEN for fact in report.facts)


def test_a_report_that_failed_already_keeps_its_reason() -> None:
    """It only gains the evidence; what it found itself stays."""
    receipt = FACTORY.receipt(PLACE, SIZE)
    error = found(format_receipt(receipt), forked().receipt_bytes(PLACE, SIZE))[0]
    broken = Verifier(FACTORY.trust()).verify(format_receipt(replace(receipt, entry=b"{}")))
    convicted = convict(broken, error)
    assert convicted == replace(broken, evidence=error)
    cut = CurrentLog(MemorySource(log_files(FACTORY.entries[: SIZE - 1], FACTORY.log_key)))
    report = Verifier(FACTORY.trust()).verify(format_receipt(receipt), log=cut)
    assert report.evidence is not None
    assert convict(report, error) == report
