"""Upgraded receipts: what is added, what may be replaced, and that nothing that was proven is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.core.receipt import MAX_ANCHORS, Receipt, ReceiptAnchor, format_receipt, parse_receipt
from auditlog.core.upgrading import upgrade_receipt
from auditlog.errors import VerificationError
from auditlog.verify.upgrading import upgrade_verified
from tests.support.receipts_factory import Factory
from tests.support.rotated_world import coverage

FACTORY = Factory(decisions=6, anchored=(8, 12))
INDEX = FACTORY.decisions[0]
POLICY = FACTORY.trust(quorum=2).policy
MODEL = {"name": "late", "fingerprint": {"method": "files-sha256@v1", "root": "ab" * 32, "files": 1}}
SMALL, LARGE = 9, len(FACTORY.entries)


def receipt(size: int, witnesses: int, *anchored: int) -> Receipt:
    """The receipt at a size, with so many cosignatures and these anchors."""
    return FACTORY.receipt(INDEX, size, witnesses=witnesses, anchored=anchored)


def test_without_a_quorum_proof_and_related_are_replaced_together() -> None:
    """By those of the checkpoint that has one; what was anchored before stays."""
    old, new = receipt(SMALL, 1, 8), receipt(LARGE, 2, 12)
    found = upgrade_receipt(old, new, POLICY)
    assert (found.proof, found.related, found.head) == (new.proof, new.related, old.head)
    assert found.anchors == (*old.anchors, *new.anchors)
    assert parse_receipt(format_receipt(found)) == found


@pytest.mark.parametrize(("had", "has"), [(2, 2), (2, 1), (2, 0), (1, 1), (0, 0)])
def test_otherwise_the_checkpoint_stays(had: int, has: int) -> None:
    """Also if neither has a quorum: nothing would be gained."""
    old, new = receipt(SMALL, had), receipt(LARGE, has, 12)
    found = upgrade_receipt(old, new, POLICY)
    assert (found.proof, found.related) == (old.proof, old.related)
    assert found.anchors == new.anchors


def test_cosignatures_of_the_same_checkpoint_are_added() -> None:
    """Those that are there stay as they are; twice changes nothing."""
    full = receipt(LARGE, 2)
    found = upgrade_receipt(receipt(LARGE, 1), full, POLICY)
    assert found.proof == full.proof
    assert upgrade_receipt(found, full, POLICY) is found
    assert upgrade_receipt(full, receipt(LARGE, 1), POLICY) is full


def test_strangers_lines_are_not_taken_over() -> None:
    """Only those of the policy's witnesses are."""
    some = FACTORY.trust(quorum=2).policy
    lone = replace(some, witnesses=some.witnesses[:1], groups=(), quorum="w1")
    old = receipt(LARGE, 0)
    found = upgrade_receipt(replace(old), receipt(LARGE, 2), lone)
    assert "w1" in found.proof.checkpoint
    # Its checkpoint was replaced as a whole, since it had no quorum; below an equal one lines are chosen.
    held = upgrade_receipt(receipt(LARGE, 1), receipt(LARGE, 2), lone)
    assert "witness.example/w2" not in held.proof.checkpoint


def test_receipts_of_two_entries_or_of_strangers_are_refused() -> None:
    """Another entry, and a checkpoint that no log of the policy has signed."""
    with pytest.raises(VerificationError, match="same entry"):
        upgrade_receipt(receipt(LARGE, 1), FACTORY.receipt(FACTORY.decisions[1]), POLICY)
    other = Factory(origin="log.example/other", decisions=6).trust(quorum=2).policy
    with pytest.raises(VerificationError):
        upgrade_receipt(receipt(SMALL, 1), receipt(LARGE, 2), other)


def test_anchors_of_unknown_types_and_repeated_ones_take_no_place() -> None:
    """Junk must not fill the places: a real anchor of a still later receipt fits."""
    note, path = FACTORY.checkpoint(LARGE, witnesses=0), FACTORY.path(INDEX, LARGE)
    junk = tuple(ReceiptAnchor("evm@v9", note, path, {"x": number}) for number in range(MAX_ANCHORS))
    real = receipt(LARGE, 2, 12).anchors[0]
    same = [replace(real, checkpoint=FACTORY.checkpoint(12, witnesses=number)) for number in (0, 1)]
    crowded = replace(receipt(LARGE, 2), anchors=(*junk[:-2], *same))
    found = upgrade_receipt(receipt(LARGE, 2), crowded, POLICY)
    assert [each.evidence for each in found.anchors] == [real.evidence]
    held = replace(receipt(LARGE, 2), anchors=junk)
    assert upgrade_receipt(held, receipt(LARGE, 2, 12), POLICY) is held


TRUST = FACTORY.trust(quorum=2, require=())


@pytest.mark.parametrize("had", [0, 1, 2])
@pytest.mark.parametrize("cut", range(4))
def test_a_later_receipt_that_shows_less_takes_nothing_away(had: int, cut: int) -> None:
    """Each related entry left out, with a quorum: its checkpoint is not taken; its anchor is."""
    old, new = receipt(SMALL, had), receipt(LARGE, 2, 12)
    new = replace(new, related=(*new.related[:cut], *new.related[cut + 1 :]) if cut < 3 else ())
    done = upgrade_verified(old, new, TRUST)
    assert done.report.exit_code == 0
    assert (done.receipt.proof, done.receipt.related) == (old.proof, old.related)
    assert done.receipt.anchors == new.anchors
    assert bool(done.not_taken) == (had < 2)
    assert had == 2 or "related entries" in done.not_taken[0]


def test_an_answer_to_a_pending_model_is_not_lost_but_may_be_gained() -> None:
    """Neither a model's name nor the word that there is none goes away with a new checkpoint."""
    for kind, body in (("model", MODEL), ("coverage", coverage(model="unregistered"))):
        factory = Factory(decisions=2, batch=1)
        place = factory.add(factory.chains[0], "decision", factory.decision_body(9, "pending"))
        bare = factory.receipt(place, witnesses=1)
        factory.models[place] = factory.add(factory.chains[0], kind, body)
        size, trust = len(factory.entries), factory.trust(quorum=2, require=())
        old, new = factory.receipt(place, size, witnesses=1), factory.receipt(place, size, witnesses=2)
        assert upgrade_verified(old, replace(new, related=new.related[:-1]), trust).receipt is old
        assert upgrade_verified(bare, new, trust).receipt.related == new.related


def test_anchors_that_nobody_can_check_are_not_taken() -> None:
    """Without the devnet's key the evidence is anybody's word; neither is a type that is not known."""
    new = receipt(LARGE, 2, 12)
    odd = ReceiptAnchor("evm@v9", new.proof.checkpoint, new.proof.hashes, {"x": 1})
    done = upgrade_verified(receipt(LARGE, 2), replace(new, anchors=(odd, *new.anchors)), TRUST)
    assert done.receipt.anchors == new.anchors
    assert len(done.not_taken) == 1
    blind = replace(TRUST, devnet=None)
    done = upgrade_verified(receipt(LARGE, 2), new, blind)
    assert done.receipt.anchors == ()
    assert done.receipt == receipt(LARGE, 2)


def test_receipts_that_do_not_hold_are_not_upgraded() -> None:
    """Neither the kept one nor the later one may fail."""
    good = receipt(LARGE, 2)
    head = good.head
    assert head is not None
    bad = replace(good, head=replace(head, path=(bytes(32), *head.path[1:])))
    for old, new in ((bad, good), (good, bad)):
        with pytest.raises(VerificationError, match="that holds"):
            upgrade_verified(old, new, TRUST)


def test_the_command_writes_what_verifies_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 0 and a new file; exit 1 and none for a later receipt that does not hold, or of another entry."""
    (tmp_path / "trust.json").write_bytes(FACTORY.trust_bytes(quorum=2))
    later = receipt(LARGE, 2, 12)
    bad = replace(later.anchors[0], proof=(bytes(32), *later.anchors[0].proof[1:]))
    files = {
        "old": receipt(SMALL, 1),
        "new": later,
        "bad": replace(later, anchors=(bad,)),
        "other": FACTORY.receipt(FACTORY.decisions[1]),
    }
    for name, each in files.items():
        (tmp_path / name).write_bytes(format_receipt(each))

    def upgrade(new: str, out: str) -> int:
        paths = [str(tmp_path / each) for each in ("old", new)]
        trust = ["--trust", str(tmp_path / "trust.json"), "--out", str(tmp_path / out)]
        return run(["receipt", "upgrade", *paths, *trust, "--json"])

    assert upgrade("new", "a") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["checkpoint_replaced"], said["anchors_added"], said["changed"]) == (True, 1, True)
    assert parse_receipt((tmp_path / "a").read_bytes()).proof == later.proof
    for name in ("bad", "other"):
        assert upgrade(name, "b") == 1
        assert not (tmp_path / "b").exists()
    capsys.readouterr()
    (tmp_path / "less").write_bytes(format_receipt(replace(later, related=())))
    assert upgrade("less", "c") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["checkpoint_replaced"], said["anchors_added"], len(said["not_taken"])) == (False, 1, 1)
    (tmp_path / "trust.json").write_bytes(FACTORY.trust_bytes(quorum=2, require=["quorum"]))
    assert upgrade("less", "d") == 3  # as the old one: the trust file asks for a quorum
