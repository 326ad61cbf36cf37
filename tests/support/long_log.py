"""A log of any length in a folder, quickly: honest hosts that count, cover and beat, with few signatures.

Decisions are written from a template, everything else by the code of core; memory does not grow with the
log. Two runs give the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from auditlog.core.checkpoint import Checkpoint, sign_checkpoint
from auditlog.core.entry import ZERO_HASH_HEX, Entry, encode_entry, format_time
from auditlog.core.head import Head, sign_head
from auditlog.core.integrate import RightEdge
from auditlog.core.keys import Ed25519Signer
from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text
from auditlog.core.tiles import TILE_WIDTH, TilePath, encode_bundle
from tests.support.tlog_writer import ORIGIN, log_signer

START_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
STEP_US = 1000
BATCH = 64
"""Entries of one producer that stand side by side."""
BEAT_EVERY = 8
"""Batches between two heartbeats of a producer: 2 s at four producers, where 10 s are stated."""
CHUNK = 64 * TILE_WIDTH

_DECISION = (
    '{"body":{"capture":"asgi","duration_us":1834,"ended":"ok","facts":{"commitment":"%s"},"id":'
    '"%s-7000-8000-%012x","mode":"fail_open","model":"%s","operation":"predict","request":{"commitment":'
    '"%s","fields":{"form":"json-fields@v1","root":"%s","size":3}},"response":{"commitment":"%s"},'
    '"route":"POST /decide","start":"%s","status":200},"instance":"%s","kind":"decision","origin":"%s",'
    '"prev":"%s","producer":"%s","seq":%d,"time":"%s","v":1}'
)


class LongLog:
    """The writer of one log."""

    def __init__(self, producers: int = 4) -> None:
        self._number = 0
        self._log_seq, self._log_prev = -1, ZERO_HASH_HEX
        self._hosts = [_Host(self, f"gpu-{number}") for number in range(producers)]

    def time(self) -> str:
        """That of the next entry."""
        return format_time(START_US + self._number * STEP_US)

    def log_entry(self, kind: str, body: dict[str, object]) -> bytes:
        """One by the log itself."""
        self._log_seq += 1
        data = self.entry(kind, body, ("log", "log"), self._log_seq, self._log_prev)
        self._log_prev = hash_leaf(data).hex()
        return data

    def entry(self, kind: str, body: dict[str, object], who: tuple[str, str], seq: int, prev: str) -> bytes:
        """Any entry."""
        made = Entry(
            kind=kind,
            origin=ORIGIN,
            producer=who[0],
            instance=who[1],
            seq=seq,
            prev=prev,
            time=self.time(),
            body=body,
        )
        self._number += 1
        return encode_entry(made)

    def entries(self) -> Iterator[bytes]:
        """All of them, without end."""
        body = {"vkeys": [log_signer().vkey], "visibility": "hashes", "max_merge_delay_s": 60}
        yield self.log_entry("genesis", body | {"contact": "audit@log.example"})
        for host in self._hosts:
            yield from host.begin()
        while True:
            for host in self._hosts:
                for _ in range(BATCH):
                    self._number += 1
                    yield host.decide(self.time(), self._number)
                yield from host.beat()


class _Host:
    """One producer in its first life."""

    def __init__(self, log: LongLog, name: str) -> None:
        self._log, self._name = log, name
        seed = name.encode().ljust(32, b"\3")
        self._key = Ed25519Signer.from_seed(producer_key_name(ORIGIN, name), seed)
        self._id, self._instance = "", hashlib.sha256(seed).hexdigest()[:32]
        self._seq, self._prev, self._decisions, self._batches = -1, "", 0, 0
        self._since_head: list[bytes] = []

    def begin(self) -> Iterator[bytes]:
        note = sign_one(producer_text(ORIGIN, self._name), self._key)
        data = self._log.log_entry("producer", {"name": self._name, "vkey": self._key.vkey, "note": note})
        self._id = self._prev = hash_leaf(data).hex()
        yield data
        text = instance_text(ORIGIN, self._id, self._instance, self._prev)
        yield self._write("instance", {"note": sign_one(text, self._key), "software": "test"})
        route = {"method": "POST", "path": "/decide", "record": "values", "operation": "predict"}
        yield self._write(
            "coverage",
            {
                "mode": "fail_open", "durability": "local", "routes": [route], "ports": [8000], "workers": 1,
                "version": "test", "model": "unregistered", "wait_ms": 20, "heartbeat_s": 10,
                "others": "record",
            },
        )  # fmt: skip

    def _write(self, kind: str, body: dict[str, object]) -> bytes:
        data = self._log.entry(kind, body, (self._id, self._instance), self._seq + 1, self._prev)
        self._follow(data)
        return data

    def _follow(self, data: bytes) -> None:
        leaf_hash = hash_leaf(data)
        self._seq, self._prev = self._seq + 1, leaf_hash.hex()
        self._since_head.append(leaf_hash)

    def decide(self, time: str, number: int) -> bytes:
        one, two, three = (f"{number:08x}{word}" for word in ("ab" * 28, "cd" * 28, "ef" * 28))
        text = _DECISION % (
            one, f"{number:012x}"[:8] + "-" + f"{number:012x}"[8:], number, "12" * 32, two, three, one, time,
            self._instance, ORIGIN, self._prev, self._id, self._seq + 1, time,
        )  # fmt: skip
        data = text.encode()
        self._decisions += 1
        self._follow(data)
        return data

    def beat(self) -> Iterator[bytes]:
        self._batches += 1
        if self._batches % BEAT_EVERY:
            return
        hashes, first = self._since_head, self._seq - len(self._since_head) + 1
        head = Head(
            ORIGIN, self._id, self._instance, first_seq=first, seq=self._seq, leaf_hash=hashes[-1],
            root=root_hash(hashes),
        )  # fmt: skip
        self._since_head = []
        counts = dict.fromkeys(("failed", "in_flight", "refused", "deferred", "lost", "late_hangups"), 0)
        counts |= dict.fromkeys(("started", "finished", "recorded"), self._decisions)
        spool = {"entries": 0, "bytes": 0, "oldest_ms": 0}
        yield self._write(
            "heartbeat", {"interval_s": 10, **counts, "spool": spool, "head": sign_head(head, self._key)}
        )


def write_long_log(folder: Path, size: int, *, producers: int = 4) -> None:
    """A log of `size` entries below `folder`, its checkpoint last."""
    edge, entries = RightEdge(), LongLog(producers).entries()
    done = 0
    while done < size:
        chunk = [next(entries) for _ in range(min(CHUNK, size - done))]
        for at in range(0, len(chunk), TILE_WIDTH):
            part = chunk[at : at + TILE_WIDTH]
            path = TilePath(None, (done + at) // TILE_WIDTH, len(part))
            _put(folder / str(path), encode_bundle(part))
        for tile in edge.extend([hash_leaf(entry) for entry in chunk]):
            _put(folder / str(tile.path), tile.data)
        done += len(chunk)
    for tile in edge.partials():
        _put(folder / str(tile.path), tile.data)
    checkpoint = Checkpoint(ORIGIN, size, edge.root_hash())
    _put(folder / "checkpoint", sign_checkpoint(checkpoint, log_signer()).encode())


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
