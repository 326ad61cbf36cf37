"""One producer's chain, sealed as fast as Python goes: a decision is written once and then filled in.

Spec: auditlog/spec/entry.md, "Chains". The first entry of its kind goes through `core.entry`, which checks
its form; those after it differ in fixed places only. What it writes is real, of made-up calls: it stays in
the log for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from auditlog.core.batch import encode_batch
from auditlog.core.entry import Entry, encode_entry, format_time
from auditlog.core.head import Head, sign_head
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import root_hash
from auditlog.core.note import sign_note
from auditlog.core.statements import instance_text, producer_key_name, producer_text

_SEQ = 9_007_199_254_740_991
_ID = "00000000-0000-7fff-8fff-ffffffffffff"
_TIME, _START = "1999-01-01T00:00:00.000001Z", "1999-01-01T00:00:00.000002Z"
_PREV = "f0" * 32


@dataclass(frozen=True, slots=True)
class Sealed:
    """One batch: its bytes, and what is needed to find its entries again."""

    body: bytes
    first_seq: int
    leaf_hashes: bytes
    """32 bytes an entry."""
    unix_ms: int


class Chain:
    """A producer of one log. One thread."""

    def __init__(self, origin: str, name: str, seed: bytes, instance: str) -> None:
        self.origin, self.name, self.instance = origin, name, instance
        self.signer = Ed25519Signer.from_seed(producer_key_name(origin, name), seed)
        self.note = sign_note(producer_text(origin, name), [self.signer])
        self.id = ""
        self._seq = 0
        self._prev = ""
        self._pieces: tuple[bytes, ...] = ()

    def enrolled(self, producer: str) -> None:
        """Begin with the id the log gave."""
        self.id = self._prev = producer
        self._pieces = self._template()

    def decision_id(self, unix_ms: int, seq: int) -> str:
        """The id of the decision with that number: it needs not be kept."""
        mark = self.instance[:6]
        return f"{unix_ms >> 16:08x}-{unix_ms & 0xFFFF:04x}-7{mark[:3]}-8{mark[3:]}-{seq:012x}"

    def seal(self, count: int, unix_us: int) -> Sealed:
        """The next `count` entries with their head, sealed at that time."""
        first, unix_ms = self._seq, unix_us // 1000
        time, start = format_time(unix_us).encode(), format_time(unix_ms * 1000).encode()
        opening, then, behind, end = self._pieces
        then, end = then.replace(_START.encode(), start), end.replace(_TIME.encode(), time)
        entries: list[bytes] = []
        hashes: list[bytes] = []
        for seq in range(first, first + count):
            if seq == 0:
                entry = self._start(time.decode())
            else:
                key = self.decision_id(unix_ms, seq).encode()
                entry = b"".join((opening, key, then, self._prev.encode(), behind, str(seq).encode(), end))
            leaf_hash = sha256(b"\x00" + entry).digest()
            self._prev = leaf_hash.hex()
            entries.append(entry)
            hashes.append(leaf_hash)
        self._seq = first + count
        head = Head(
            origin=self.origin,
            producer=self.id,
            instance=self.instance,
            first_seq=first,
            seq=self._seq - 1,
            leaf_hash=hashes[-1],
            root=root_hash(hashes),
        )
        body = encode_batch(sign_head(head, self.signer), entries)
        return Sealed(body, first, b"".join(hashes), unix_ms)

    def _start(self, time: str) -> bytes:
        note = sign_note(instance_text(self.origin, self.id, self.instance, self._prev), [self.signer])
        return self._entry("instance", {"note": note, "software": "auditlog hammer"}, time, self._prev, 0)

    def _entry(self, kind: str, body: dict[str, object], time: str, prev: str, seq: int) -> bytes:
        return encode_entry(
            Entry(
                kind=kind,
                origin=self.origin,
                producer=self.id,
                instance=self.instance,
                seq=seq,
                prev=prev,
                time=time,
                body=body,
            )
        )

    def _template(self) -> tuple[bytes, ...]:
        """A decision cut at what changes: id, start, prev, number, time."""
        whole = self._entry("decision", _DECISION, format_time(0), _PREV, _SEQ)
        whole = whole.replace(f'"time":"{format_time(0)}"'.encode(), f'"time":"{_TIME}"'.encode())
        whole = whole.replace(f'"start":"{format_time(0)}"'.encode(), f'"start":"{_START}"'.encode())
        opening, rest = whole.split(_ID.encode())
        then, rest = rest.split(_PREV.encode())
        behind, end = rest.split(str(_SEQ).encode())
        return opening, then, behind, end


_COMMITMENT = {"commitment": "ab" * 32, "fields": {"root": "cd" * 32, "size": 12, "form": "json"}}
_DECISION: dict[str, object] = {
    "id": _ID,
    "operation": "chat",
    "capture": "asgi",
    "method": "POST",
    "route": "/v1/chat/completions",
    "status": 200,
    "mode": "fail_open",
    "start": format_time(0),
    "duration_us": 1234,
    "ended": "ok",
    "model": "unregistered",
    "sampling": {"temperature": "0.2", "max_tokens": "64", "top_p": "0.95"},
    "request": _COMMITMENT,
    "response": _COMMITMENT,
    "values": "kept",
}
