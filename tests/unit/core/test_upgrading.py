"""Upgraded receipts: what is added, what may be replaced, and that nothing that was proven is lost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from auditlog.cli.main import run
from auditlog.core.receipt import Receipt, format_receipt, parse_receipt
from auditlog.core.upgrading import upgrade_receipt
from auditlog.errors import VerificationError
from tests.support.receipts_factory import Factory

FACTORY = Factory(decisions=6, anchored=(8, 12))
INDEX = FACTORY.decisions[0]
POLICY = FACTORY.trust(quorum=2).policy
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
