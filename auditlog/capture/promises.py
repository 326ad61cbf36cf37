"""Making promises: the producer's word that this entry will be in the log by a stated time (spec/promise.md).

A promise is made only of an entry that is durable, and only while it can be kept: not before enrolment, not
before the log has answered in this life, not while it refuses us or contradicts our chain, not while the
oldest entry that it has not acknowledged is older than half the time promised, and not while this host's
clock is behind. So an honest host never breaks one. It is a function of the entry and the
settings, so it can be made again in a later life. Must never: be made of what is not durable yet.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from auditlog.capture.clocks import HostClock
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.frames import Record
from auditlog.core.entry import Entry, format_time, parse_entry
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf
from auditlog.core.promise import PROMISE_HEADER
from auditlog.errors import AuditLogError

DECISION = "decision"
LEAST_SLACK_US = 5_000_000
"""The log's clock is known to the second and to one round trip: a smaller lag is no lag."""


class PromiseMaker:
    """Signs promises of one producer. The signer is the key in force; a rotation replaces it."""

    def __init__(
        self,
        enrolment: Enrolment,
        signer: Ed25519Signer,
        *,
        merge_by_s: int,
        is_in_step: Callable[[], bool] = lambda: True,
    ) -> None:
        """Promise `merge_by_s`, or the log's own longest delay where that is longer. `is_in_step` says
        whether the log, as last heard, takes what it is sent (`Sender.is_in_step`).
        """
        self.signer = signer
        self.is_in_step = is_in_step
        self._merge_by_s = merge_by_s
        self.merge_by_us = merge_by_s * 1_000_000
        self.is_ready = False
        """Whether the log's longest delay is known: an enrolment by version 0.1 does not say it."""
        if enrolment.max_merge_delay_s is not None:
            self.learn_delay(enrolment.max_merge_delay_s)
        self._head = f"{PROMISE_HEADER}\n{enrolment.origin}\n{enrolment.producer}\n"

    def learn_delay(self, delay_s: int) -> None:
        """The log may take so long to show an entry. Any thread may say so."""
        self.merge_by_us = max(self._merge_by_s, delay_s) * 1_000_000
        self.is_ready = True

    def sign(self, record: Record, leaf_hash: bytes, body: dict[str, Any]) -> str:
        """The signed note for a durable `decision` entry with this body (core.promise has the form)."""
        # Written here and not by `core.promise`, which reads back what it wrote: the members are our own, and
        # this is on the way of every answer. A test holds both to the same bytes.
        text = (
            f"{self._head}{record.instance}\n{record.seq}\n{_base64(leaf_hash)}\n{body['model']}\n"
            f"{_base64(bytes.fromhex(body['request']['commitment']))}\n"
            f"{_base64(bytes.fromhex(body['response']['commitment']))}\n"
            f"{format_time(record.time_us)}\n{format_time(record.time_us + self.merge_by_us)}\n"
        )
        return f"{text}\n{self.signer.sign(text)}"

    def sign_again(self, record: Record) -> tuple[str, str] | None:
        """Decision id and promise for a sealed record; None if it is no decision of ours, or one that may
        have got none: its entry says only where values are kept that the request was seen whole.
        """
        try:
            entry: Entry = parse_entry(record.payload)
            body = entry.body
            if entry.kind != DECISION or body["values"] != "kept" or body["capture"] == "in_process":
                return None
            return str(entry.body["id"]), self.sign(record, hash_leaf(record.payload), entry.body)
        except (AuditLogError, KeyError, TypeError, ValueError):
            return None


def may_promise(maker: PromiseMaker, clock: HostClock, *, time_us: int, oldest_us: int | None) -> bool:
    """Whether an entry sealed at `time_us` may be promised, where the log may lack entries since `oldest_us`.

    Half of the time promised must be left for what waits before it; a quarter for a clock that is behind.
    """
    if not maker.is_ready or not maker.is_in_step() or clock.is_doubtful:
        return False
    latest_us = clock.latest_us()
    if latest_us - time_us > max(maker.merge_by_us // 4, LEAST_SLACK_US):
        return False
    return oldest_us is None or latest_us - oldest_us <= maker.merge_by_us // 2


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode("ascii")


Posted = Callable[[str, str], None]
"""Takes a decision id and its promise, to be shown at the log."""
