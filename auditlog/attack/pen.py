"""Writing into a log as its operator: entries of the log's own and of one host, each following the last.

Spec: auditlog/spec/entry.md. The host is one that the suite enrols, so every copy of a log has a writer whose
life is known from its first entry. Honest unless told otherwise: every argument that could be a lie is one
that a caller gives. The clock is a number of seconds that callers move. Must never: read a clock.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from typing import Any, Final

from auditlog.attack.forging import log_files
from auditlog.attack.twin import Armed, read_entry, suite_key
from auditlog.core.anchor import log_id
from auditlog.core.checkpoint import Checkpoint
from auditlog.core.commitment import commit_body
from auditlog.core.entry import LOG_WRITER, Entry, encode_entry, format_time, parse_time
from auditlog.core.head import Head, sign_head
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, prove_inclusion, root_hash
from auditlog.core.promise import Promise, sign_promise
from auditlog.core.receipt import ReceiptHead
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text, rotation_text

HOST: Final = "attacked-host"
INTERVAL_S: Final = 10
"""Seconds between two heartbeats of the host."""
MERGE_S: Final = 5
"""From a promise to its merge-by."""
_COUNTS: Final = ("failed", "in_flight", "refused", "deferred", "lost", "late_hangups")


@dataclass(frozen=True, slots=True)
class Answered:
    """What a caller of the host holds: its promise, and the bytes and the key of the exchange."""

    index: int
    promise: str
    exchange_key: bytes
    request: bytes
    response: bytes
    head: ReceiptHead
    """Over its host's life up to it."""


@dataclass
class Host:
    """One host of the suite's: its key, its life, its newest number."""

    name: str
    key: Ed25519Signer
    identity: str
    prev: str
    instance: str = ""
    seq: int = -1
    lives: int = 0
    started: int = 0
    hashes: list[bytes] = field(default_factory=list)
    """Leaf hashes of this life, by number."""


class Pen:
    """Everything that is in the log, and whoever writes next. `fork` gives another history to go on with."""

    def __init__(self, armed: Armed) -> None:
        """Go on where the copy ends."""
        self.origin, self.signer = armed.origin, armed.signer
        self.producers = dict(armed.producers)
        self.entries = list(armed.entries)
        self._answers = 0
        self.now_s, self._log_seq, self._log_prev = self._resume()
        self.host = self.enrol(HOST)

    def _resume(self) -> tuple[float, int, str]:
        newest_us, seq, prev = 0, -1, "0" * 64
        for data in self.entries:
            entry = read_entry(data)
            if entry is None:
                continue
            newest_us = max(newest_us, parse_time(entry.time))
            if entry.by_log:
                seq, prev = entry.seq, hash_leaf(data).hex()
        return newest_us // 1_000_000 + 1, seq, prev

    def stand_on(self, entries: list[bytes]) -> None:
        """Go on from other entries, as whoever writes the log's own."""
        self.entries = list(entries)
        _, self._log_seq, self._log_prev = self._resume()

    def fork(self) -> Pen:
        """The same log again, to be gone on with in another way."""
        other = copy.copy(self)
        other.entries, other.producers = list(self.entries), dict(self.producers)
        other.host = replace(self.host, hashes=list(self.host.hashes))
        return other

    @property
    def time(self) -> str:
        """The clock as entries spell it."""
        return format_time(int(self.now_s * 1_000_000))

    def leaves(self, size: int | None = None) -> list[bytes]:
        """Leaf hashes."""
        return [hash_leaf(entry) for entry in self.entries[:size]]

    def tree(self) -> Checkpoint:
        """Size and root."""
        return Checkpoint(self.origin, len(self.entries), root_hash(self.leaves()))

    def files(self) -> dict[str, bytes]:
        """What the log would publish, under its own signature alone."""
        return log_files(self.entries, self.origin, self.signer)

    def append(self, entry: Entry) -> str:
        """Any entry at all; returns its leaf hash."""
        data = encode_entry(entry)
        self.entries.append(data)
        return hash_leaf(data).hex()

    def write_log(self, kind: str, body: dict[str, Any]) -> str:
        """An entry of the log's own; returns its leaf hash."""
        self._log_seq += 1
        entry = Entry(
            kind=kind, origin=self.origin, producer=LOG_WRITER, instance=LOG_WRITER, seq=self._log_seq,
            prev=self._log_prev, time=self.time, body=body,
        )  # fmt: skip
        self._log_prev = self.append(entry)
        return self._log_prev

    def write(self, kind: str, body: dict[str, Any], **lies: Any) -> str:
        """The host's next entry, with members of the envelope as told; returns its leaf hash."""
        host = self.host
        entry = Entry(
            kind=kind, origin=self.origin, producer=host.identity, instance=host.instance, seq=host.seq + 1,
            prev=host.prev, time=self.time, body=body,
        )  # fmt: skip
        leaf_hash = self.append(replace(entry, **lies))
        host.seq, host.prev = int(lies.get("seq", host.seq + 1)), leaf_hash
        host.hashes.append(bytes.fromhex(leaf_hash))
        return leaf_hash

    def enrol(self, name: str, *, signed_by: Ed25519Signer | None = None) -> Host:
        """The log enrols a host of this name; its note may be signed by another key than its own."""
        key = suite_key(producer_key_name(self.origin, name))
        note = sign_one(producer_text(self.origin, name), signed_by or key)
        identity = self.write_log("producer", {"name": name, "vkey": key.vkey, "note": note})
        self.producers[identity] = key
        return Host(name, key, identity, identity)

    def start(self, *, signed_by: Ed25519Signer | None = None) -> None:
        """A process life of the host begins."""
        host = self.host
        host.lives += 1
        host.instance = hash_leaf(f"{host.name} {host.lives}".encode()).hex()[:32]
        host.seq, host.hashes, host.started = -1, [], 0
        text = instance_text(self.origin, host.identity, host.instance, host.prev)
        self.write("instance", {"note": sign_one(text, signed_by or host.key), "software": "attack suite"})

    def rotate(self) -> Ed25519Signer:
        """The host changes its key; returns the old one."""
        host, old = self.host, self.host.key
        host.key = suite_key(old.name, f"after number {host.seq}")
        text = rotation_text(self.origin, host.identity, host.key.vkey)
        body = {"vkey": host.key.vkey, "notes": [sign_one(text, old), sign_one(text, host.key)]}
        self.write("rotation", body)
        self.producers[host.identity] = host.key
        return old

    def cover(self) -> None:
        """The host says what it captures."""
        route = {"method": "POST", "path": "/decide", "record": "values", "operation": "predict"}
        self.write(
            "coverage",
            {
                "mode": "fail_open", "durability": "local", "routes": [route], "ports": [8000], "workers": 1,
                "version": "suite", "model": "unregistered", "wait_ms": 20, "heartbeat_s": INTERVAL_S,
                "others": "record",
            },
        )  # fmt: skip

    def model(self, root: str) -> None:
        """The host says which model answers."""
        fingerprint = {"method": "files-sha256@v1", "root": root, "files": 1}
        self.write("model", {"name": "scorer", "fingerprint": fingerprint})

    def decide(self, answer: str = "", *, recorded: str | None = None, **lies: Any) -> Answered:
        """A call is answered, sealed and promised; `recorded` is what the entry says was answered instead."""
        self._answers += 1
        number = self._answers
        key = hash_leaf(b"exchange %d" % number)
        request = b'{"q":%d}' % number
        response = (answer or f'{{"a":{number}}}').encode()
        sealed = response if recorded is None else recorded.encode()
        said = {
            "request": commit_body(key, "request", request),
            "response": commit_body(key, "response", response),
        }
        body = self._decision(number, said["request"], commit_body(key, "response", sealed))
        leaf_hash = self.write("decision", body, **lies)
        self.host.started += 1
        promise = Promise(
            origin=self.origin,
            producer=self.host.identity,
            instance=self.host.instance,
            seq=self.host.seq,
            leaf_hash=bytes.fromhex(leaf_hash),
            model="unregistered",
            time=self.time,
            merge_by=format_time(int((self.now_s + MERGE_S) * 1_000_000)),
            **said,
        )
        note = sign_promise(promise, self.host.key)
        head = ReceiptHead(
            sign_head(self.head(), self.host.key),
            tuple(prove_inclusion(self.host.hashes, len(self.host.hashes) - 1)),
        )
        return Answered(len(self.entries) - 1, note, key, request, response, head)

    def _decision(self, number: int, request: bytes, response: bytes) -> dict[str, Any]:
        millis = f"{int(self.now_s * 1000):012x}"
        return {
            "id": f"{millis[:8]}-{millis[8:]}-7000-8000-{number:012x}",
            "operation": "predict",
            "capture": "asgi",
            "mode": "fail_open",
            "start": self.time,
            "duration_us": 1000,
            "ended": "ok",
            "status": 200,
            "model": "unregistered",
            "request": {"commitment": request.hex()},
            "response": {"commitment": response.hex()},
        }

    def beat(self, seconds: float = INTERVAL_S, *, head: Head | None = None, **lies: Any) -> None:
        """A heartbeat, so many seconds later, with a head over the life so far."""
        self.now_s += seconds
        started = self.host.started
        counts = dict.fromkeys(_COUNTS, 0) | {"started": started, "finished": started, "recorded": started}
        spool = {"entries": 0, "bytes": 0, "oldest_ms": 0}
        note = sign_head(head or self.head(), self.host.key)
        self.write("heartbeat", {"interval_s": INTERVAL_S, **counts, "spool": spool, "head": note} | lies)

    def head(self, **lies: Any) -> Head:
        """The head over all of the host's life."""
        host = self.host
        head = Head(
            origin=self.origin, producer=host.identity, instance=host.instance, first_seq=0,
            seq=len(host.hashes) - 1,
            leaf_hash=host.hashes[-1], root=root_hash(host.hashes),
        )  # fmt: skip
        return replace(head, **lies)

    def anchor(self, size: int, **lies: Any) -> None:
        """The log says that its tree of that size was anchored."""
        self.write_anchor(size, root_hash(self.leaves(size)).hex(), **lies)

    def write_anchor(self, size: int, root: str, **lies: Any) -> None:
        """The log says that this root was anchored."""
        body = {
            "type": "devnet@v0",
            "chain_id": 31337,
            "contract": "0x" + "ab" * 20,
            "log_id": log_id(self.origin).hex(),
            "size": size,
            "root": root,
            "tx": "0x" + "cd" * 32,
            "block_number": 7,
            "block_hash": "0x" + "ef" * 32,
            "block_time": self.time,
        }
        self.write_log("anchor", body | lies)

    def retire(self) -> None:
        """The host takes its leave for good."""
        host = self.host
        last = {"instance": host.instance, "seq": host.seq, "leaf_hash": host.prev}
        self.write("retirement", {"last": last})
