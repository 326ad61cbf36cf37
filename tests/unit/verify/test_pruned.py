"""A log that pruned entries, read from the outside: not checked below its minimum, damage from there on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.retention import Mark, open_retention
from auditlog.core.trust import parse_trust
from auditlog.errors import SourceError, VerificationError
from auditlog.storage.memory import MemoryStore
from auditlog.verify.completeness import check_completeness
from auditlog.verify.fsck import fsck
from auditlog.verify.mirror import mirror
from auditlog.verify.monitor.clocks import Limits
from tests.support.memory_source import MemorySource
from tests.support.monitor_world import Bench
from tests.support.pruned_log import DAYS, MINIMUM, PrunedLog, pruned_log
from tests.support.testlog import ORIGIN
from tests.unit.verify.test_fsck_hands import Inline

DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def pruned() -> PrunedLog:
    """One log for all: nothing here writes to it."""
    return pruned_log()


def test_fsck_says_how_much_it_did_not_check(pruned: PrunedLog) -> None:
    """The tree passes, the entries that are there are compared, the rest is told; hands see the same."""
    report = fsck(pruned.source(), pruned.vkey)
    assert report.exit_code == 3
    outcomes = {step.name: step.outcome for step in report.steps}
    assert outcomes["tree"] == "passed"
    assert outcomes["entries"] == outcomes["chains"] == "not_checked"
    assert f"minimum index {MINIMUM}" in report.step("entries").detail
    assert f"{DAYS} days" in report.step("entries").detail
    assert report.to_json()["minimum_index"] == MINIMUM
    told, rest = report.lines()[-1], (report.tree_size or 0) - MINIMUM
    assert told.startswith(f"entries: none counted by kind; {MINIMUM} were pruned and not looked at; ")
    assert told.endswith(f"; {rest} others were not counted")
    with_hands = fsck(pruned.source(), pruned.vkey, hands=Inline(pruned.files(), 2))
    assert with_hands.to_json() == report.to_json()
    assert fsck(MemorySource(pruned.before), pruned.vkey).exit_code == 0


def test_what_is_kept_and_missing_is_damage(pruned: PrunedLog) -> None:
    """A bundle at the minimum that is not served, or holds another entry, fails; so does silence."""
    newest = max(path for path in pruned.files() if path.startswith("tile/entries/002"))
    assert fsck(pruned.source(retention=None), pruned.vkey).exit_code == 1
    data = bytearray(pruned.files()[newest])
    data[5] ^= 1
    assert fsck(pruned.source(**{newest: bytes(data)}), pruned.vkey).exit_code == 1
    lower = pruned.retold(minimum=256)
    report = fsck(pruned.source(retention=lower), pruned.vkey)
    assert report.exit_code == 1
    assert "tile/entries/001" in report.step("entries").problems[0]


def test_a_document_that_breaks_its_own_rule_excuses_nothing(pruned: PrunedLog) -> None:
    """More than its marks allow, of more than there is, by another key: told, and the holes are holes."""
    marks = (Mark(753, 1_770_000_000_000_000), Mark(760, 1_770_000_000_000_000 + 3 * DAY_US))
    for document, word in (
        (pruned.retold(minimum=1024, base=1024), "of 75"),
        (pruned.retold(marks=marks), "its own policy"),
        (pruned.retold(marks=()), "its own policy"),
        (pruned.files()["checkpoint"], "none that it signed"),
    ):
        source = pruned.source(retention=document)
        report = fsck(source, pruned.vkey)
        assert report.exit_code == 1
        assert any(word in problem for problem in report.step("entries").problems)
        with pytest.raises(VerificationError, match=word):
            mirror(source, MemoryStore(), pruned.vkey)


def test_a_mirror_says_what_it_could_not_copy(pruned: PrunedLog) -> None:
    """A new copy lacks the pruned entries and carries the document; one that had them keeps them."""
    target = MemoryStore()
    done = mirror(pruned.source(), target, pruned.vkey)
    assert (done.has_entries, done.pruned) == (True, MINIMUM)
    assert fsck(MemorySource(target.objects), pruned.vkey).exit_code == 3
    older = MemoryStore()
    mirror(MemorySource(pruned.before), older, pruned.vkey)
    assert mirror(pruned.source(), older, pruned.vkey).pruned == 0
    assert "tile/entries/000" in older.objects
    with pytest.raises(SourceError):
        mirror(pruned.source(retention=None), MemoryStore(), pruned.vkey)


def test_completeness_does_not_call_a_pruned_log_complete(pruned: PrunedLog) -> None:
    """What was pruned is said to be unread; a broken document is a contradiction."""
    verifier = pruned.bench.signer.verifier
    checkpoint = open_checkpoint(pruned.files()["checkpoint"], [verifier], ORIGIN)[0]
    report = check_completeness(pruned.source(), checkpoint, pruned.vkey)
    assert not report.is_read_whole
    assert any("pruned" in each.text for each in report.findings)
    broken = pruned.source(retention=pruned.retold(marks=()))
    assert check_completeness(broken, checkpoint, pruned.vkey).exit_code == 1


class Watched:
    """A monitor of a log that is still growing and will be pruned."""

    def __init__(self, folder: Path, log: PrunedLog, files: dict[str, bytes]) -> None:
        self.log = log
        self.source = MemorySource(files)
        value = {
            "v": "auditlog/trust@v1",
            "policy": f"log {log.vkey}\nquorum none\n",
            "issuer": {"name": "a regulator", "role": "regulator"},
        }
        self.bench = Bench(
            folder,
            parse_trust(json.dumps(value).encode()),
            self.source,
            origin=ORIGIN,
            limits=Limits(anchor_s=1e9, slack_s=1e9),
        )
        self.bench.now_us = log.bench.clock.unix_us()

    def look(self, files: dict[str, bytes]) -> tuple[list[str], list[str]]:
        """The alarms so far, and what was not read, after a look at this."""
        self.source.files = files
        status = self.bench.look(60)
        return self.bench.words(), list(status.unread)


def test_a_monitor_that_had_read_it_loses_nothing(pruned: PrunedLog, tmp_path: Path) -> None:
    """It goes on without a break or an alarm; one that comes later says what it could not read."""
    watched = Watched(tmp_path / "early", pruned, pruned.before)
    watched.bench.now_us -= 50 * DAY_US
    assert watched.look(pruned.before) == ([], [])
    watched.bench.now_us += 50 * DAY_US
    assert watched.look(pruned.files()) == ([], [])
    late = Watched(tmp_path / "late", pruned, pruned.files())
    words, unread = late.look(pruned.files())
    assert words == []
    assert f"minimum index {MINIMUM}" in unread[0]
    withheld = pruned.files()
    del withheld["retention"]
    # As of any log that shows no entries from the start: not checked, which is no alarm.
    assert "expected tile/entries/000" in late.look(withheld)[1][0]


def test_a_monitor_tells_of_pruning_what_came_lately(pruned: PrunedLog, tmp_path: Path) -> None:
    """The operator's marks lie: the log had shown a smaller tree a week before it let those entries go."""
    young = {path: data for path, data in pruned.before.items() if path != "retention"}
    document = pruned.files()["retention"]
    newest = open_retention(document, pruned.bench.signer.verifier, ORIGIN).marks[-1]
    for days_ago, expected in ((40, []), (7, ["tiles_withheld"])):
        found = Watched(tmp_path / str(days_ago), pruned, young)
        assert found.look(young)[0] == []
        with found.bench.monitor.store.transaction() as connection:
            connection.execute(
                "INSERT INTO checkpoint (origin, size, root, seen_us, note) VALUES (?, 100, ?, ?, '')",
                (ORIGIN, bytes(32), newest.at_us - days_ago * DAY_US),
            )
        assert found.look(pruned.files())[0] == expected
        assert found.look(pruned.files())[0] == expected
