"""Judges the promises of a witness's drop-box: the verifier, put beside a witness that stands on core alone.

Spec: auditlog/spec/witness.md, "Drop-box"; auditlog/spec/promise.md, "Verdicts". What a log shows is
attacker-controlled. Promises: broken only with evidence that anyone can check with the trust file that was
judged by; a log that is slow is given up within its time. Must never: take a log's silence for a proof.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from auditlog.errors import ConfigurationError, EvidenceError, MalformedError, SourceError
from auditlog.witness.judging import Judged, Judgement, Outcome

if TYPE_CHECKING:
    from auditlog.core.trust import Trust
    from auditlog.verify.promise_report import PromiseReport
    from auditlog.verify.promise_sources import Lookup, View
    from auditlog.verify.promise_view import LogSight
    from auditlog.witness.followed import FollowedLog

LOG_BUDGET_S = 60.0
"""Seconds for all that is read of one log for a batch of promises."""
LOOKUP_BUDGET_S = 30.0
"""Seconds for all that is asked of it: each log has its turn on one thread."""
_TIMEOUT_S = 15.0


class PromiseJudge:
    """Looks promises up at their logs; used by one thread."""

    def __init__(
        self,
        logs: Sequence[FollowedLog],
        trust_of: Callable[[FollowedLog], Trust],
        newest: Callable[[str], str | None],
        now_us: Callable[[], int],
    ) -> None:
        """`newest` is the checkpoint that the witness itself cosigned last, by origin."""
        self._logs = {log.origin: log for log in logs}
        self._trust_of, self._newest, self._now_us = trust_of, newest, now_us

    def judge(self, origin: str, notes: Sequence[str], seen: Sequence[str]) -> Judged:
        """See `Judge.judge`."""
        from auditlog.verify.promise_view import LogSight
        from auditlog.verify.sources import open_source

        log, mine = self._logs[origin], self._newest(origin)
        kept = [*seen, *([mine] if mine is not None else [])]
        source = open_source(log.url, None, budget_s=LOG_BUDGET_S)
        lookup = BudgetedLookup(_http_lookup(log.url), budget_s=LOOKUP_BUDGET_S, timeout_s=_TIMEOUT_S)
        sight = LogSight(self._trust_of(log), origin, source, lookup=lookup, kept=kept)
        try:
            judgements = [self._one(note, sight) for note in notes]
        finally:
            sight.close()
        return Judged(judgements, list(sight.seen))

    def _one(self, note: str, sight: LogSight) -> Judgement:
        from auditlog.verify.promise_report import Verdict
        from auditlog.verify.promise_verdict import check_promise

        try:
            report = check_promise(note, sight, now_us=self._now_us())
        except MalformedError:
            return Judgement(Outcome.NO_PROMISE)
        if report.verdict is Verdict.BROKEN or report.verdict is Verdict.DECLARED_LOST:
            return _convicted(report)
        if report.verdict is Verdict.IN_LOG:
            return Judgement(Outcome.KEPT)
        if report.verdict is Verdict.NO_PROMISE or _names_nobody(note, sight):
            return Judgement(Outcome.NO_PROMISE)
        if report.verdict is Verdict.NOT_YET_DUE and (sight.public is not None or _shows_producer(report)):
            return Judgement(Outcome.WAITING)
        reached = report.verdict is Verdict.WITHHELD or sight.public is not None
        return Judgement(Outcome.WITHHELD if reached else Outcome.UNREACHABLE)


class BudgetedLookup:
    """A look-up with a time for each answer, whole, and for all of them; once either is over it is given up.

    A time-out of the client is one of each read, which a trickle never meets.
    """

    def __init__(
        self,
        lookup: Lookup,
        *,
        budget_s: float,
        timeout_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lookup, self._left_s, self._timeout_s = lookup, budget_s, timeout_s
        self._monotonic = monotonic

    def look_up(self, note: str) -> View:
        """Ask; raises as `Lookup`, and `SourceError` at once after it was given up."""
        if self._left_s <= 0:
            raise SourceError(
                "expected an answer within its time, found the log too slow", reason="unreachable"
            )
        answers: SimpleQueue[View | Exception] = SimpleQueue()
        began = self._monotonic()
        Thread(target=self._ask, args=(note, answers), name="auditlog-look-up", daemon=True).start()
        try:
            answer = answers.get(timeout=min(self._timeout_s, self._left_s))
        except Empty:
            self._left_s = 0.0
            raise SourceError("expected an answer in time, found none", reason="unreachable") from None
        self._left_s -= self._monotonic() - began
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _ask(self, note: str, answers: SimpleQueue[View | Exception]) -> None:
        try:
            answers.put(self._lookup.look_up(note))
        except Exception as error:  # noqa: BLE001  the boundary of the thread: raised again by `look_up`
            answers.put(error)


def _http_lookup(url: str) -> Lookup:
    from auditlog.verify.promise_sources import HttpLookup

    return HttpLookup(url, timeout_s=_TIMEOUT_S)


def _convicted(report: PromiseReport) -> Judgement:
    from auditlog.verify.promise_evidence import format_evidence
    from auditlog.verify.promise_report import Verdict

    outcome = Outcome.BROKEN if report.verdict is Verdict.BROKEN else Outcome.DECLARED_LOST
    cause = "" if report.cause is None else report.cause.value
    try:
        evidence = None if report.evidence is None else format_evidence(report.evidence)
    except MalformedError:  # more leaf hashes than a file holds: the tiles themselves are the evidence
        evidence = None
    return Judgement(outcome, cause, evidence)


def _shows_producer(report: PromiseReport) -> bool:
    from auditlog.verify.promise_report import PROMISE_STEPS
    from auditlog.verify.report import Outcome as Checked

    return report.steps[PROMISE_STEPS.index("producer")].outcome is Checked.PASSED


def _names_nobody(note: str, sight: LogSight) -> bool:
    """Whether the tree that the log shows has no entry with the producer's id: then nobody promised.

    The id is the leaf hash of the enrolment, and hash tiles of most logs are public: this keeps inventions
    from standing as withheld.
    """
    from auditlog.verify.promise_sources import find_leaves
    from auditlog.verify.promise_verdict import read_promise

    if sight.public is None:
        return False
    identity = bytes.fromhex(read_promise(note).producer)
    try:
        return not find_leaves(sight.tree(sight.public), [identity], sight.progress)
    except (SourceError, EvidenceError):
        return False


def own_trust(log: FollowedLog, witness_vkey: str) -> Trust:
    """Trust in the log's key alone, so that nothing is dated: no promise is found late, or absent.

    Not even by this witness. While it is away an honest log goes on without it, and a stranger who then has
    it cosign an old checkpoint again would have it convict that log.

    Raises:
        ConfigurationError: a log that no policy can name.
    """
    from auditlog.core import canonical
    from auditlog.core.trust import parse_trust

    policy = f"log {log.keys[0].vkey}\nquorum none\n"
    issuer = {"name": witness_vkey.partition("+")[0], "role": "self"}
    value = {"v": "auditlog/trust@v1", "policy": policy, "issuer": issuer, "require": []}
    try:
        return parse_trust(canonical.encode(value))
    except MalformedError as error:
        raise ConfigurationError(f"{log.origin}: expected a log for a trust file: {error}") from error
