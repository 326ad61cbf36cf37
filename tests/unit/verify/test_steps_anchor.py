"""Step 12: an anchor holds the entry, names its checkpoint, and is never more than it is."""

from __future__ import annotations

import dataclasses

import pytest

from auditlog.core.anchor import DevnetAnchor, parse_devnet_text, sign_devnet_anchor
from auditlog.core.note import Ed25519Signer, split_note
from auditlog.core.receipt import Receipt, ReceiptAnchor, format_receipt
from auditlog.verify import Grade, Outcome, Report, Verifier
from auditlog.verify.headline import DEVNET, OPERATOR_ONLY
from tests.support.receipts_factory import Factory

FACTORY = Factory(decisions=8, anchored=(9, 11))
INDEX = FACTORY.decisions[0]


def verify(receipt: Receipt, **trust: object) -> Report:
    """Verify under a trust file of these options."""
    return Verifier(FACTORY.trust(**trust)).verify(format_receipt(receipt))


def with_anchor(anchor: ReceiptAnchor) -> Receipt:
    """The receipt with one good anchor and this one."""
    receipt = FACTORY.receipt(INDEX)
    return dataclasses.replace(receipt, anchors=(receipt.anchors[0], anchor))


def expect_failure(receipt: Receipt) -> None:
    """Step 12 fails, although nobody requires an anchor and another one holds."""
    report = verify(receipt)
    assert report.exit_code == 1
    assert report.first_failure is not None
    assert report.first_failure.number == 12
    assert report.on_record_by_devnet is None


def test_a_devnet_anchor_is_stated_and_never_final() -> None:
    """It satisfies `devnet`, never `anchor`; its time is not the time on record; the headline names it."""
    report = verify(FACTORY.receipt(INDEX), require=["devnet"])
    assert report.exit_code == 0
    assert report.on_record_by is None
    assert report.on_record_by_devnet == "2026-01-01T00:16:49.000000Z"
    assert report.reservations[:2] == (OPERATOR_ONLY, DEVNET)
    assert [fact.grade for fact in report.facts if fact.name == "devnet_anchor"] == [Grade.STATED] * 2
    assert verify(FACTORY.receipt(INDEX), require=["anchor"]).exit_code == 3


def test_a_receipt_without_the_required_anchor_is_not_checked() -> None:
    """An absent anchor is exit 3 where it is required, and nothing where it is not."""
    bare = FACTORY.receipt(INDEX, anchored=())
    assert verify(bare, require=["devnet"]).exit_code == 3
    assert verify(bare).exit_code == 0


def test_an_anchor_the_trust_file_cannot_check_is_not_checked() -> None:
    """Without a devnet key in the trust file the anchor counts for nothing, and is no failure."""
    report = verify(FACTORY.receipt(INDEX), devnet=False)
    assert report.exit_code == 0
    assert report.steps[11].outcome is Outcome.NOT_CHECKED
    assert verify(FACTORY.receipt(INDEX), devnet=False, require=["devnet"]).exit_code == 3


def test_an_anchor_of_a_later_type_is_not_checked() -> None:
    """Evidence this version does not know is neither held nor held against the receipt."""
    other = dataclasses.replace(FACTORY.anchor(INDEX, 11), type="moon@v1", evidence={"a": 1})
    report = verify(with_anchor(other), require=["devnet"])
    assert report.exit_code == 0
    assert "1 not checkable" in report.steps[11].detail


def test_an_anchored_size_at_or_below_the_index_fails() -> None:
    """An anchor covers what was in the log then: an entry later than the anchored size is not."""
    for size in (INDEX, INDEX - 1, 1):
        expect_failure(with_anchor(FACTORY.anchor(INDEX, size)))
    assert verify(with_anchor(FACTORY.anchor(INDEX, INDEX + 1))).exit_code == 0


def test_a_path_that_does_not_lead_to_the_anchored_root_fails() -> None:
    """The path goes straight into the anchored tree, with exactly its length."""
    good = FACTORY.anchor(INDEX, 11)
    for proof in (
        good.proof[:-1],
        (*good.proof, bytes(32)),
        FACTORY.path(INDEX, 9),
        FACTORY.path(INDEX + 1, 11),
    ):
        expect_failure(with_anchor(dataclasses.replace(good, proof=proof)))


@pytest.mark.parametrize(
    "changes",
    [{"size": 12}, {"root": bytes(32)}, {"origin": "other.example/log"}],
    ids=["size", "root", "origin"],
)
def test_evidence_must_name_its_checkpoint(changes: dict[str, object]) -> None:
    """Even signed by the devnet: a size, root or log other than the checkpoint's is a failure."""
    expect_failure(with_anchor(FACTORY.anchor(INDEX, 11, **changes)))


def test_evidence_that_contradicts_its_checkpoint_fails_without_a_key_too() -> None:
    """What can be seen to be wrong without the devnet's key is a failure all the same."""
    report = verify(with_anchor(FACTORY.anchor(INDEX, 11, size=12)), devnet=False)
    assert report.exit_code == 1


def test_evidence_by_another_key_fails() -> None:
    """Where the trust file names a devnet, a note by anyone else is no evidence of it."""
    good = FACTORY.anchor(INDEX, 11)
    stranger = Ed25519Signer.from_seed("devnet.example", bytes(32))
    expect_failure(with_anchor(dataclasses.replace(good, evidence=sign_devnet_anchor(_said(good), stranger))))


def test_an_anchored_checkpoint_must_be_the_logs() -> None:
    """The anchored note is opened with the same trust: another log's, or one nobody signed, is a failure."""
    good = FACTORY.anchor(INDEX, 11)
    other = Factory(origin="other.example/log", decisions=8)
    unsigned = FACTORY.checkpoint(11, witnesses=0).replace("\n11\n", "\n12\n")
    for checkpoint in (other.checkpoint(11), unsigned, FACTORY.checkpoint(9)):
        expect_failure(with_anchor(dataclasses.replace(good, checkpoint=checkpoint)))


def _said(anchor: ReceiptAnchor) -> DevnetAnchor:
    return parse_devnet_text(split_note(anchor.evidence)[0])
