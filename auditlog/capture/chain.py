"""The producer's chain inside one process life: numbers, previous hashes and sealing (entry.md, "Producer
chain").

    enrolment <- instance(seq 0) <- entry(seq 1) <- ...            one process life
                                       ^- instance(seq 0) <- ...   the next one

Promises: under one lock, every number is used once, each `prev` is the leaf hash of the entry before it, and
an entry too large or malformed uses no number. Must never: touch disk or clock; durability is the spool's.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import msgspec

from auditlog.capture.quick_entry import encode_quickly
from auditlog.core.entry import MAX_ENTRY_BYTES, Entry, encode_entry, format_time
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Signer, sign_note
from auditlog.core.statements import instance_text

_QUICK_KIND = "decision"
"""The kind that is written often; its first entry of a life comes after one that the core has checked."""
NO_INSTANCE = "0" * 32
"""Stands for "no entry yet" where a tip needs an instance."""


@dataclass(frozen=True, slots=True)
class Tip:
    """The last entry of a chain: instance in hex, number, leaf hash (32 bytes), time in Unix microseconds."""

    instance: str
    seq: int
    leaf_hash: bytes
    time_us: int

    @property
    def is_empty(self) -> bool:
        """Whether the chain has no entry yet; `leaf_hash` is then the enrolment's."""
        return self.instance == NO_INSTANCE


class Sealed(msgspec.Struct, frozen=True):
    """An entry with its number, exactly as it goes into the log."""

    instance: str
    seq: int
    entry: bytes
    leaf_hash: bytes
    time_us: int


def empty_tip(enrolment_leaf_hash: bytes) -> Tip:
    """The tip of a producer that has written nothing."""
    return Tip(NO_INSTANCE, 0, enrolment_leaf_hash, 0)


class Chain:
    """Gives numbers to one instance's entries. Any thread may seal; one lock orders them."""

    def __init__(self, *, origin: str, producer: str, instance: str, tip: Tip) -> None:
        """Continue after `tip`: the last entry of this instance, or of the one before (then seq 0
        is next).
        """
        self._lock = threading.Lock()
        self._origin = origin
        self._producer = producer
        self.instance = instance
        self._next_seq = tip.seq + 1 if tip.instance == instance else 0
        self._prev = tip.leaf_hash.hex()

    @property
    def next_seq(self) -> int:
        """The number the next entry gets."""
        return self._next_seq

    @property
    def prev(self) -> str:
        """The leaf hash, in hex, that the next entry names as its `prev`."""
        return self._prev

    def seal(self, kind: str, body: dict[str, Any], time_us: int) -> Sealed:
        """Write the entry for `body` as the next of the chain, sealed at `time_us`.

        Raises:
            TooLargeError: the entry would be over 65,535 bytes; no number is used.
            MalformedError: the body has no canonical form; no number is used.
        """
        with self._lock:
            seq = self._next_seq
            content = self._encode(kind, body, format_time(time_us))
            leaf_hash = hash_leaf(content)
            self._next_seq += 1
            self._prev = leaf_hash.hex()
            return Sealed(self.instance, seq, content, leaf_hash, time_us)

    def _encode(self, kind: str, body: dict[str, Any], time: str) -> bytes:
        if kind == _QUICK_KIND:
            content = encode_quickly(
                kind, self._origin, self._producer, self.instance,
                seq=self._next_seq, prev=self._prev, time=time, body=body,
            )  # fmt: skip
            if content is not None and len(content) <= MAX_ENTRY_BYTES:
                return content
        return encode_entry(
            Entry(
                kind=kind,
                origin=self._origin,
                producer=self._producer,
                instance=self.instance,
                seq=self._next_seq,
                prev=self._prev,
                time=time,
                body=body,
            )
        )

    def seal_instance(self, signer: Ed25519Signer, software: str, time_us: int) -> Sealed:
        """Write the `instance` entry, number 0: the producer's signature over this start and its `prev`."""
        text = instance_text(self._origin, self._producer, self.instance, self._prev)
        return self.seal("instance", {"note": sign_note(text, [signer]), "software": software}, time_us)
