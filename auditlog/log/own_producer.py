"""A producer in the service itself: entries of its own chain, written straight into the log.

Spec: `auditlog/spec/entry.md`, "Chains". It has a key of its own and is enrolled and admitted like every
producer, but keeps no spool: where its chain ends, the log says, and nothing is told to anyone before its
commit. Entries are handed to the pool one after the other without waiting for commits; if one fails, all
behind it fail with it, and the next begins from what the log holds. Must never: number an entry from memory
after a failure.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from auditlog.core.entry import Entry, encode_entry, format_time
from auditlog.core.head import Head, sign_head
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.core.statements import instance_text, producer_text
from auditlog.errors import Pushback
from auditlog.log.admission import Accepted, Batch
from auditlog.log.clock import Clock
from auditlog.log.log import Log

_PATIENCE_S = 30.0


class OwnProducer:
    """One producer of this process. Safe to use from any thread."""

    def __init__(
        self,
        log: Log,
        signer: Ed25519Signer,
        name: str,
        *,
        software: str,
        rng: Callable[[int], bytes],
        clock: Clock,
    ) -> None:
        """`signer` is named `<origin>/producer/<name>`; it is enrolled when it first writes."""
        self._log = log
        self._signer = signer
        self._name = name
        self._software = software
        self._rng = rng
        self._clock = clock
        self._lock = threading.Lock()
        self._producer = ""
        self._instance = ""
        self._next_seq = 0
        self._prev = ""
        self._is_stale = True
        """Whether the place of the next entry must be read from the log first."""
        self._flying: set[Future[Accepted]] = set()

    def write(
        self, kind: str, body: dict[str, Any], before: Callable[[bytes], None]
    ) -> tuple[bytes, Future[Accepted]]:
        """Seal the next entry and hand it to the log: its leaf hash, and the future of its commit.

        `before(leaf_hash)` is called when the entry is sealed and before the log sees it: what must not be
        missing once the entry is there is made durable then. If it raises, no number is used.

        Raises:
            AuditLogError: as `Log.enrol` and `Log.submit`; nothing was accepted.
        """
        with self._lock:
            if self._is_stale:
                self._find_place()
            place = (self._next_seq, self._prev)
            try:
                entries = [] if self._next_seq else [self._seal("instance", self._start())]
                entries.append(self._seal(kind, body))
                before(hash_leaf(entries[-1]))
                future = self._log.submit(self._batch(entries))
            except BaseException:
                self._next_seq, self._prev = place
                self._is_stale = True
                raise
            self._flying.add(future)
        future.add_done_callback(self._landed)
        return hash_leaf(entries[-1]), future

    def _find_place(self) -> None:
        """Ask the log where the chain ends. What was handed over and not decided yet is waited for."""
        if wait(list(self._flying), _PATIENCE_S).not_done:
            raise Pushback("expected earlier entries to be decided by now, found some waiting")
        self._flying.clear()
        note = sign_note(producer_text(self._log.origin, self._name), [self._signer])
        enrolled = self._log.enrol(self._name, self._signer.vkey, note)
        try:
            producer = enrolled.result(_PATIENCE_S).producer
        except TimeoutError:
            raise Pushback("expected the enrolment to be decided by now, found it waiting") from None
        self._producer = producer.hex()
        head = self._log.head(producer)
        if head is not None and head.instance == self._instance:
            self._next_seq = head.seq + 1
        else:
            self._instance, self._next_seq = self._rng(16).hex(), 0
        self._prev = producer.hex() if head is None else head.leaf_hash.hex()
        self._is_stale = False

    def _start(self) -> dict[str, Any]:
        text = instance_text(self._log.origin, self._producer, self._instance, self._prev)
        return {"note": sign_note(text, [self._signer]), "software": self._software}

    def _seal(self, kind: str, body: dict[str, Any]) -> bytes:
        entry = encode_entry(
            Entry(
                kind=kind,
                origin=self._log.origin,
                producer=self._producer,
                instance=self._instance,
                seq=self._next_seq,
                prev=self._prev,
                time=format_time(self._clock.unix_us()),
                body=body,
            )
        )
        self._next_seq += 1
        self._prev = hash_leaf(entry).hex()
        return entry

    def _batch(self, entries: list[bytes]) -> Batch:
        leaf_hashes = [hash_leaf(entry) for entry in entries]
        head = Head(
            origin=self._log.origin,
            producer=self._producer,
            instance=self._instance,
            first_seq=self._next_seq - len(entries),
            seq=self._next_seq - 1,
            leaf_hash=leaf_hashes[-1],
            root=root_hash(leaf_hashes),
        )
        return Batch(sign_head(head, self._signer), entries)

    def _landed(self, future: Future[Accepted]) -> None:
        # On a thread of the engine, which `write` may be waiting for: no lock is taken here.
        if future.exception() is not None:
            self._is_stale = True
        else:
            self._flying.discard(future)
