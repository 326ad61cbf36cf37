"""Producers that send one batch after the other, each with one in flight, as real hosts do.

A refusal that says "again" (503) is counted and sent again as it was: what a log acknowledges late is
acknowledged. Must never: count anything but a 200 as acknowledged.
"""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable

from auditlog.core.batch import BATCH_MEDIA_TYPE
from auditlog.errors import SourceError, SubmissionRefused
from auditlog.hammer.book import Acknowledged, Book
from auditlog.hammer.chain import Chain, Sealed
from auditlog.hammer.link import Link, read_object

_PAUSE_S = 0.25


def enrol(link: Link, chain: Chain) -> bytes:
    """Enrol a chain; the key of its receipt capabilities. Raises SourceError, SubmissionRefused."""
    wanted = {"name": chain.name, "vkey": chain.signer.vkey, "note": chain.note}
    status, body = link.post("/producers", json.dumps(wanted).encode(), "application/json")
    if status in {401, 403}:
        raise SubmissionRefused(
            f"enrolment: expected a token with the scopes enrol and submit, found {status}"
        )
    answer = read_object("/producers", status, body)
    producer, key = answer.get("producer"), answer.get("receipt_key")
    if type(producer) is not str or len(producer) != 64 or type(key) is not str:
        raise SourceError(
            "enrolment: expected a producer and its key, found something else", reason="refused"
        )
    chain.enrolled(producer)
    return base64.b64decode(key)


class Producer:
    """One chain on one thread, until `stop` is set."""

    def __init__(
        self,
        link: Link,
        chain: Chain,
        book: Book,
        *,
        batch: int,
        stop: threading.Event,
        unix_us: Callable[[], int],
    ) -> None:
        self._link, self._chain, self._book = link, chain, book
        self._batch, self._stop, self._unix_us = batch, stop, unix_us
        self.gave_up: str | None = None
        """Why it ended before its time."""

    def run(self) -> None:
        """Send until told to stop, or until the log refuses for good."""
        try:
            while not self._stop.is_set():
                self._send(self._chain.seal(self._batch, self._unix_us()))
        except SubmissionRefused as refusal:
            self.gave_up = str(refusal)
        finally:
            self._link.close()

    def _send(self, sealed: Sealed) -> None:
        """One batch, again and again until it is in. Raises SubmissionRefused: it never will be."""
        posted_s = time.monotonic()
        while True:
            try:
                status, body = self._link.post("/batches", sealed.body, BATCH_MEDIA_TYPE)
            except SourceError:
                status, body = 0, b""
            if status == 200:
                break
            self._book.count(f"answers_{status}" if status else "answers_missing")
            if 0 < status < 500:
                raise SubmissionRefused(f"batch: expected 200, found {status}: {body[:200]!r}")
            if self._stop.wait(self._link.retry_after_s or _PAUSE_S):
                return  # not acknowledged: nobody claims that it is in
        self._acknowledged(sealed, body, posted_s)

    def _acknowledged(self, sealed: Sealed, body: bytes, posted_s: float) -> None:
        answer = read_object("/batches", 200, body)
        first, count, skipped = (answer.get(name) for name in ("first_index", "count", "skipped"))
        entries = len(sealed.leaf_hashes) // 32
        if type(count) is not int or type(skipped) is not int or count + skipped != entries:
            self._book.violate(
                f"a batch of {entries} entries was acknowledged as {count} new, {skipped} known"
            )
            return
        if type(first) is not int or (skipped and count):
            self._book.count(
                "batches_without_place"
            )  # its head was in before: where, the answer does not say
            return
        batch = Acknowledged(self._chain, sealed, first, posted_s)
        self._book.acknowledge(batch, time.monotonic())
