"""Step 13: a log that was cut, edited, forked or re-signed is caught by any receipt; one that is away is not
judged.
"""

from __future__ import annotations

import json

import pytest

from auditlog.core.note import Ed25519Signer
from auditlog.core.tiles import encode_bundle
from auditlog.core.trust import parse_trust
from auditlog.errors import InconsistentLogError
from auditlog.verify import Grade, Outcome, Report, Verifier
from auditlog.verify.comparison import CurrentLog
from tests.support.memory_source import MemorySource
from tests.support.receipts_factory import Factory
from tests.support.tlog_writer import log_files

FACTORY = Factory(decisions=30, anchored=(20,))
INDEX = FACTORY.decisions[3]
SIZE = 25
RECEIPT = FACTORY.receipt_bytes(INDEX, SIZE)


def current(entries: list[bytes] | None = None, *, bundles: bool = True) -> MemorySource:
    """The log as it is now: all entries, or others, signed by its key."""
    return MemorySource(log_files(entries or FACTORY.entries, FACTORY.log_key, bundles=bundles))


def verify(source: MemorySource, receipt: bytes = RECEIPT) -> Report:
    """Verify a receipt against the current log."""
    return Verifier(FACTORY.trust()).verify(receipt, log=CurrentLog(source))


def expect_failure(source: MemorySource) -> InconsistentLogError | None:
    """Step 13 fails; returns the contradicting notes, if it is a contradiction."""
    report = verify(source)
    assert report.exit_code == 1, report.headline
    assert report.first_failure is not None
    assert report.first_failure.number == 13
    assert not any(fact.name == "same_log_now" and fact.grade is Grade.PROVEN for fact in report.facts)
    return report.evidence


@pytest.mark.parametrize("bundles", [True, False])
def test_a_log_that_grew_is_consistent(bundles: bool) -> None:
    """The receipt's checkpoint and the anchored one are prefixes of the current one, with entries or
    without.
    """
    report = verify(current(bundles=bundles))
    assert report.exit_code == 0
    assert report.steps[12].outcome is Outcome.PASSED
    assert ("serves this entry" in report.steps[12].detail) is bundles
    assert [fact.grade for fact in report.facts if fact.name == "same_log_now"] == [Grade.PROVEN]


def test_a_log_of_exactly_the_receipts_size_is_consistent() -> None:
    """Nothing was added since: the same root."""
    assert verify(current(FACTORY.entries[:SIZE])).exit_code == 0


def test_an_edited_entry_is_caught_and_both_notes_are_kept() -> None:
    """A rebuilt and re-signed log with one old entry changed: its signed note and ours are the evidence."""
    entries = list(FACTORY.entries)
    entries[0] = entries[0].replace(b"audit@log.example", b"other@log.example")
    evidence = expect_failure(current(entries))
    assert evidence is not None
    assert evidence.smaller == FACTORY.checkpoint(SIZE)
    assert evidence.larger == current(entries).files["checkpoint"].decode()


def test_a_cut_log_is_caught() -> None:
    """The newest entries were cut off, and the shorter tree signed."""
    evidence = expect_failure(current(FACTORY.entries[: SIZE - 1]))
    assert evidence is not None
    assert "cut off" in str(evidence)
    assert evidence.larger == FACTORY.checkpoint(SIZE)


def test_an_anchored_size_above_the_current_one_is_caught() -> None:
    """Even when the receipt's own checkpoint is older than the cut, the anchored one is not."""
    receipt = FACTORY.receipt_bytes(INDEX, INDEX + 1)
    report = verify(current(FACTORY.entries[: INDEX + 2]), receipt)
    assert report.exit_code == 1


def test_a_checkpoint_of_another_key_fails() -> None:
    """What somebody else signed is not the current state of this log."""
    thief = Ed25519Signer.from_seed(FACTORY.origin, bytes(32))
    expect_failure(MemorySource(log_files(FACTORY.entries, thief)))


def test_tiles_that_do_not_hash_to_the_signed_root_fail() -> None:
    """A flipped bit in a tile is the log's contradiction with its own signature."""
    source = current()
    path = next(path for path in source.files if path.startswith("tile/0/"))
    source.files[path] = bytes([source.files[path][0] ^ 1]) + source.files[path][1:]
    expect_failure(source)


def test_a_served_entry_that_is_not_in_the_tree_fails() -> None:
    """Entries edited in their bundle alone no longer fit the tiles."""
    source = current()
    entries = [*FACTORY.entries[:INDEX], b"{}", *FACTORY.entries[INDEX + 1 :]]
    path = next(path for path in source.files if path.startswith("tile/entries/"))
    source.files[path] = encode_bundle(entries)
    expect_failure(source)


def test_a_checkpoint_that_is_no_note_fails() -> None:
    """A log that answers with something else is not what it says it is."""
    source = current()
    source.files["checkpoint"] = b"<html>"
    expect_failure(source)


def test_an_unreachable_log_is_not_checked() -> None:
    """Exit 3, and the source is asked once only, however many receipts there are."""
    source = current()
    source.down = True
    log, verifier = CurrentLog(source), Verifier(FACTORY.trust())
    for index in FACTORY.decisions[:5]:
        report = verifier.verify(FACTORY.receipt_bytes(index, SIZE), log=log)
        assert report.exit_code == 3
        assert report.steps[12].outcome is Outcome.NOT_CHECKED
    assert source.asked == ["checkpoint"]


def test_a_log_without_its_tiles_is_not_checked() -> None:
    """A checkpoint alone (a private log) shows the size; what cannot be read is exit 3."""
    source = current()
    source.refused = {path for path in source.files if path != "checkpoint"}
    assert verify(source).exit_code == 3


def test_a_cut_shows_without_tiles() -> None:
    """The size alone is enough to see a cut."""
    source = current(FACTORY.entries[: SIZE - 1])
    source.refused = {path for path in source.files if path != "checkpoint"}
    assert verify(source).exit_code == 1


def test_many_receipts_read_the_log_once() -> None:
    """Checkpoint, tiles and bundles are fetched once for all receipts of a call."""
    source = current()
    log, verifier = CurrentLog(source), Verifier(FACTORY.trust())
    for index in FACTORY.decisions[:10]:
        assert verifier.verify(FACTORY.receipt_bytes(index, SIZE), log=log).exit_code == 0
    assert len(source.asked) == len(set(source.asked)) == 3


def test_a_retired_log_that_goes_on_fails() -> None:
    """A log that ended at a size and now shows a larger one has signed what it must not."""
    final = {"origin": FACTORY.origin, "size": SIZE, "root": _root(SIZE)}
    trust = FACTORY.trust(retired=[final])
    assert Verifier(trust).verify(RECEIPT, log=CurrentLog(current(FACTORY.entries[:SIZE]))).exit_code == 0
    report = Verifier(trust).verify(RECEIPT, log=CurrentLog(current()))
    assert report.exit_code == 1
    assert report.first_failure is not None
    assert report.first_failure.number == 13


def test_a_retired_log_is_shown_at_its_final_size() -> None:
    """Cut back behind its end, or ended with another root, it fails, though it extends the receipt."""
    for size, root in ((28, _root(28)), (27, _root(28)), (26, _root(25))):
        trust = FACTORY.trust(retired=[{"origin": FACTORY.origin, "size": size, "root": root}])
        shown = CurrentLog(current(FACTORY.entries[:26]))
        report = Verifier(trust).verify(RECEIPT, log=shown)
        assert report.first_failure is not None
        assert report.first_failure.number == 13
    other = FACTORY.trust(retired=[{"origin": "other.example", "size": 28, "root": _root(28)}])
    assert Verifier(other).verify(RECEIPT, log=CurrentLog(current(FACTORY.entries[:26]))).exit_code == 0


def _root(size: int) -> str:
    from auditlog.core.merkle import root_hash

    return root_hash(FACTORY.leaves[:size]).hex()


def test_a_current_checkpoint_is_opened_as_strictly_as_the_receipts() -> None:
    """A wrong line by any key of the trust file, or the devnet key under the log's name, fails step 13."""
    spoilt = current()
    spoilt.files["checkpoint"] += FACTORY.devnet_key.sign("another text\n").encode()
    assert expect_failure(spoilt) is None
    named = Ed25519Signer.from_seed(FACTORY.origin, bytes(32))
    source = MemorySource(log_files(FACTORY.entries, named))
    trust = parse_trust(json.dumps(json.loads(FACTORY.trust_bytes()) | {"devnet": named.vkey}).encode())
    report = Verifier(trust).verify(FACTORY.receipt_bytes(INDEX, SIZE, anchored=()), log=CurrentLog(source))
    assert report.first_failure is not None
    assert report.first_failure.number == 13
    assert "signature by the log" in report.first_failure.detail
