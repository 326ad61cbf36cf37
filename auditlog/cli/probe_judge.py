"""What became of the requests of a probe: each judged, and the rate of omission with its bound.

Spec: auditlog/spec/promise.md, "Probing". Promises: an answer without promise and without receipt is counted
as what it is, unknown; the bound is given with it and without it; one decision stands for one answer. Must
never: call an answer omitted that nobody can prove omitted.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from auditlog.cli.probe_once import Once
from auditlog.cli.probe_store import Probe, ProbeFolder, Sent
from auditlog.cli.promise_files import keep_checkpoints, kept_checkpoints
from auditlog.core.entry import parse_entry
from auditlog.core.merkle import hash_leaf
from auditlog.core.receipt import parse_receipt
from auditlog.core.scalars import parse_base64
from auditlog.errors import ConfigurationError, MalformedError, SourceError
from auditlog.verify.bounds import upper_bound

if TYPE_CHECKING:
    from auditlog.verify.promise_view import LogSight

PROBE_REPORT_VERSION: Final = "auditlog/probe-report@v1"

BROKEN: Final = ("BROKEN", "declared lost")
KEPT: Final = ("in the log", "receipt")
NO_TRACE: Final = "no promise, no receipt"
REPEATED: Final = "given before"
NOT_ITS_OWN: Final = "of another time"
UNANSWERED: Final = "no answer"


@dataclass(slots=True)
class Judged:
    """One request with its verdict."""

    sent: Sent
    verdict: str
    cause: str = ""
    text: str = ""


@dataclass(slots=True)
class ProbeReport:
    """The result of a probe."""

    judged: list[Judged] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """Requests by verdict."""
        return Counter(each.verdict for each in self.judged)

    @property
    def answered(self) -> int:
        """Requests that were answered with success."""
        return len(self.judged) - self.counts[UNANSWERED]

    @property
    def broken(self) -> int:
        """Promises that were broken, declared losses among them."""
        return sum(self.counts[word] for word in BROKEN)

    @property
    def decided(self) -> int:
        """Answers whose recording is proven or disproven."""
        return self.broken + sum(self.counts[word] for word in KEPT)

    @property
    def not_shown(self) -> int:
        """Answers that are not shown to be recorded, for whatever reason."""
        return self.answered - sum(self.counts[word] for word in KEPT)

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Upper bounds at 95 %: of the rate among what was decided; if all that is not shown is omitted."""
        proven = upper_bound(self.broken, self.decided) if self.decided else None
        return proven, upper_bound(self.not_shown, self.answered) if self.answered else None

    @property
    def exit_code(self) -> int:
        """1 if a promise was broken, else 3 if any answer is not shown to be recorded, else 0."""
        if self.broken:
            return 1
        return 3 if self.not_shown or not self.answered else 0

    def lines(self) -> list[str]:
        """The report in plain words."""
        proven, worst = self.bounds
        counts = ", ".join(f"{count} {word}" for word, count in sorted(self.counts.items()))
        lines = [f"{len(self.judged)} requests, {self.answered} answered: {counts}"]
        if proven is not None:
            lines.append(
                f"omitted: {self.broken} of {self.decided} decided ({self.broken / self.decided:.2%}); "
                f"with 95 % confidence the rate among such requests is at most {proven:.2%}"
            )
        if self.not_shown and worst is not None:
            lines.append(
                f"if everything not shown to be recorded were omitted ({self.not_shown} of {self.answered}), "
                f"at most {worst:.2%}"
            )
        if odd := self.counts[REPEATED] + self.counts[NOT_ITS_OWN]:
            lines.append(
                f"{odd} answer(s) came with a promise or receipt that another one had come with, or that was "
                "made at another time: one decision on record is one answer, and these are not shown"
            )
        if self.counts[NO_TRACE]:
            lines.append(
                f"{self.counts[NO_TRACE]} answer(s) came with neither promise nor receipt: whether they are "
                "recorded cannot be proven or disproven from outside; that no promise came is the operator's "
                "choice or a deferral, and is no evidence of omission"
            )
        lines += [
            f"request {each.sent.number}: {each.text}" for each in self.judged if each.verdict in BROKEN
        ]
        return lines

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        proven, worst = self.bounds
        return {
            "v": PROBE_REPORT_VERSION,
            "exit_code": self.exit_code,
            "requests": len(self.judged),
            "answered": self.answered,
            "counts": dict(sorted(self.counts.items())),
            "decided": self.decided,
            "omitted": self.broken,
            "not_shown": self.not_shown,
            # Reals are decimal strings, as everywhere.
            "upper_bound_95": None if proven is None else f"{proven:.6f}",
            "upper_bound_95_if_all_not_shown_were_omitted": None if worst is None else f"{worst:.6f}",
            "judged": [
                {
                    "number": each.sent.number,
                    "id": each.sent.id or None,
                    "promise": each.sent.promise or None,
                    "verdict": each.verdict,
                    "cause": each.cause or None,
                    "text": each.text,
                }
                for each in self.judged
            ],
        }


@dataclass(frozen=True, slots=True)
class Where:
    """The log to look at: URL or folder, and what is believed and shown to it."""

    log: str
    trust: Path | None
    token_file: Path | None


def judge(probe: Probe, folder: ProbeFolder, where: Where, *, slack_s: int) -> ProbeReport:
    """Judge every request of a probe by what the log shows now; evidence is written beside the promise.

    `slack_s` is how many seconds the clock of whoever answered may be from the prober's.
    """
    judging = _Judging(folder, where, slack_s)
    try:
        return ProbeReport([judging.judge(sent) for sent in probe.sent])
    finally:
        judging.close()


class _Judging:
    """The answers of one probe: each decision on record stands for one of them."""

    def __init__(self, folder: ProbeFolder, where: Where, slack_s: int) -> None:
        self._folder, self._where = folder, where
        self._once = Once(slack_s)
        self._sights: dict[str, LogSight] = {}

    def close(self) -> None:
        for sight in self._sights.values():
            keep_checkpoints(self._folder.path, sight)
            sight.close()

    def judge(self, sent: Sent) -> Judged:
        if sent.status is None or not 200 <= sent.status < 300:
            return Judged(sent, UNANSWERED, text=sent.error or f"status {sent.status}")
        if note := self._folder.kept(sent.number, "promise").decode("utf-8", "replace"):
            return self._promise(sent, note)
        return self._receipt(sent)

    def _promise(self, sent: Sent, note: str) -> Judged:
        from auditlog.verify.promise_verdict import read_promise

        promise = read_promise(note)
        judged = self._kept_or_broken(sent, note, self._sight(promise.origin))
        return self._counted(judged, promise.leaf_hash, promise.time)

    def _kept_or_broken(self, sent: Sent, note: str, sight: LogSight) -> Judged:
        from auditlog.verify.promise_evidence import format_evidence
        from auditlog.verify.promise_verdict import OwnBytes, check_promise

        own = None
        if sent.key:
            bodies = [self._folder.kept(sent.number, kind) for kind in ("request", "response")]
            own = OwnBytes(parse_base64(sent.key, "exchange key"), *bodies)
        report = check_promise(note, sight, now_us=time.time_ns() // 1000, own=own)
        if report.evidence is not None:
            with contextlib.suppress(MalformedError):  # too large for a file; the verdict stands
                self._folder.keep(sent.number, "evidence", format_evidence(report.evidence))
        verdict = "other bytes" if report.bytes_differ and report.exit_code == 1 else report.verdict.value
        return Judged(sent, verdict, report.cause.value if report.cause else "", report.headline)

    def _sight(self, origin: str) -> LogSight:
        from auditlog.cli.promise import open_sight

        if origin not in self._sights:
            where, kept = self._where, kept_checkpoints([], self._folder.path)
            self._sights[origin] = open_sight(origin, where.log, where.trust, where.token_file, kept)
        return self._sights[origin]

    def _counted(self, judged: Judged, leaf_hash: bytes, made: str) -> Judged:
        """One decision stands for one answer, and was made when it was asked for."""
        sent = judged.sent
        before = self._once.before(sent.number, leaf_hash)
        if judged.verdict not in (*BROKEN, *KEPT):
            return judged
        if before is not None:
            text = f"what came with it is about the decision of request {before}"
            return Judged(sent, REPEATED, text=text)
        if judged.verdict in BROKEN:
            return judged  # whenever it was made
        if (span := self._once.outside(sent, made)) is not None:
            return Judged(sent, NOT_ITS_OWN, text=f"it was made {made}, and asked for {span}")
        return judged

    def _receipt(self, sent: Sent) -> Judged:
        """No promise came: a receipt shows that the answer was recorded all the same."""
        from auditlog.cli.promise import believe
        from auditlog.verify.sources import HttpSource
        from auditlog.verify.verifier import Verifier

        base = self._where.log.rstrip("/")
        if not sent.receipt_url.startswith(f"{base}/receipts/"):
            return Judged(sent, NO_TRACE, text="neither a promise nor a receipt of this log came with it")
        try:
            with HttpSource(self._where.log) as source:
                data = source.fetch(sent.receipt_url.removeprefix(f"{base}/"))
            believed, _ = believe("", self._where.log, self._where.trust)
        except (SourceError, ConfigurationError) as error:
            text = f"no promise came, and its receipt is not to be had: {error}"
            return Judged(sent, NO_TRACE, text=text)
        report = Verifier(believed).verify(data)
        found = {fact.value for fact in report.facts if fact.name == "id"}
        if report.first_failure is not None or not found or (sent.id and sent.id not in found):
            text = f"no promise came, and its receipt does not hold: {report.headline}"
            return Judged(sent, NO_TRACE, text=text)
        shown = parse_receipt(data).entry
        judged = Judged(sent, "receipt", text="recorded, as its receipt shows")
        return self._counted(judged, hash_leaf(shown), parse_entry(shown).time)
