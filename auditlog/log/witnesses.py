"""The witnesses of a log, seen from the log: asked for cosignatures before a checkpoint is published.

Spec: C2SP tlog-witness, tlog-policy; `auditlog/spec/log.md`, "Witnesses". All are asked at once, each on a
thread of its own, until all have answered or, after the quorum is there, for a short while longer; in any
case for a bounded time. An answer that comes later is taken if the same checkpoint is gathered for again. A
witness that is down, slow or lies costs its cosignature and a count; whether a checkpoint without a quorum is
published is for `cosigning` to say. Must never: keep the publisher beyond the bound.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait

from auditlog.core.note import split_note
from auditlog.core.policy import Policy, parse_policy
from auditlog.log.clock import Clock
from auditlog.log.witness_member import (
    FUTURE_S,
    LONGEST_REST_S,
    Asking,
    Member,
    Prove,
    Refused,
    Witness,
    WitnessStanding,
    WitnessTransport,
)
from auditlog.log.witness_threads import WitnessThreads

__all__ = ["FUTURE_S", "Prove", "Witness", "WitnessStanding", "WitnessTransport", "Witnesses"]

logger = logging.getLogger("auditlog.log")

GRACE_S = 0.25
"""Once a quorum has answered the others are waited for so much longer: more than the quorum is better."""
HELD_REST_S = 10.0
"""Nothing is published until a quorum answers: then nobody is left alone for longer than this."""
_ALARMING = frozenset({"ahead", "inconsistent", "lied"})


class Witnesses:
    """The witnesses of one log, in the order of its settings. `gather` is called by one thread at a time."""

    def __init__(
        self,
        witnesses: Sequence[Witness],
        clock: Clock,
        *,
        policy: Policy | None = None,
        hold: bool = False,
        timeout_s: float = 2.0,
        refresh_s: float = 300.0,
        threads: WitnessThreads | None = None,
    ) -> None:
        """`policy` says which cosignatures are a quorum (None: `quorum none`); with `hold` nothing without
        one is published. `timeout_s` bounds each gathering; `refresh_s` is how old the cosignatures of a
        quiet log get. `threads` are shared with other logs; None: this log has its own.
        """
        self.policy = policy or parse_policy("quorum none\n")
        self.must_hold = hold and self.policy.quorum is not None
        rest_s = HELD_REST_S if self.must_hold else LONGEST_REST_S
        self._members = [Member(each, clock, rest_s) for each in witnesses]
        self._names = {each.verifier.vkey: each.name for each in self.policy.witnesses}
        self._clock = clock
        self._timeout_s = timeout_s
        self.refresh_s = refresh_s
        self.retry_s = max(1.0, timeout_s)
        """After this the witnesses that are missing are asked again about the same checkpoint."""
        self._threads = threads or WitnessThreads(gatherers=1, askers=max(1, len(self._members)))
        self._are_own = threads is None
        self._is_closed = False
        self._first_asked: tuple[str, int] = ("", 0)
        """The checkpoint asked about last, and the Unix second in which that began: it was committed by then,
        and no witness had seen it before.
        """
        self._counting = threading.Lock()
        self.counts: Counter[tuple[str, str]] = Counter()
        """Asks by (key name of the witness, outcome), since the start."""

    def __len__(self) -> int:
        return len(self._members)

    def run(self, step: Callable[[], object]) -> None:
        """Run a step that gathers on a thread for that: no thread of the engine waits for a witness."""
        self._threads.gather(lambda: self._guarded(step))

    def _guarded(self, step: Callable[[], object]) -> None:
        """A step that fails for a reason nobody foresaw must be seen: the executor would swallow it."""
        if self._is_closed:
            return  # the last publication is made by whoever closes the log
        try:
            step()
        except Exception:
            logger.exception("a publication failed")

    def standings(self) -> list[WitnessStanding]:
        """What we know of each."""
        return [member.standing for member in self._members]

    def recognise(self, note: str, since_s: int) -> dict[str, str]:
        """The cosignature lines in a note of ours, verified, by vkey; none that is dated before the Unix
        second `since_s` (by more than clocks differ) or in the future.
        """
        text, signatures = split_note(note)
        found = {member.vkey: member.own_line(text, signatures, since_s) for member in self._members}
        return {vkey: line for vkey, line in found.items() if line is not None}

    def remember(self, note: str, size: int, since_s: int) -> dict[str, str]:
        """As `recognise`, of the published note: its witnesses know that size at least."""
        lines = self.recognise(note, since_s)
        for member in self._members:
            if member.vkey in lines:
                member.known_size = size
        return lines

    def gather(
        self, note: str, size: int, prove: Prove, known: dict[str, str], *, missing_only: bool = False
    ) -> dict[str, str]:
        """Cosignature lines for a checkpoint by vkey: those `known` already, replaced by newer ones; with
        `missing_only` nobody is asked whose line is known.

        Returns after the time-out (or, with a quorum, `GRACE_S` after it) at the latest, with what came.
        """
        lines, text = dict(known), split_note(note)[0]
        since_s = self._asked_since(text)
        asked: list[Member] = []
        for member in self._members:
            self._take(member, text, lines)
            if missing_only and member.vkey in lines:
                continue
            if member.is_resting:
                self._count(member, "not_asked")
                continue
            answer = self._threads.ask(member.ask, note, size, prove, since_s)
            member.asking = Asking(text, answer)
            asked.append(member)
        self._await([each.asking for each in asked if each.asking], asked, lines)
        reached = self.is_quorum(self._with_answers(asked, lines))
        for member in asked:
            if not self._take(member, text, lines):
                if reached:
                    self._count(member, "not_awaited")
                else:
                    member.rest()
                    self._count(member, "late")
        return lines

    def _asked_since(self, text: str) -> int:
        """When this checkpoint was asked about for the first time in this life, in Unix seconds."""
        if self._first_asked[0] != text:
            self._first_asked = (text, self._clock.unix_us() // 1_000_000)
        return self._first_asked[1]

    def _await(self, asking: list[Asking], asked: list[Member], lines: dict[str, str]) -> None:
        """Wait until all have answered or a quorum has, then a little for the rest of them."""
        answers = [each.answer for each in asking]
        came = threading.Condition()

        def tell(_: Future[str]) -> None:
            with came:
                came.notify_all()

        for answer in answers:
            answer.add_done_callback(tell)

        def is_enough() -> bool:
            return all(each.done() for each in answers) or self.is_quorum(self._with_answers(asked, lines))

        with came:
            enough = came.wait_for(is_enough, self._timeout_s)
        if enough:
            wait(answers, min(GRACE_S, self._timeout_s))

    def _with_answers(self, asked: list[Member], lines: dict[str, str]) -> set[str]:
        """The vkeys whose lines are there, or lie in an answer that nobody has taken yet."""
        good = {
            member.vkey for member in asked if member.asking is not None and _is_good(member.asking.answer)
        }
        return good | set(lines)

    def _take(self, member: Member, text: str, lines: dict[str, str]) -> bool:
        """Take the answer of a witness, if there is one; False while it is being asked."""
        if member.asking is None:
            return True
        if not member.asking.answer.done():
            return False
        asking, member.asking = member.asking, None
        if asking.answer.cancelled():
            return True  # closed meanwhile
        try:
            line = asking.answer.result()
        except Refused as refusal:
            self._count(member, refusal.outcome)
            level = logging.ERROR if refusal.outcome in _ALARMING else logging.WARNING
            logger.log(level, "witness %s gave no cosignature: %s", member.verifier.name, refusal)
            return True
        member.answered()
        self._count(member, "cosigned")
        if asking.text == text:
            lines[member.vkey] = line
        return True

    def is_awaited(self, note: str) -> bool:
        """Whether an answer about this checkpoint is still to come, or to be taken."""
        text = split_note(note)[0]
        return any(each.asking is not None and each.asking.text == text for each in self._members)

    def could_be_quorum(self, lines: Iterable[str]) -> bool:
        """Whether those who are not left alone, with the lines (vkeys) that are there, are a quorum."""
        awake = {each.vkey for each in self._members if not each.is_resting}
        return self.is_quorum(awake | set(lines))

    def is_quorum(self, lines: Iterable[str]) -> bool:
        """Whether the witnesses with these vkeys are a quorum; never for `quorum none`."""
        return self.policy.is_quorum({self._names[vkey] for vkey in lines if vkey in self._names})

    def is_complete(self, lines: Iterable[str]) -> bool:
        """Whether every witness is among these vkeys."""
        return {member.vkey for member in self._members} <= set(lines)

    def attach(self, note: str, lines: dict[str, str]) -> str:
        """The note with the lines below it, in the order of the settings."""
        return note + "".join(lines[member.vkey] for member in self._members if member.vkey in lines)

    def close(self) -> None:
        """Let go of the threads and connections; asks under way end by their own time-out."""
        self._is_closed = True
        if self._are_own:
            self._threads.close()
        for member in self._members:
            member.transport.close()

    def _count(self, member: Member, outcome: str) -> None:
        with self._counting:
            self.counts[member.verifier.name, outcome] += 1


def _is_good(answer: Future[str]) -> bool:
    return answer.done() and not answer.cancelled() and answer.exception() is None
