"""One witness, seen from the log: how it is asked, what its answers are worth, when it is left alone.

Spec: C2SP tlog-witness; `auditlog/spec/log.md`, "Witnesses". A witness that knows another size says so (409)
and is asked once more, with the proof from there; one that says 409 again has failed. After failures in a row
it is left alone, longer each time. Must never: pass on a line that the configured key did not sign over this
very checkpoint, or one with a date at which the witness cannot have signed it. Answers are
attacker-controlled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from auditlog.core.cosignature import CosignatureVerifier
from auditlog.core.note import Signature, format_signature, split_note
from auditlog.core.witnessing import (
    AddCheckpoint,
    format_add_checkpoint,
    parse_cosignatures,
    parse_tree_size,
)
from auditlog.errors import AuditLogError, MalformedError
from auditlog.log.clock import Clock

FUTURE_S = 300
"""A cosignature dated further ahead of our clock than this is not published, nor one that is dated so much
before the witness could have seen the checkpoint: dates decide who was late.
"""
LONGEST_REST_S = 60.0
_TIME_BYTES = 8

Prove = Callable[[int, int], list[bytes]]
"""(old size, new size) -> consistency proof."""


class WitnessTransport(Protocol):
    """How one witness is reached."""

    def ask(self, body: bytes) -> tuple[int, bytes]:
        """Post an `add-checkpoint` request; HTTP status and body of the answer, both bounded.

        Raises:
            AuditLogError: nobody answered in time.
        """

    def close(self) -> None:
        """Let go of its connections."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One configured witness: its key, and how to reach it."""

    verifier: CosignatureVerifier
    transport: WitnessTransport


@dataclass(frozen=True, slots=True)
class WitnessStanding:
    """What we know of one witness, for metrics and for people."""

    name: str
    """Its key name."""
    known_size: int
    """The size it cosigned last, as far as we know."""
    latency_s: float | None
    """How long its last cosignature took; None before the first since the start."""
    failures: int
    """Asks in a row that gave no cosignature."""


class Refused(AuditLogError):
    """No usable answer; `outcome` is what is counted."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Asking:
    """A question that is under way, or answered and not taken yet."""

    text: str
    """The checkpoint that it is about."""
    answer: Future[str]


class Member:
    """One witness with what we know of it. Its fields are touched by one ask at a time."""

    def __init__(self, witness: Witness, clock: Clock, longest_rest_s: float = LONGEST_REST_S) -> None:
        self.verifier = witness.verifier
        self.transport = witness.transport
        self._clock = clock
        self._longest_rest_s = longest_rest_s
        self.known_size = 0
        self.asking: Asking | None = None
        self._failures = 0
        self._not_before = 0.0
        self._latency_s: float | None = None

    @property
    def vkey(self) -> str:
        """Its key."""
        return self.verifier.vkey

    @property
    def is_resting(self) -> bool:
        """Whether it failed lately, or is still being asked: others are not made to wait for it."""
        is_busy = self.asking is not None and not self.asking.answer.done()
        return is_busy or self._clock.monotonic() < self._not_before

    @property
    def standing(self) -> WitnessStanding:
        """What we know of it."""
        return WitnessStanding(self.verifier.name, self.known_size, self._latency_s, self._failures)

    def ask(self, note: str, size: int, prove: Prove, since_s: int) -> str:
        """Its cosignature line for this checkpoint, which nobody outside knew before the Unix second
        `since_s`. Raises Refused.
        """
        began = self._clock.monotonic()
        try:
            line = self._ask_twice(note, size, prove, since_s)
        except Refused:
            self.rest()
            raise
        except Exception as error:
            self.rest()
            raise Refused("unreachable", str(error)) from error
        self.known_size = size
        self._latency_s = self._clock.monotonic() - began
        return line

    def rest(self) -> None:
        """Leave it alone for a while: twice as long after each failure in a row, the first of them forgiven
        (a restart should not cost a minute).
        """
        self._failures += 1
        rest = min(self._longest_rest_s, 2.0 ** min(self._failures - 1, 10))
        self._not_before = self._clock.monotonic() + (rest if self._failures > 1 else 0.0)

    def answered(self) -> None:
        """It cosigned: what it failed before is forgiven."""
        self._failures = 0
        self._not_before = 0.0

    def own_line(self, text: str, lines: Sequence[Signature], since_s: int) -> str | None:
        """Its own line among those of a note, verified, and dated as an answer would have to be."""
        for line in lines:
            if not self._is_mine(line) or not self.verifier.verify(text.encode("utf-8"), line.blob):
                continue
            if self._is_dated(line, since_s):
                return format_signature(line)
        return None

    def _ask_twice(self, note: str, size: int, prove: Prove, since_s: int) -> str:
        status, body = self._post(note, size, prove)
        if status == 409:
            self.known_size = self._told_size(body, size)
            if self.known_size > size:
                # It saw a larger tree of this log than we are about to publish.
                raise Refused(
                    "ahead", f"expected a size up to {size}, found that it cosigned {self.known_size}"
                )
            status, body = self._post(note, size, prove)
        if status == 422:
            raise Refused("inconsistent", f"expected status 200, found 422 from size {self.known_size}")
        if status != 200:
            raise Refused("refused", f"expected status 200, found {status}")
        return self._checked(note, body, since_s)

    def _told_size(self, body: bytes, size: int) -> int:
        try:
            return parse_tree_size(body)
        except MalformedError as error:
            if self.known_size >= size:
                # tlog-witness before July 2026 (C2SP pull request 280): another root at an equal size.
                raise Refused("inconsistent", f"expected status 200, found 409 at size {size}") from error
            raise Refused("lied", str(error)) from error

    def _post(self, note: str, size: int, prove: Prove) -> tuple[int, bytes]:
        old = min(self.known_size, size)
        proof = tuple(prove(old, size)) if 0 < old < size else ()
        return self.transport.ask(format_add_checkpoint(AddCheckpoint(old, proof, note)))

    def _checked(self, note: str, body: bytes, since_s: int) -> str:
        """The one line of its key, verified over the text of the note."""
        text = split_note(note)[0].encode("utf-8")
        try:
            lines = parse_cosignatures(body)
        except MalformedError as error:
            raise Refused("lied", str(error)) from error
        for line in lines:
            if self._is_mine(line):
                if not self.verifier.verify(text, line.blob):
                    raise Refused("lied", "expected its signature over this checkpoint, found another")
                self._check_time(line, since_s)
                return format_signature(line)
        raise Refused("lied", "expected a signature by its key, found others")

    def _is_mine(self, line: Signature) -> bool:
        return (line.name, line.key_id) == (self.verifier.name, self.verifier.key_id)

    def _check_time(self, line: Signature, since_s: int) -> None:
        if not self._is_dated(line, since_s):
            first, last = self._dates(since_s)
            raise Refused("odd_time", f"expected a time from {first} to {last}, found {_time_s(line)}")

    def _is_dated(self, line: Signature, since_s: int) -> bool:
        first, last = self._dates(since_s)
        return first <= _time_s(line) <= last

    def _dates(self, since_s: int) -> tuple[int, int]:
        """First and last Unix second that can be true, by clocks that differ by `FUTURE_S`."""
        return max(1, since_s - FUTURE_S), self._clock.unix_us() // 1_000_000 + FUTURE_S


def _time_s(line: Signature) -> int:
    return int.from_bytes(line.blob[:_TIME_BYTES], "big")
