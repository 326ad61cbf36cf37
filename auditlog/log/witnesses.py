"""Witnesses of a log, seen from the log: asked for cosignatures before a checkpoint is published.

Spec: C2SP tlog-witness; `auditlog/spec/log.md`, "Witnesses". All are asked at once, each on a thread of its
own, for a bounded time; what came by then is published. A witness that is down, slow or lies costs its
cosignature and a count, never the publication. A witness that knows another size says so (409) and is asked
once more, with the proof from there. Must never: publish a line that the configured key did not sign over
this very checkpoint. Answers are attacker-controlled.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
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

logger = logging.getLogger("auditlog.log")

FUTURE_S = 300
"""A cosignature dated further ahead of our clock than this is not published: dates decide who was late."""
_LONGEST_REST_S = 60.0
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


class _Refused(AuditLogError):
    """No usable answer; `code` is the outcome that is counted."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class _Member:
    """One witness with what we know of it. Its fields are touched by one ask at a time."""

    def __init__(self, witness: Witness, clock: Clock) -> None:
        self.verifier = witness.verifier
        self.transport = witness.transport
        self._clock = clock
        self.known_size = 0
        """The size it cosigned last, as far as we know."""
        self.asking: Future[str] | None = None
        self._failures = 0
        self._not_before = 0.0

    @property
    def is_resting(self) -> bool:
        """Whether it failed lately, or is still being asked: others are not made to wait for it."""
        is_busy = self.asking is not None and not self.asking.done()
        return is_busy or self._clock.monotonic() < self._not_before

    def ask(self, note: str, size: int, prove: Prove) -> str:
        """Its cosignature line for this checkpoint. Raises _Refused."""
        try:
            line = self._ask_twice(note, size, prove)
        except _Refused:
            self.rest()
            raise
        except Exception as error:
            self.rest()
            raise _Refused("unreachable", str(error)) from error
        self.known_size = size
        return line

    def rest(self) -> None:
        """Leave it alone for a while: twice as long after each failure in a row, the first of them forgiven
        (a restart should not cost a minute).
        """
        self._failures += 1
        rest = min(_LONGEST_REST_S, 2.0 ** min(self._failures - 1, 10))
        self._not_before = self._clock.monotonic() + (rest if self._failures > 1 else 0.0)

    def answered(self) -> None:
        """It cosigned in time."""
        self._failures = 0

    def _ask_twice(self, note: str, size: int, prove: Prove) -> str:
        status, body = self._post(note, size, prove)
        if status == 409:
            self.known_size = _told_size(body)
            if self.known_size > size:
                # It saw a larger tree of this log than we are about to publish.
                raise _Refused(
                    "ahead", f"expected a size up to {size}, found that it cosigned {self.known_size}"
                )
            status, body = self._post(note, size, prove)
        if status != 200:
            raise _Refused("refused", f"expected status 200, found {status}")
        return self._checked(note, body)

    def _post(self, note: str, size: int, prove: Prove) -> tuple[int, bytes]:
        old = min(self.known_size, size)
        proof = tuple(prove(old, size)) if 0 < old < size else ()
        return self.transport.ask(format_add_checkpoint(AddCheckpoint(old, proof, note)))

    def _checked(self, note: str, body: bytes) -> str:
        """The one line of its key, verified over the text of the note."""
        text = split_note(note)[0].encode("utf-8")
        try:
            lines = parse_cosignatures(body)
        except MalformedError as error:
            raise _Refused("lied", str(error)) from error
        for line in lines:
            if (line.name, line.key_id) == (self.verifier.name, self.verifier.key_id):
                if not self.verifier.verify(text, line.blob):
                    raise _Refused("lied", "expected its signature over this checkpoint, found another")
                self._check_time(line)
                return format_signature(line)
        raise _Refused("lied", "expected a signature by its key, found others")

    def _check_time(self, line: Signature) -> None:
        time_s = int.from_bytes(line.blob[:_TIME_BYTES], "big")
        now_s = self._clock.unix_us() // 1_000_000
        if not 0 < time_s <= now_s + FUTURE_S:
            raise _Refused("odd_time", f"expected a time up to {now_s + FUTURE_S}, found {time_s}")


class Witnesses:
    """The witnesses of one log, in the order of its settings. `gather` is called by one thread at a time."""

    def __init__(
        self,
        witnesses: Sequence[Witness],
        clock: Clock,
        *,
        timeout_s: float = 2.0,
        refresh_s: float = 300.0,
    ) -> None:
        """`timeout_s` bounds each gathering; `refresh_s` is how old the cosignatures of a quiet log get."""
        self._members = [_Member(each, clock) for each in witnesses]
        self._timeout_s = timeout_s
        self.refresh_s = refresh_s
        self.retry_s = max(1.0, timeout_s)
        """After this the witnesses that are missing are asked again about the same checkpoint."""
        self._threads = ThreadPoolExecutor(len(self._members) + 1, thread_name_prefix="auditlog-witness")
        self._counting = threading.Lock()
        self.counts: Counter[tuple[str, str]] = Counter()
        """Asks by (key name of the witness, outcome), since the start."""

    def __len__(self) -> int:
        return len(self._members)

    def run(self, step: Callable[[], object]) -> None:
        """Run a step that gathers on a thread of ours: no thread of the engine waits for a witness."""
        try:
            self._threads.submit(_guarded, step)
        except RuntimeError:
            return  # closed: the last publication is made by whoever closes the log

    def remember(self, note: str, size: int) -> dict[str, str]:
        """Take the cosignatures out of a published note of ours: what each witness knew by then."""
        found: dict[str, str] = {}
        text, signatures = split_note(note)
        for member in self._members:
            for line in signatures:
                mine = (line.name, line.key_id) == (member.verifier.name, member.verifier.key_id)
                if mine and member.verifier.verify(text.encode("utf-8"), line.blob):
                    found[member.verifier.vkey] = format_signature(line)
                    member.known_size = size
        return found

    def gather(self, note: str, size: int, prove: Prove, known: dict[str, str]) -> dict[str, str]:
        """Cosignature lines for a checkpoint by vkey: those `known` already, replaced by newer ones.

        Returns after the time-out at the latest, with what came.
        """
        asked: dict[Future[str], _Member] = {}
        for member in self._members:
            if member.is_resting:
                self._count(member, "not_asked")
                continue
            member.asking = self._threads.submit(member.ask, note, size, prove)
            asked[member.asking] = member
        done, late = wait(asked, self._timeout_s)
        for future in late:
            asked[future].rest()
            self._count(asked[future], "late")
        lines = dict(known)
        for future in done:
            member, name = asked[future], asked[future].verifier.name
            try:
                lines[member.verifier.vkey] = future.result()
                member.answered()
                self._count(member, "cosigned")
            except _Refused as refusal:
                self._count(member, refusal.outcome)
                level = logging.ERROR if refusal.outcome in {"ahead", "lied"} else logging.WARNING
                logger.log(level, "witness %s gave no cosignature: %s", name, refusal)
        return lines

    def is_complete(self, lines: Iterable[str]) -> bool:
        """Whether every witness is among these vkeys."""
        return {member.verifier.vkey for member in self._members} <= set(lines)

    def attach(self, note: str, lines: dict[str, str]) -> str:
        """The note with the lines below it, in the order of the settings."""
        return note + "".join(
            lines[member.verifier.vkey] for member in self._members if member.verifier.vkey in lines
        )

    def close(self) -> None:
        """Let go of the threads and connections; asks under way end by their own time-out."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for member in self._members:
            member.transport.close()

    def _count(self, member: _Member, outcome: str) -> None:
        with self._counting:
            self.counts[member.verifier.name, outcome] += 1


def _told_size(body: bytes) -> int:
    try:
        return parse_tree_size(body)
    except MalformedError as error:
        raise _Refused("lied", str(error)) from error


def _guarded(step: Callable[[], object]) -> None:
    """A step that fails for a reason nobody foresaw must be seen: the executor would swallow it."""
    try:
        step()
    except Exception:
        logger.exception("a publication failed")
