"""What became of the requests of a probe: each judged, and the rate of omission with its bound.

Spec: auditlog/spec/promise.md, "Probing". Promises: an answer without promise and without receipt is counted
as what it is, unknown; the bound is given with it and without it. Must never: call an answer omitted that
nobody can prove omitted.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from auditlog.cli.probe_store import Probe, ProbeFolder, Sent
from auditlog.cli.promise_files import keep_checkpoints, kept_checkpoints
from auditlog.core.scalars import parse_base64
from auditlog.errors import ConfigurationError, MalformedError, SourceError
from auditlog.verify.bounds import upper_bound

if TYPE_CHECKING:
    from auditlog.verify.promise_view import LogSight

PROBE_REPORT_VERSION: Final = "auditlog/probe-report@v1"

BROKEN: Final = ("BROKEN", "declared lost")
KEPT: Final = ("in the log", "receipt")
NO_TRACE: Final = "no promise, no receipt"
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


def judge(
    probe: Probe, folder: ProbeFolder, *, trust: Path | None, token_file: Path | None, log: str | None
) -> ProbeReport:
    """Judge every request of a probe by what the log shows now; evidence is written beside the promise."""
    target = log or probe.log
    sights: dict[str, LogSight] = {}
    report = ProbeReport()
    for sent in probe.sent:
        if sent.status is None or not 200 <= sent.status < 300:
            report.judged.append(Judged(sent, UNANSWERED, text=sent.error or f"status {sent.status}"))
        elif note := folder.kept(sent.number, "promise").decode("utf-8", "replace"):
            report.judged.append(_judge_promise(sent, note, folder, sights, (target, trust, token_file)))
        else:
            report.judged.append(_judge_receipt(sent, target, trust))
    for sight in sights.values():
        keep_checkpoints(folder.path, sight)
        sight.close()
    return report


def _judge_promise(
    sent: Sent,
    note: str,
    folder: ProbeFolder,
    sights: dict[str, LogSight],
    where: tuple[str, Path | None, Path | None],
) -> Judged:
    from auditlog.cli.promise import open_sight
    from auditlog.verify.promise_evidence import format_evidence
    from auditlog.verify.promise_verdict import OwnBytes, check_promise, read_promise

    origin = read_promise(note).origin
    target, trust, token_file = where
    if origin not in sights:
        sights[origin] = open_sight(origin, target, trust, token_file, kept_checkpoints([], folder.path))
    own = None
    if sent.key:
        bodies = [folder.kept(sent.number, kind) for kind in ("request", "response")]
        own = OwnBytes(parse_base64(sent.key, "exchange key"), *bodies)
    report = check_promise(note, sights[origin], now_us=time.time_ns() // 1000, own=own)
    if report.evidence is not None:
        with contextlib.suppress(MalformedError):  # too large for a file; the verdict stands
            folder.keep(sent.number, "evidence", format_evidence(report.evidence))
    verdict = "other bytes" if report.bytes_differ and report.exit_code == 1 else report.verdict.value
    return Judged(sent, verdict, report.cause.value if report.cause else "", report.headline)


def _judge_receipt(sent: Sent, target: str, trust: Path | None) -> Judged:
    """No promise came: a receipt shows that the answer was recorded all the same."""
    from auditlog.cli.promise import believe
    from auditlog.verify.verifier import Verifier

    prefix = f"{target.rstrip('/')}/receipts/"
    if not sent.receipt_url.startswith(prefix):
        return Judged(sent, NO_TRACE, text="neither a promise nor a receipt of this log came with it")
    from auditlog.verify.sources import HttpSource

    try:
        with HttpSource(target) as source:
            data = source.fetch(sent.receipt_url.removeprefix(f"{target.rstrip('/')}/"))
        believed, _ = believe("", target, trust)
    except (SourceError, ConfigurationError) as error:
        return Judged(sent, NO_TRACE, text=f"no promise came, and its receipt is not to be had: {error}")
    report = Verifier(believed).verify(data)
    found = {fact.value for fact in report.facts if fact.name == "id"}
    if report.first_failure is not None or (sent.id and sent.id not in found):
        return Judged(
            sent, NO_TRACE, text=f"no promise came, and its receipt does not hold: {report.headline}"
        )
    return Judged(sent, "receipt", text="recorded, as its receipt shows")
