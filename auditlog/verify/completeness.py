"""What was left out, as far as a log can show it: chains, gaps, silences and counters of a period.

Spec: auditlog/spec/promise.md, "Completeness". One pass over the entries of a log, each checked against the
signed tree; memory grows with producers and their lives, not with entries. Everything read is
attacker-controlled. Must never: call a log complete. Whoever runs a host can skip a call that nobody holds a
promise for; what is found here is what a skip must disagree with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from auditlog.core.bodies import check_body
from auditlog.core.checkpoint import Checkpoint
from auditlog.core.entry import Entry
from auditlog.core.note import Ed25519Verifier
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import EvidenceError, MalformedError, SourceError, StorageError
from auditlog.verify.chains import ChainChecker
from auditlog.verify.completeness_lives import Lives
from auditlog.verify.completeness_report import CompletenessReport, Findings, Weight
from auditlog.verify.retention import read_retention
from auditlog.verify.sources import LogSource
from auditlog.verify.tlogclient import VerifiedTree

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all)."""


@dataclass(frozen=True, slots=True)
class Period:
    """Times between which entries count, in the text form of entries; None is open. Ends are included."""

    since: str | None = None
    until: str | None = None

    def holds(self, time: str) -> bool:
        """Whether an instant is inside; one spelling per instant, so text order is time order."""
        if self.since is None and self.until is None:
            return True
        return not self.is_before(time) and not self.is_after(time)

    def clip(self, begin: str, end: str) -> tuple[str, str]:
        """The part of a stretch of time that is inside; where none is, its end is not after its begin."""
        begin = begin if self.since is None else max(begin, self.since)
        return begin, end if self.until is None else min(end, self.until)

    def is_before(self, time: str) -> bool:
        """Whether an instant is before the period."""
        return self.since is not None and time < self.since

    def is_after(self, time: str) -> bool:
        """Whether an instant is after the period."""
        return self.until is not None and time > self.until


def check_completeness(
    source: LogSource,
    checkpoint: Checkpoint,
    vkey: str,
    *,
    period: Period | None = None,
    seen_at: str | None = None,
    progress: Progress | None = None,
) -> CompletenessReport:
    """Check the log under a checkpoint that the caller has opened.

    Args:
        source: where the log is read from, with a token inside if its entries need one.
        checkpoint: signed by the log, as the caller's trust file has it.
        vkey: the key that signed it.
        period: entries outside it are followed, and not counted or reported.
        seen_at: an instant by which the checkpoint existed (a cosignature), to see silences that last.
        progress: told how far the entries are read.
    """
    period, findings = period or Period(), Findings()
    walk = _Walk(checkpoint, vkey, period, findings)
    is_whole = walk.read(source, progress or (lambda _done, _size: None))
    walk.end(seen_at)
    return CompletenessReport(
        origin=checkpoint.origin,
        tree_size=checkpoint.tree_size,
        is_read_whole=is_whole,
        findings=tuple(findings.kept),
        counts=dict(findings.counts),
        producers=tuple(walk.lives.summaries.values()),
        since=period.since,
        until=period.until,
    )


class _Walk:
    """One pass over a log."""

    def __init__(self, checkpoint: Checkpoint, vkey: str, period: Period, findings: Findings) -> None:
        self._checkpoint, self._period, self._findings = checkpoint, period, findings
        self._verifier = Ed25519Verifier.from_vkey(vkey)
        self._chains = ChainChecker(checkpoint.origin, self._broken_chain, vkey=vkey)
        self.lives = Lives(period, findings)

    def _broken_chain(self, problem: str) -> None:
        self._findings.add(Weight.CONTRADICTION, "chain", "", problem)

    def read(self, source: LogSource, progress: Progress) -> bool:
        """Follow every entry; False where some could not be read."""
        size = self._checkpoint.tree_size
        told = read_retention(source, [self._verifier], self._checkpoint)
        if told.fault:
            self._findings.add(Weight.CONTRADICTION, "tree", "", told.fault)
        if told.minimum:
            self._findings.add(Weight.INCOMPLETE, "unread", "", f"{told.line}: the chains have no beginning")
            return False
        try:
            tree = VerifiedTree(source, self._checkpoint)
            for number in range(-(-size // TILE_WIDTH)):
                hashes, entries = tree.tile(0, number), tree.bundle(number)
                for place, data in enumerate(entries):
                    index = number * TILE_WIDTH + place
                    self._one(index, hashes[place], data)
                progress(number * TILE_WIDTH + len(entries), size)
        except SourceError as error:
            self._findings.add(Weight.INCOMPLETE, "unread", "", f"the entries could not be read: {error}")
            return False
        except EvidenceError as error:
            text = f"what the log serves is not what it has signed: {error}"
            self._findings.add(Weight.CONTRADICTION, "tree", "", text)
            return False
        return True

    def _one(self, index: int, leaf_hash: bytes, data: bytes) -> None:
        try:
            entry = self._chains.take(index, leaf_hash, data)
        except Exception as error:  # noqa: BLE001  as in `fold_entry`
            self.lives.not_judged(index, error)
            return
        if entry is not None:
            fold_entry(self.lives, index, leaf_hash, entry)

    def end(self, seen_at: str | None) -> None:
        """Settle what only the end of the log shows."""
        newest = max([self.lives.newest, seen_at or ""])
        until = self._period.until
        self.lives.end(newest if until is None else min(newest, until))


def fold_entry(lives: Lives, index: int, leaf_hash: bytes, entry: Entry) -> None:
    """One more entry of the log, whatever is in it. Raises StorageError, where lives are on disk."""
    try:
        is_read = entry.understood and is_well_formed(entry)
        if entry.by_log:
            lives.take_log(index, leaf_hash.hex(), entry, is_read=is_read)
        else:
            lives.take(index, entry, is_read=is_read)
    except StorageError:
        raise
    except Exception as error:  # noqa: BLE001  whoever writes an entry must not stop who judges the others
        lives.not_judged(index, error)


def is_well_formed(entry: Entry) -> bool:
    """Bodies of the kinds looked into; those of decisions say nothing about what is missing."""
    if entry.kind in ("decision", "outcome", "model"):
        return True
    try:
        check_body(entry.kind, entry.body)
    except MalformedError:
        return False
    return True
