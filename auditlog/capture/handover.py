"""Handing one batch to the log until it is acknowledged: by a 200, or, after a 202, by the log's own head.

Spec: api.md, "Batches" and "Several processes". A 202 promises nothing: the log's newest entry of ours is
asked for until it is the last one of the batch; after a while the same bytes are sent again, which is
harmless. A head that is neither where it was nor at the end of our batch is a conflict like any other. Used
by the sender's thread only. Must never: take a 202 for an acknowledgement, or ask without a pause between.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from auditlog.capture.client import LogClient
from auditlog.capture.enrolment import Enrolment
from auditlog.capture.frames import Record
from auditlog.core.batch import encode_batch
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer
from auditlog.errors import ChainConflictError, NotYetCommitted

ASK_S = 0.25
FIRST_RESEND_S = 5.0
LONGEST_RESEND_S = 30.0


@dataclass(slots=True)
class _Accepted:
    """A batch that the log accepted, and where its head was then."""

    count: int
    leaf_hash: bytes
    head: bytes
    resend_s: float
    resend_at: float


class Handover:
    """Submits batches of one chain, one at a time."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._accepted: _Accepted | None = None

    @property
    def lasts(self) -> bool:
        """Whether a batch was accepted so long ago that it was sent again: nobody seems to commit."""
        return self._accepted is not None and self._accepted.resend_s > FIRST_RESEND_S

    @property
    def waits(self) -> bool:
        """Whether a batch was accepted and is not acknowledged yet."""
        return self._accepted is not None

    def held(self, batch: list[Record]) -> list[Record]:
        """The batch that was accepted, if `batch` begins with it (it may be longer by now); else `batch`."""
        accepted = self._accepted
        if accepted is None or len(batch) < accepted.count:
            return batch
        is_ours = hash_leaf(batch[accepted.count - 1].payload) == accepted.leaf_hash
        return batch[: accepted.count] if is_ours else batch

    def submit(
        self, client: LogClient, producer: str, batch: list[Record], encode: Callable[[], bytes]
    ) -> None:
        """Send the batch, or ask for the head if it was accepted; returning means that it is acknowledged.

        Raises:
            NotYetCommitted: accepted; call again with the same batch after `ASK_S`.
            ChainConflictError, and what else `LogClient.submit` and `head` raise.
        """
        last, accepted = hash_leaf(batch[-1].payload), self._accepted
        if accepted is None or accepted.leaf_hash != last:
            accepted = self._accepted = None
        if accepted is not None and self._is_reached(client, producer, accepted):
            self._accepted = None
            return
        now = self._monotonic()
        if accepted is not None and now < accepted.resend_at:
            raise NotYetCommitted("batch: expected its commit, found the log's head where it was")
        try:
            client.submit(encode(), len(batch))
        except NotYetCommitted:
            wait_s = FIRST_RESEND_S if accepted is None else min(2 * accepted.resend_s, LONGEST_RESEND_S)
            head = client.head(producer).leaf_hash if accepted is None else accepted.head
            self._accepted = _Accepted(len(batch), last, head, wait_s, now + wait_s)
            raise
        self._accepted = None

    def _is_reached(self, client: LogClient, producer: str, accepted: _Accepted) -> bool:
        found = client.head(producer).leaf_hash
        if found not in {accepted.leaf_hash, accepted.head}:
            self._accepted = None
            raise ChainConflictError(
                "head: expected the end of the batch that was accepted, or what it follows, found another",
                expected={"leaf_hash": found.hex()},
                found={"leaf_hash": accepted.leaf_hash.hex()},
            )
        return found == accepted.leaf_hash


def signed_head(enrolment: Enrolment, signer: Ed25519Signer, batch: list[Record]) -> str:
    """The head that speaks for exactly these entries."""
    leaf_hashes = [hash_leaf(record.payload) for record in batch]
    head = Head(
        origin=enrolment.origin,
        producer=enrolment.producer,
        instance=batch[0].instance,
        first_seq=batch[0].seq,
        seq=batch[-1].seq,
        leaf_hash=leaf_hashes[-1],
        root=root_hash(leaf_hashes),
    )
    return sign_head(head, signer)


def framed(head: str, batch: list[Record]) -> bytes:
    """What is posted."""
    return encode_batch(head, [record.payload for record in batch])
