"""A log, its producer, a cosigner and a customer who keeps promises: honest until a test tells the operator
to cheat.

Everything is real but the network: entries with bodies that parse, promises under the producer's key in
force, rotations, checkpoints that a witness cosigns after checking that each extends the last. `drop` is the
dishonest operator: the entry was sealed and promised, and everything after it is signed as though it had
never been. The clock is a number of seconds that tests move.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from auditlog.core.checkpoint import Checkpoint, format_checkpoint, sign_checkpoint
from auditlog.core.commitment import commit_body
from auditlog.core.cosignature import CosignatureSigner
from auditlog.core.entry import ZERO_HASH_HEX, Entry, encode_entry, format_time
from auditlog.core.merkle import hash_leaf, prove_consistency, root_hash, verify_consistency
from auditlog.core.note import Ed25519Signer
from auditlog.core.promise import Promise, sign_promise
from auditlog.core.receipt import Related
from auditlog.core.scalars import encode_base64
from auditlog.core.signed import sign_one
from auditlog.core.statements import instance_text, producer_key_name, producer_text, rotation_text
from auditlog.core.trust import Trust, parse_trust
from auditlog.verify.promise_scan import scan
from auditlog.verify.promise_sources import View, parse_lookup
from auditlog.verify.promise_verdict import read_promise
from auditlog.verify.promise_view import LogSight
from auditlog.verify.tlogclient import VerifiedTree
from tests.support.memory_source import MemorySource
from tests.support.tlog_writer import ORIGIN, log_files, log_signer

START_S = 1_767_225_600  # 2026-01-01T00:00:00Z
MERGE_S = 60


class Cosigner:
    """A witness: signs what extends what it signed last, and remembers that first."""

    def __init__(self, name: str) -> None:
        self.key = CosignatureSigner.from_seed(name, name.encode().ljust(32, b"\1")[:32])
        self._size, self._root = 0, root_hash([])

    def cosign(self, checkpoint: Checkpoint, leaves: list[bytes], now_s: int) -> str:
        """One cosignature line; raises `InconsistentLogError` on a second history."""
        proof = prove_consistency(leaves, self._size)
        verify_consistency(self._size, len(leaves), proof, self._root, checkpoint.root_hash)
        self._size, self._root = len(leaves), checkpoint.root_hash
        return self.key.sign(format_checkpoint(checkpoint), now_s)


@dataclass
class Kept:
    """What a customer keeps: the promise and the bytes it is about."""

    note: str
    exchange_key: bytes
    request: bytes
    response: bytes

    @property
    def promise(self) -> Promise:
        """What it says."""
        return read_promise(self.note)


class World:
    """The operator: a log and one producer."""

    def __init__(self, witnesses: int = 2, producer: str = "gpu-0") -> None:
        self.now_s = START_S
        self.entries: list[bytes] = []
        self.checkpoints: list[str] = []
        self.cosigners = [Cosigner(f"witness.example/w{number}") for number in range(witnesses)]
        self._log_seq, self._log_prev = -1, ZERO_HASH_HEX
        self._lives = self._answers = 0
        genesis = {"vkeys": [log_signer().vkey], "visibility": "hashes", "max_merge_delay_s": MERGE_S}
        self.write_log("genesis", genesis | {"contact": "audit@log.example"})
        self.name, self.key = producer, _key(producer, 0)
        self.keys = 1
        note = sign_one(producer_text(ORIGIN, producer), self.key)
        self.identity = self.write_log("producer", {"name": producer, "vkey": self.key.vkey, "note": note})
        self.instance, self.seq, self.prev = "", -1, self.identity
        self.restart()

    def write_log(self, kind: str, body: dict[str, Any]) -> str:
        """An entry of the log's own; returns its leaf hash."""
        self._log_seq += 1
        entry = self._entry(kind, body, "log", "log", self._log_seq, self._log_prev)
        self._log_prev = self._append(entry)
        return self._log_prev

    def write(self, kind: str, body: dict[str, Any]) -> str:
        """The producer's next entry; returns its leaf hash."""
        entry = self._entry(kind, body, self.identity, self.instance, self.seq + 1, self.prev)
        self.seq, self.prev = self.seq + 1, self._append(entry)
        return self.prev

    def restart(self) -> None:
        """A new process life."""
        self._lives += 1
        self.instance, self.seq = f"{self._lives:032x}", -1
        text = instance_text(ORIGIN, self.identity, self.instance, self.prev)
        self.write("instance", {"note": sign_one(text, self.key), "software": "test"})

    def gap(self, instance: str, after_seq: int, count: int | str = "unknown") -> str:
        """Declare a loss."""
        now = format_time(self.now_s * 1_000_000)
        body = {"instance": instance, "after_seq": after_seq, "from": now, "to": now, "count": count}
        return self.write("gap", body)

    def rotate(self) -> None:
        """Change the producer's key."""
        following = _key(self.name, self.keys)
        text = rotation_text(ORIGIN, self.identity, following.vkey)
        body = {"vkey": following.vkey, "notes": [sign_one(text, self.key), sign_one(text, following)]}
        self.write("rotation", body)
        self.key, self.keys = following, self.keys + 1

    def declare_lost(self, instance: str, after_seq: int) -> None:
        """The log declares the end of an instance lost with its host."""
        now = format_time(self.now_s * 1_000_000)
        detail = {"producer": self.identity, "instance": instance, "after_seq": after_seq}
        self.write_log("notice", {"what": "declared_lost", "detail": detail | {"from": now, "to": now}})

    def decide(self, words: str = "", *, promised: str | None = None) -> Kept:
        """Answer a request, seal its entry, promise it. `promised`: another answer than the one recorded."""
        self._answers += 1
        number = self._answers
        key = hash_leaf(b"exchange %d" % number)
        request, response = b'{"q":%d}' % number, (words or f'{{"a":{number}}}').encode()
        body = self._decision(
            number, commit_body(key, "request", request), commit_body(key, "response", response)
        )
        leaf_hash = self.write("decision", body)
        shown = response if promised is None else promised.encode()
        promise = Promise(
            origin=ORIGIN,
            producer=self.identity,
            instance=self.instance,
            seq=self.seq,
            leaf_hash=bytes.fromhex(leaf_hash),
            model="unregistered",
            request=commit_body(key, "request", request),
            response=commit_body(key, "response", shown),
            time=format_time(self.now_s * 1_000_000),
            merge_by=format_time((self.now_s + MERGE_S) * 1_000_000),
        )
        return Kept(sign_promise(promise, self.key), key, request, shown)

    @contextmanager
    def drop(self, *, number_too: bool = True) -> Iterator[None]:
        """Cheat: what is written inside never reaches the log; its number is used again, or left out."""
        entries, seq, prev = len(self.entries), self.seq, self.prev
        yield
        del self.entries[entries:]
        self.prev = prev
        if number_too:
            self.seq = seq

    def publish(self, *, witnesses: int | None = None) -> str:
        """Sign a checkpoint of everything, have it cosigned now, keep it."""
        leaves = [hash_leaf(entry) for entry in self.entries]
        checkpoint = Checkpoint(ORIGIN, len(leaves), root_hash(leaves))
        lines = [each.cosign(checkpoint, leaves, self.now_s) for each in self.cosigners[:witnesses]]
        self.checkpoints.append(sign_checkpoint(checkpoint, log_signer()) + "".join(lines))
        return self.checkpoints[-1]

    def source(self, *, bundles: bool = True) -> MemorySource:
        """What the log serves now: the newest published checkpoint and the tree under it."""
        published = int(self.checkpoints[-1].split("\n")[1])
        files = log_files(self.entries[:published], bundles=bundles)
        files["checkpoint"] = self.checkpoints[-1].encode()
        return MemorySource(files)

    def trust(self, quorum: int | None = None) -> Trust:
        """A trust file with the log and its witnesses; 0 for `quorum none`."""
        quorum = len(self.cosigners) if quorum is None else quorum
        lines = [f"log {log_signer().vkey}"]
        lines += [f"witness w{number} {each.key.vkey}" for number, each in enumerate(self.cosigners)]
        names = " ".join(f"w{number}" for number in range(len(self.cosigners)))
        lines += [f"group all-of-them {quorum} {names}", "quorum all-of-them"] if quorum else ["quorum none"]
        value = {
            "v": "auditlog/trust@v1",
            "policy": "".join(f"{line}\n" for line in lines),
            "issuer": {"name": "a regulator", "role": "regulator"},
        }
        return parse_trust(json.dumps(value).encode())

    def sight(self, source: MemorySource | None = None, **options: Any) -> LogSight:
        """The log as a verifier sees it."""
        trust = options.pop("trust", None) or self.trust()
        return LogSight(trust, ORIGIN, source or self.source(), **options)

    def _append(self, entry: Entry) -> str:
        data = encode_entry(entry)
        self.entries.append(data)
        return hash_leaf(data).hex()

    def _entry(
        self, kind: str, body: dict[str, Any], producer: str, instance: str, seq: int, prev: str
    ) -> Entry:
        return Entry(
            kind=kind,
            origin=ORIGIN,
            producer=producer,
            instance=instance,
            seq=seq,
            prev=prev,
            time=format_time(self.now_s * 1_000_000),
            body=body,
        )

    def _decision(self, number: int, request: bytes, response: bytes) -> dict[str, Any]:
        millis = f"{self.now_s * 1000:012x}"
        return {
            "id": f"{millis[:8]}-{millis[8:]}-7000-8000-{number:012x}",
            "operation": "chat",
            "capture": "asgi",
            "mode": "fail_open",
            "start": format_time(self.now_s * 1_000_000),
            "duration_us": 1000,
            "ended": "ok",
            "model": "unregistered",
            "request": {"commitment": request.hex()},
            "response": {"commitment": response.hex()},
        }


class FakeLookup:
    """Answers as the service's `promises/lookup` does: from all entries, whoever may read them."""

    def __init__(self, world: World, *, without: tuple[str, ...] = (), at: tuple[int, ...] = (-1,)) -> None:
        """`without`: members this log keeps silent about. `at`: which of the checkpoints it answers from, one
        an answer; the last of them ever after.
        """
        self._world, self._without, self._at = world, without, at
        self.asked = 0

    def look_up(self, note: str) -> View:
        """The answer, through its wire form."""
        world, at = self._world, self._at[min(self.asked, len(self._at) - 1)]
        self.asked += 1
        checkpoint = world.checkpoints[at]
        signed = world.sight().open(checkpoint).checkpoint
        tree = VerifiedTree(MemorySource(log_files(world.entries[: signed.tree_size])), signed)
        view = scan(tree, checkpoint, read_promise(note), lambda _done, _size: None)
        shown = wire_view(view)
        value = {name: each for name, each in shown.items() if name not in self._without}
        return parse_lookup(json.dumps(value).encode())


def wire_view(view: View) -> dict[str, Any]:
    """The answer of a look-up as it goes over the wire."""
    names = ("producer", "rotations", "entry", "next", "base", "life", "gaps", "notices")
    return {"checkpoint": view.checkpoint} | {name: _wire(getattr(view, name)) for name in names}


def _wire(item: Related | tuple[Related, ...] | None) -> Any:
    if item is None or isinstance(item, tuple):
        return None if item is None else [_wire(each) for each in item]
    proof = [encode_base64(each) for each in item.proof]
    return {"index": item.index, "entry": encode_base64(item.entry), "proof": proof}


def _key(name: str, number: int) -> Ed25519Signer:
    return Ed25519Signer.from_seed(producer_key_name(ORIGIN, name), hash_leaf(f"{name} {number}".encode()))


def honest_start() -> World:
    """A log that has run for a while: other decisions, heartbeats, a published checkpoint."""
    world = World()
    for _ in range(3):
        world.decide()
        world.now_s += 1
    world.publish()
    return world


def goes_on(world: World, decisions: int = 3) -> None:
    """Life after the cheat: other decisions, and a checkpoint well after every promise was due."""
    for _ in range(decisions):
        world.decide()
        world.now_s += 1
    world.now_s += 2 * MERGE_S
    world.publish()


def conflict() -> tuple[World, Kept]:
    """The promised entry is left out and its number given to the next."""
    world = honest_start()
    with world.drop():
        kept = world.decide()
    goes_on(world)
    return world, kept


def other_content() -> tuple[World, Kept]:
    """The entry that was promised records another answer than the one promised."""
    world = honest_start()
    kept = world.decide('{"a":"declined"}', promised='{"a":"approved"}')
    goes_on(world)
    return world, kept


def skipped_number() -> tuple[World, Kept]:
    """The promised number is left out."""
    world = honest_start()
    with world.drop(number_too=False):
        kept = world.decide()
    goes_on(world)
    return world, kept


def skipped_by_gap() -> tuple[World, Kept]:
    """A crash is pretended, and a gap declared over the promised number."""
    world = honest_start()
    with world.drop():
        kept = world.decide()
    lost, after = world.instance, world.seq
    world.restart()
    world.gap(lost, after)
    goes_on(world)
    return world, kept


def skipped_by_restart() -> tuple[World, Kept]:
    """A new life goes on from before the promised number, and no gap is declared."""
    world = honest_start()
    with world.drop():
        kept = world.decide()
    world.restart()
    goes_on(world)
    return world, kept


def skipped_life() -> tuple[World, Kept]:
    """A whole life is left aside: the next one goes on from before its start."""
    world = honest_start()
    prev = world.prev
    world.restart()
    with world.drop():
        kept = world.decide()
    world.prev = prev
    world.restart()
    goes_on(world)
    return world, kept


def late() -> tuple[World, Kept]:
    """The entry is held back until well after merge-by; a checkpoint in between shows it."""
    world = honest_start()
    kept = world.decide()
    held = world.entries.pop()
    world.now_s += 2 * MERGE_S
    world.publish()
    world.entries.append(held)
    goes_on(world)
    return world, kept


def absent() -> tuple[World, Kept]:
    """The producer stops after its promise: nothing stands where the entry should, nothing contradicts."""
    world = honest_start()
    with world.drop():
        kept = world.decide()
    world.now_s += 2 * MERGE_S
    world.publish()
    return world, kept


def declared_lost() -> tuple[World, Kept]:
    """The host died with its disk, and the log says so."""
    world = honest_start()
    with world.drop():
        kept = world.decide()
    world.declare_lost(world.instance, world.seq)
    world.now_s += 2 * MERGE_S
    world.publish()
    return world, kept
