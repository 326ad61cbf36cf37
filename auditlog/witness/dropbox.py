"""The promise drop-box: anyone deposits promises, nobody is asked who they are.

Spec: `auditlog/spec/witness.md`, "Drop-box". Kept of a deposit is the note alone, which holds no personal
data, until it is judged or its time is over: never an address, never the time it came. Bounded in number,
bytes and age; rates live in memory. Deposits are attacker-controlled: whether a producer made one is known
only once its log was asked (`auditlog.witness.judging`). Must never: show one as broken without evidence.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from auditlog.core.note import split_note
from auditlog.core.promise import Promise, parse_promise_text
from auditlog.core.scalars import parse_time
from auditlog.core.signed import check_one
from auditlog.errors import EvidenceError
from auditlog.witness.boxstore import BoxStore, Deposit, promise_id
from auditlog.witness.errors import DepositRefused
from auditlog.witness.metrics import Sample
from auditlog.witness.rates import Rates

MAX_NOTE_BYTES = 4 << 10
"""Of one promise: eleven lines and a signature; as large as a log's own look-up takes."""
_SIGNATURE_BYTES = 64
_MAX_NAME = 64
"""Characters of a producer's name: a note has no other text of a stranger's choice."""
_FIRST_LOOK_S = 3600
"""After this a promise that is due later is looked up, to see whether there is such a producer: long enough
for the entry that enrolled it to be published.
"""
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class BoxLimits:
    """How much a box takes."""

    count: int = 100_000
    """Promises that wait."""
    bytes: int = 128 << 20
    """Of promises that wait."""
    evidence_bytes: int = 1 << 30
    """Of evidence published; what comes after is listed without a file."""
    keep_days: int = 90
    """A promise that nothing decides is dropped this long after it was due, or came."""
    ahead_days: int = 7
    """A promise due later than this is not taken."""
    per_peer_hour: int = 120
    per_hour: int = 20_000


class DropBox:
    """One box. Safe to use from any thread."""

    def __init__(
        self,
        store: BoxStore,
        origins: Mapping[str, str],
        limits: BoxLimits,
        *,
        unix_s: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`origins` are the logs whose promises are taken, with where they are asked."""
        self.store, self.limits, self.origins = store, limits, dict(origins)
        self._unix_s = unix_s
        self._room = (limits.count, limits.bytes)
        self._rates = Rates(limits.per_peer_hour, limits.per_hour, monotonic)
        self.judged: dict[str, int] = {}
        """Judgements by outcome, since the start; written by the one thread that judges."""

    def deposit(self, body: bytes, peer: str) -> dict[str, Any]:
        """Take a promise: its id, its state, and whether it is new here.

        Raises:
            DepositRefused: it is none, too many came, or there is no room. StorageError.
        """
        wait = self._rates.take(peer)
        if wait:
            raise DepositRefused(429, "expected fewer deposits", retry_after_s=wait)
        note, promise = _read(body)
        if promise.origin not in self.origins:
            raise DepositRefused(404, "expected a promise about a log that is asked here, found another log")
        due_s, now_s = -(-parse_time(promise.merge_by) // 1_000_000), self._unix_s()
        if due_s > now_s + self.limits.ahead_days * 86_400:
            raise DepositRefused(400, f"expected merge-by within {self.limits.ahead_days} days, found later")
        name = promise_id(note)
        known = self.store.state(name)
        if known is not None:
            return {"promise": name, "state": known, "is_new": False}
        until_s = max(due_s, now_s) + self.limits.keep_days * 86_400
        kept = Deposit(name, promise.origin, note, due_s, until_s)
        # What fills the share of one log leaves that of the others free.
        most, most_bytes = (max(1, all_ // len(self.origins)) for all_ in self._room)
        first_s = now_s + _FIRST_LOOK_S
        if not self.store.keep(kept, most=most, most_bytes=most_bytes, first_s=first_s):
            raise DepositRefused(503, "expected room in the box, found it full", retry_after_s=3600)
        return {"promise": name, "state": "waiting", "is_new": True}

    def state(self, name: str) -> str | None:
        """What is known of a promise by its id: attacker-controlled."""
        return self.store.state(name) if _ID.fullmatch(name) else None

    def broken(self) -> list[dict[str, Any]]:
        """The promises that were broken, newest first."""
        return self.store.broken()

    def evidence(self, name: str) -> bytes | None:
        """The evidence file of a promise that was broken."""
        return self.store.evidence(name) if _ID.fullmatch(name) else None

    def withheld(self) -> dict[str, Any]:
        """The promises that are due and that their log did not decide, and what that means."""
        return {"means": _MEANING, "withheld": self.store.undecided()}

    def samples(self) -> dict[str, list[Sample]]:
        """Its metrics."""
        counts = self.store.counts()
        return {
            "promises": [((("state", state),), count) for state, count in sorted(counts.items())],
            "promises_bytes": [((), self.store.waiting_bytes() + self.store.evidence_bytes())],
            "promises_judged_total": [
                ((("outcome", outcome),), count) for outcome, count in sorted(self.judged.items())
            ],
        }


_MEANING = (
    "The log did not show what would decide. Anyone can deposit what looks like a promise, so this proves "
    "nothing against the log: its own answer to whoever holds the promise decides."
)


def _read(body: bytes) -> tuple[str, Promise]:
    """The note and what it says."""
    try:
        note = body.decode("utf-8")
        promise = parse_promise_text(check_one(note))
        (line,) = split_note(note)[1]
    except (UnicodeDecodeError, EvidenceError) as error:
        raise DepositRefused(400, f"expected one promise note, found another text: {error}") from error
    prefix = f"{promise.origin}/producer/"
    if not line.name.startswith(prefix) or len(line.blob) != _SIGNATURE_BYTES:
        raise DepositRefused(400, "expected a signature by a producer of that log, found another")
    if len(line.name) - len(prefix) > _MAX_NAME:
        raise DepositRefused(400, f"expected a producer's name of at most {_MAX_NAME} characters")
    return note, promise
