"""Promises handed to the monitor: judged when they are due, until it is settled what became of them.

Spec: auditlog/spec/monitor.md, "Promises"; auditlog/spec/promise.md, "Verdicts". A folder of notes, in any
form people have them in; those of other logs are left alone. `auditlog.verify.promise_verdict` is the judge.
Promises: a settled one is not judged again, an open one ever more seldom. Must never: keep or send on
anything but the note.
"""

from __future__ import annotations

import base64
import binascii
from hashlib import sha256
from pathlib import Path
from stat import S_ISREG
from typing import Final

from auditlog.core.promise import PROMISE_HEADER, Promise
from auditlog.core.scalars import parse_time
from auditlog.errors import EvidenceError, SourceError
from auditlog.verify.monitor.following import Follower, Look
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.promise_evidence import format_evidence
from auditlog.verify.promise_report import PromiseReport, Verdict
from auditlog.verify.promise_sources import HttpLookup
from auditlog.verify.promise_verdict import check_promise, read_promise
from auditlog.verify.promise_view import LogSight
from auditlog.verify.tlogclient import VerifiedTree

MAX_NOTE_BYTES: Final = 64 * 1024
MAX_JUDGED: Final = 256
"""Promises judged in one look."""
FIRST_WAIT_S: Final = 60
LONGEST_WAIT_S: Final = 86_400
_SETTLED: Final = (Verdict.IN_LOG, Verdict.BROKEN, Verdict.DECLARED_LOST, Verdict.NO_PROMISE)
_LEADS: Final = ("audit-promise:", ": audit-promise", ":audit-promise", "audit-promise")

_Row = tuple[str, str, int, int, str, str, int]
"""Of the table `promise`: digest, origin, tries, when it is judged next, verdict, headline, is settled."""


class Promised:
    """The promises of one log in one folder. Not for several threads."""

    def __init__(self, folder: Path, url: str | None) -> None:
        """`url` is the log's, if it can be asked."""
        self._folder, self._url = folder, url
        self._passed_over: set[tuple[str, int, int]] = set()
        """Name, size and time of files that held no promise of this log: what is written later is read."""

    def judge(self, follower: Follower, look: Look) -> None:
        """Judge what is due."""
        if not look.is_current:
            return
        kept: list[_Row] = []
        try:
            self._judge_due(follower, look, kept)
        finally:
            if kept:
                # Alarms are in the book before a promise counts as settled: dying between is judging again.
                follower.books.commit(follower.sight())
                _keep(follower, kept)

    def _judge_due(self, follower: Follower, look: Look, kept: list[_Row]) -> None:
        now_us, judged = follower.clock_us(), 0
        trees = (
            {} if follower.tree is None or follower.opened is None else {follower.opened.note: follower.tree}
        )
        for digest, note in self._notes(follower.log.origin):
            if judged >= MAX_JUDGED:
                look.unread.append(f"more than {MAX_JUDGED} promises: the rest is judged at the next looks")
                break
            tries, next_us, is_settled = _known(follower, digest)
            if is_settled or next_us > now_us:
                if not is_settled and tries:
                    look.unread.append(f"promise {digest[:16]} is not decided yet")
                continue
            merge_us = parse_time(read_promise(note).merge_by)
            if merge_us > now_us:
                kept.append((digest, follower.log.origin, 0, merge_us, *_words(None), 0))
                continue
            sight = self._sight(follower, merge_us, trees)
            judged += 1
            report = check_promise(note, sight, now_us=now_us)
            kept.append(self._settle(digest, report, tries, follower, look))

    def _sight(self, follower: Follower, merge_us: int, trees: dict[str, VerifiedTree]) -> LogSight:
        return LogSight(
            follower.log.trust,
            follower.log.origin,
            follower.source,
            lookup=None if self._url is None else HttpLookup(self._url),
            kept=_notes_about(follower, merge_us),
            trees=trees,
            tiles=lambda promise, size: _tiles_about(follower, promise, size),
        )

    def _settle(self, digest: str, report: PromiseReport, tries: int, follower: Follower, look: Look) -> _Row:
        """Raise what is wrong; what to remember of it."""
        if report.verdict in (Verdict.BROKEN, Verdict.DECLARED_LOST):
            self._raise(digest, report, follower)
        elif report.verdict not in _SETTLED:
            look.unread.append(f"promise {digest[:16]}: {report.headline}")
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S << min(tries, 12))
        next_us = follower.clock_us() + wait_s * 1_000_000
        is_settled = report.verdict in _SETTLED
        return (digest, follower.log.origin, tries + 1, next_us, *_words(report), int(is_settled))

    def _raise(self, digest: str, report: PromiseReport, follower: Follower) -> None:
        evidence: bytes | None = None
        if report.evidence is not None:
            try:
                evidence = format_evidence(report.evidence)
            except EvidenceError:  # too large for a file; the verdict stands
                evidence = None
        raised = Raised(
            alarm="promise_broken" if report.verdict is Verdict.BROKEN else "gap",
            key=f"promise_broken:{digest}",
            detail=f"promise {digest[:16]}: {report.headline}",
            index=report.index,
            evidence=evidence,
        )
        follower.books.book.take(raised)

    def _notes(self, origin: str) -> list[tuple[str, str]]:
        """(digest, note) of every promise of this log in the folder; raises SourceError."""
        found: dict[str, str] = {}
        try:
            paths = sorted(self._folder.iterdir())
        except OSError as error:
            raise SourceError(
                f"expected the folder of promises, found: {error.strerror}", reason="missing"
            ) from None
        for path in paths:
            state = _state(path)
            if state is None or state in self._passed_over:
                continue
            note = _read(path)
            if note is None or read_promise(note).origin != origin:
                self._passed_over.add(state)
                continue
            found[sha256(note.encode("utf-8")).hexdigest()] = note
        return list(found.items())


def _state(path: Path) -> tuple[str, int, int] | None:
    """Name, size and time of change of a file; None if it is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (path.name, found.st_size, found.st_mtime_ns) if S_ISREG(found.st_mode) else None


def _notes_about(follower: Follower, merge_us: int) -> list[str]:
    """Checkpoints by which a promise due at that time may prove late: the last one first seen before it, and
    of those after it ever fewer, and the newest; all of them extend each other.
    """
    origin, notes = follower.log.origin, []
    query = "SELECT max(number) FROM checkpoint WHERE origin = ? AND seen_us < ?"
    ((before,),) = follower.store.read(query, (origin, merge_us))
    query = "SELECT number FROM checkpoint WHERE origin = ? AND seen_us >= ? ORDER BY number"
    after = [row[0] for row in follower.store.read(query, (origin, merge_us))]
    chosen = [before, *after[:2], *(after[(1 << step) - 1] for step in range(2, len(after).bit_length()))]
    for number in chosen:
        query = "SELECT note FROM checkpoint WHERE number = ?"
        notes += [row[0] for row in follower.store.read(query, (number,))]
    newest = follower.opened
    return notes if newest is None or newest.note in notes else [*notes, newest.note]


def _tiles_about(follower: Follower, promise: Promise, size: int) -> list[int] | None:
    """Bundles that may speak of a promise; None, for all, if this log does not know its producer."""
    producers, read = follower.books.producers, follower.books.standing.entries_size
    life = producers.chains.get(promise.producer)
    return None if life is None else producers.places.tiles(promise, life.enrolled_at, size, read)


def _read(path: Path) -> str | None:
    """The note in a file, as it is or in base64; None if it is none."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_NOTE_BYTES + 1).decode("utf-8")
        if not text.startswith(PROMISE_HEADER):
            text = base64.b64decode(_bare(text), validate=True).decode("utf-8")
        read_promise(text)
    except (OSError, UnicodeDecodeError, binascii.Error, ValueError, EvidenceError):
        return None
    return text


def _bare(line: str) -> str:
    line = line.strip()
    lead = next((lead for lead in _LEADS if line.lower().startswith(lead)), "")
    return line[len(lead) :].strip()


def _known(follower: Follower, digest: str) -> tuple[int, int, bool]:
    query = "SELECT tries, next_us, is_settled FROM promise WHERE digest = ?"
    rows = follower.store.read(query, (digest,))
    return (int(rows[0][0]), int(rows[0][1]), bool(rows[0][2])) if rows else (0, 0, False)


def _keep(follower: Follower, rows: list[_Row]) -> None:
    """Remember what became of promises, in one transaction: a sync of the disk each would take longer than
    judging them.
    """
    with follower.store.transaction() as connection:
        connection.executemany("INSERT OR REPLACE INTO promise VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def _words(report: PromiseReport | None) -> tuple[str, str]:
    """Verdict and headline; None for a promise that is not due yet."""
    if report is None:
        return Verdict.NOT_YET_DUE.value, ""
    return report.verdict.value, report.headline
