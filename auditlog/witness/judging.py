"""What becomes of deposited promises: each is looked up at its log once it is due.

Spec: `auditlog/spec/witness.md`, "Drop-box". How a promise is judged is given (`Judge`): a witness stands on
core, and the verifier that judges is put beside it by the command line. Promises: broken only with evidence;
a log that refuses or is down is asked again, ever more seldom, and shown as withheld. Dying anywhere leaves a
promise that is judged again. Must never: let what a log answers stop the witness.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import groupby
from typing import Protocol

from auditlog.errors import AuditLogError
from auditlog.witness.boxstore import WAITING, Deposit
from auditlog.witness.dropbox import DropBox

logger = logging.getLogger("auditlog.witness")

_AT_ONCE = 64
_FIRST_RETRY_S = 30
_LONGEST_RETRY_S = 6 * 3600


class Outcome(StrEnum):
    """What became of a deposit, as it is shown and counted."""

    KEPT = "kept"
    """The promised entry is in the log."""
    BROKEN = "broken"
    DECLARED_LOST = "declared lost"
    NO_PROMISE = "no promise"
    """Its producer never signed it, or the log never had such a producer."""
    WITHHELD = "withheld"
    """The log answered, and did not show what would decide."""
    WAITING = "waiting"
    """Not due yet; the log has a producer of that id."""
    UNREACHABLE = "unreachable"
    EXPIRED = "expired"
    """Nothing decided it in all its time."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """About one promise. `evidence` is a whole file, there if it was broken and the file is not too large."""

    outcome: Outcome
    cause: str = ""
    evidence: bytes | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """About the promises of one log, in their order; and the checkpoints that were seen meanwhile."""

    judgements: list[Judgement]
    seen: list[str] = field(default_factory=list)


class Judge(Protocol):
    """Looks promises up at their log."""

    def judge(self, origin: str, notes: Sequence[str], seen: Sequence[str]) -> Judged:
        """Judge promises of one log; `seen` are its checkpoints kept from before. Raises AuditLogError."""


class Judging:
    """Judges on a thread of its own, from `start` to `stop`."""

    def __init__(self, box: DropBox, judge: Judge, unix_s: Callable[[], int], *, poll_s: float = 5.0) -> None:
        self._box, self._judge, self._unix_s, self._poll_s = box, judge, unix_s, poll_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="auditlog-judging", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """End; a look-up that hangs is left behind: what it would have found is found again."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._poll_s):
            try:
                while self.judge_due() == _AT_ONCE and not self._stopping.is_set():
                    pass
            except Exception:
                logger.exception("judging_failed")

    def judge_due(self) -> int:
        """Judge what is due now, a batch of it; how many that were."""
        due = self._box.store.due(self._unix_s(), _AT_ONCE)
        by_origin = sorted(due, key=lambda each: each.origin)
        for origin, group in groupby(by_origin, key=lambda each: each.origin):
            self._judge_log(origin, list(group))
        return len(due)

    def _judge_log(self, origin: str, deposits: list[Deposit]) -> None:
        store = self._box.store
        try:
            if origin not in self._box.origins:
                raise AuditLogError("expected a log that is asked here, found one no longer configured")
            judged = self._judge.judge(origin, [each.note for each in deposits], store.seen(origin))
        except AuditLogError as error:
            logger.warning("log_not_asked", extra={"log": origin, "error": str(error)})
            judged = Judged([Judgement(Outcome.UNREACHABLE)] * len(deposits))
        store.remember(origin, judged.seen)
        for deposit, judgement in zip(deposits, judged.judgements, strict=True):
            self._settle(deposit, judgement)

    def _settle(self, deposit: Deposit, judgement: Judgement) -> None:
        store, now_s, outcome = self._box.store, self._unix_s(), judgement.outcome
        if outcome in (Outcome.BROKEN, Outcome.DECLARED_LOST):
            most = self._box.limits.evidence_bytes
            store.publish(deposit, outcome, judgement.cause, judgement.evidence, now_s=now_s, most_bytes=most)
            said = {"log": deposit.origin, "promise": deposit.name, "verdict": judgement.cause}
            logger.critical("promise_broken", extra=said)
        elif outcome in (Outcome.KEPT, Outcome.NO_PROMISE):
            store.drop(deposit.name)
        elif outcome is Outcome.WAITING:
            store.when_due(deposit)
        elif now_s >= deposit.until_s:
            outcome = Outcome.EXPIRED
            store.drop(deposit.name)
        else:
            wait_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S << min(deposit.tries, 16))
            # Before it is due nothing is withheld.
            state = outcome if now_s >= deposit.due_s else WAITING
            store.later(deposit.name, state, now_s + wait_s)
        self._box.judged[outcome] = self._box.judged.get(outcome, 0) + 1
