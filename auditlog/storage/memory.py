"""The reference implementation of both ports, in memory: it asserts the contract and can be made to fail.

Contract: `auditlog.storage.ports`. Used by tests, and by whoever wants to read what the ports mean without
SQL or files in the way. `fault` is called before every write with (operation, path); what it returns decides:
None lets the write through, a `Fault` spoils it. Must never be used where data has to survive the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from enum import Enum

from auditlog.errors import CommitConflictError, ImmutableObjectError, StorageError
from auditlog.storage.memory_facets import blocks_among, reaches_among
from auditlog.storage.memory_snapshot import MemorySnapshot
from auditlog.storage.records import (
    COMMITTING,
    ID_REPEATED,
    OPEN,
    RETIRED,
    AnchorRecord,
    BatchHead,
    ChainHead,
    ChainRun,
    Commit,
    Committed,
    FacetBlock,
    FacetSpan,
    GapReach,
    GapRow,
    IndexRows,
    KeptPromise,
    LossRecord,
    ModelRow,
    OutcomeRow,
    ProducerRecord,
    PromiseRow,
    RetirementRecord,
    RotationRecord,
    conflict,
)


class Fault(Enum):
    """How a write goes wrong. All of them raise `StorageError` to the caller."""

    REFUSED = "refused"
    """It did not happen."""
    STORED = "stored"
    """It happened, and was reported as failed."""
    TORN = "torn"
    """Half of the bytes were stored. (A transaction cannot be torn: it is refused instead.)"""


FaultHook = Callable[[str, str], Fault | None]


class MemoryStore:
    """An `ObjectStore` in a dictionary."""

    def __init__(self, fault: FaultHook | None = None) -> None:
        self.objects: dict[str, bytes] = {}
        self.fault = fault
        self._lock = threading.Lock()
        self._turn = threading.Lock()

    def put_new(self, path: str, data: bytes) -> None:
        """Create the object; see the port."""
        _check_path(path)
        fault = self.fault("put_new", path) if self.fault else None
        with self._lock:
            held = self.objects.get(path)
            if fault is None and held is not None and held != data:
                raise ImmutableObjectError(
                    f"expected no object or the same bytes at {path}, found other bytes"
                )
            if held is None:
                self._store(path, data, fault)
        _raise(fault, "put_new", path)

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create several objects; see the port."""
        for path, data in objects:
            self.put_new(path, data)

    def replace(self, path: str, data: bytes) -> None:
        """Put `data` in the place of the object; see the port."""
        _check_path(path)
        fault = self.fault("replace", path) if self.fault else None
        with self._lock:
            self._store(path, data, fault)
        _raise(fault, "replace", path)

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:
        """Replace it unless what is there stays; see the port."""
        with self._turn:
            found = self.get(path)
            if found is not None and keeps(found):
                return False
            self.replace(path, data)
            return True

    def get(self, path: str) -> bytes | None:
        """The bytes, or None."""
        _check_path(path)
        return self.objects.get(path)

    def list(self, prefix: str = "") -> list[str]:
        """Paths that begin with `prefix`, sorted."""
        with self._lock:
            return sorted(path for path in self.objects if path.startswith(prefix))

    def delete(self, path: str) -> None:
        """Remove the object if it is there."""
        _check_path(path)
        fault = self.fault("delete", path) if self.fault else None
        with self._lock:
            if fault in {None, Fault.STORED}:
                self.objects.pop(path, None)
        _raise(fault, "delete", path)

    def _store(self, path: str, data: bytes, fault: Fault | None) -> None:
        if fault is not Fault.REFUSED:
            self.objects[path] = bytes(data[: len(data) // 2]) if fault is Fault.TORN else bytes(data)


class MemoryState:
    """A `LogState` in plain attributes."""

    def __init__(self, fault: FaultHook | None = None) -> None:
        self.fault = fault
        self._lock = threading.Lock()
        self._committed: Committed | None = None
        self._producers: list[ProducerRecord] = []
        self._rotations: list[RotationRecord] = []
        self._retirements: list[RetirementRecord] = []
        self._declared_losses: list[LossRecord] = []
        self._heads: dict[bytes, ChainHead] = {}
        self._runs: list[ChainRun] = []
        self._batch_heads: list[BatchHead] = []
        self._anchors: list[AnchorRecord] = []
        self._index = IndexRows(0, 0, bytearray())
        self._promises: list[tuple[PromiseRow, bool]] = []
        self._outcomes: list[tuple[OutcomeRow, frozenset[bytes]]] = []

    def read(self) -> Committed | None:
        """The newest committed state."""
        return self._committed

    def snapshot(self) -> AbstractContextManager[MemorySnapshot | None]:
        """The newest committed state with the chains that belong to it; see the port."""
        with self._lock:
            if self._committed is None:
                return nullcontext()
            lives = self._rotations, self._retirements, self._declared_losses
            return MemorySnapshot(self._committed, self._heads, self._producers, *lives)

    def commit(self, change: Commit) -> None:
        """Apply the whole change or nothing; see the port."""
        fault = self.fault("commit", change.note) if self.fault else None
        with self._lock:
            if fault in {None, Fault.STORED}:
                self._compare(change)
                self._apply(change)
        _raise(fault, "commit", "state")

    def set_standing(self, expected: str, standing: str) -> None:
        """Compare and swap the standing; see the port."""
        fault = self.fault("set_standing", standing) if self.fault else None
        with self._lock:
            if fault in {None, Fault.STORED}:
                old = self._committed
                if old is None or old.standing != expected or RETIRED in {expected, standing}:
                    raise CommitConflictError(f"expected the standing {expected} of the log, found another")
                self._committed = replace(old, standing=standing)
        _raise(fault, "set_standing", "state")

    def set_retention(self, expected: str | None, note: str, minimum: int) -> None:
        """Compare and swap the retention document; see the port."""
        fault = self.fault("set_retention", note) if self.fault else None
        with self._lock:
            if fault in {None, Fault.STORED}:
                old = self._committed
                if old is None or old.retention != expected or old.minimum > minimum:
                    raise CommitConflictError("expected the retention document of before, found another")
                self._committed = replace(old, retention=note, minimum=minimum)
        _raise(fault, "set_retention", "state")

    def _compare(self, change: Commit) -> None:
        old = self._committed
        if old is not None and old.standing not in COMMITTING:
            raise CommitConflictError(f"expected a log that may grow, found one that is {old.standing}")
        if (old.note if old else None) != change.previous_note:
            raise CommitConflictError("expected the previous checkpoint, found another")
        if (old.own_head if old else None) != change.own_expected:
            raise CommitConflictError("expected the previous head of the log's own chain, found another")
        touched = [update.producer for update in change.heads]
        assert len(set(touched)) == len(touched), "one update a chain"
        for update in change.heads:
            if self._heads.get(update.producer) != update.expected:
                raise CommitConflictError("expected the previous head of a producer, found another")
        names = {record.name for record in self._producers}
        if any(record.name in names for record in change.producers):
            raise CommitConflictError("expected a new producer name, found a taken one")
        ended = {record.producer for record in self._retirements}
        if any(record.producer in ended for record in change.retirements):
            raise CommitConflictError("expected a producer that has not ended, found one that has")

    def _apply(self, change: Commit) -> None:
        old = self._committed
        decisions = change.decisions_size
        if decisions is None:
            decisions = old.decisions_size if old else 0
        self._producers += change.producers
        self._rotations += change.rotations
        self._retirements += change.retirements
        self._declared_losses += change.losses
        self._heads.update({update.producer: update.new for update in change.heads})
        self._runs += change.runs
        self._batch_heads += change.batch_heads
        standing = RETIRED if change.retires else old.standing if old else OPEN
        new = Committed(change.note, change.own_head, decisions, 0, standing, staged=change.staged)
        if old is not None:
            new = replace(new, anchored_size=old.anchored_size, minimum=old.minimum, retention=old.retention)
        self._committed = new

    def run_of(self, producer: bytes, instance: str, seq: int) -> ChainRun | None:
        """The run that holds a number."""
        for run in self._runs:
            if (run.producer, run.instance) == (producer, instance) and run.first_seq <= seq <= run.seq:
                return run
        return None

    def last_run(self, producer: bytes, instance: str) -> ChainRun | None:
        """The run with the highest number of an instance."""
        runs = [run for run in self._runs if (run.producer, run.instance) == (producer, instance)]
        return max(runs, key=lambda run: run.seq, default=None)

    def life_after(self, producer: bytes, index: int) -> ChainRun | None:
        """The first run above `index` that begins an instance."""
        runs = [run for run in self._runs if run.producer == producer and run.first_seq == 0]
        return min((r for r in runs if r.first_index > index), key=lambda r: r.first_index, default=None)

    def batch_head_of(self, producer: bytes, instance: str, seq: int) -> BatchHead | None:
        """The head with the lowest last number that covers `seq`."""
        covering = [
            head
            for head in self._batch_heads
            if (head.producer, head.instance) == (producer, instance) and head.first_seq <= seq <= head.seq
        ]
        return min(covering, key=lambda head: head.seq, default=None)

    def add_anchor(self, anchor: AnchorRecord) -> None:
        """Keep an anchor; see the port."""
        fault = self.fault("add_anchor", anchor.type) if self.fault else None
        with self._lock:
            old = self._committed
            if old is None:
                raise StorageError("expected a created log, found none")
            if fault in {None, Fault.STORED} and anchor not in self._anchors:
                self._anchors.append(anchor)
                done = max(old.anchored_size, anchor.tree_size)
                self._committed = replace(old, anchored_size=done)
        _raise(fault, "add_anchor", anchor.type)

    def anchors(self) -> list[AnchorRecord]:
        """Every anchor, oldest first."""
        return list(self._anchors)

    def newest_anchor(self, above_index: int) -> AnchorRecord | None:
        """The anchor recorded last whose tree holds that index."""
        return next((a for a in reversed(self._anchors) if a.tree_size > above_index), None)

    def index_size(self) -> int:
        """Entries in the index."""
        return self._index.end

    def add_index_rows(self, rows: IndexRows) -> list[int]:
        """Add rows; see the port."""
        fault = self.fault("add_index_rows", "") if self.fault else None
        with self._lock:
            if rows.start != self._index.end:
                raise CommitConflictError(f"expected rows from {self._index.end} on, found {rows.start}")
            if fault in {None, Fault.STORED}:
                self._index.leaf_hashes += rows.leaf_hashes or bytes(32 * (rows.end - rows.start))
                self._index.decisions += rows.decisions or [None] * (rows.end - rows.start)
                for name in ("models", "gaps", "reaches", "flags", "facets"):
                    getattr(self._index, name).extend(getattr(rows, name))
                self._index.end = rows.end
                known = [(i, id_) for i, id_ in enumerate(rows.decisions, rows.start) if id_ is not None]
                repeated = [i for i, id_ in known if self._index.decisions.index(id_) < i]
                self._index.flags.extend((index, ID_REPEATED) for index in repeated)
        _raise(fault, "add_index_rows", "index")
        return repeated

    def clear_index(self) -> None:
        """Drop the index."""
        self._index = IndexRows(0, 0, bytearray())

    def indices_by_decision(self, decision_id: str, above: int = -1, limit: int | None = None) -> list[int]:
        """Indices of decisions with this id."""
        known = enumerate(self._index.decisions)
        return [i for i, id_ in known if id_ == decision_id and i > above][:limit]

    def facet_blocks(self, span: FacetSpan, others: Sequence[tuple[int, int]]) -> list[FacetBlock]:
        """Blocks with entries of a property."""
        return blocks_among(self._index.facets, span, others)

    def indices_by_leaf(self, leaf_hash: bytes) -> list[int]:
        """Indices of entries that may have this leaf hash."""
        hashes = self._index.leaf_hashes
        return [i for i in range(len(hashes) // 32) if hashes[32 * i : 32 * i + 32] == leaf_hash]

    def next_model(self, producer: bytes, instance: str, after_seq: int) -> ModelRow | None:
        """The next `model` entry of an instance."""
        rows = [
            row
            for row in self._index.models
            if (row.producer, row.instance) == (producer, instance) and row.seq > after_seq
        ]
        return min(rows, key=lambda row: row.seq, default=None)

    def gaps_ending(self, producer: bytes, from_us: int, limit: int) -> list[GapRow]:
        """Gaps of this producer that end at `from_us` or later."""
        rows = [row for row in self._index.gaps if row.producer == producer and row.to_us >= from_us]
        return sorted(rows, key=lambda row: (row.to_us, row.index))[:limit]

    def gaps_covering(self, producer: bytes, instance: str, seq: int, limit: int) -> list[GapReach]:
        """Gaps that cover a number."""
        return reaches_among(self._index.reaches, producer, instance, seq)[:limit]

    def flags(self, index: int) -> list[str]:
        """What the index found odd."""
        return sorted(flag for flagged, flag in self._index.flags if flagged == index)

    def add_promises(self, rows: Sequence[PromiseRow]) -> list[bool]:
        """Keep promises; see the port."""
        fault = self.fault("add_promises", "") if self.fault else None
        told = []
        with self._lock:
            for row in rows if fault in {None, Fault.STORED} else ():
                held = [known for known, _ in self._promises]
                is_new = all((known.id, known.note) != (row.id, row.note) for known in held)
                conflicts = is_new and any(conflict(known, row) for known in held)
                if is_new:
                    self._promises.append((row, conflicts))
                told.append(conflicts)
        _raise(fault, "add_promises", "promises")
        return told

    def promises_of(self, id: str) -> list[KeptPromise]:  # noqa: A002
        """Promises under an id."""
        return [KeptPromise(row.producer, row.note, odd) for row, odd in self._promises if row.id == id]

    def forget_promises(self, before_us: int) -> int:
        """Forget the old ones."""
        with self._lock:
            kept = [each for each in self._promises if each[0].until_us >= before_us]
            gone, self._promises = len(self._promises) - len(kept), kept
        return gone

    def add_outcome(self, row: OutcomeRow, digests: Sequence[bytes]) -> None:
        """Keep an outcome; see the port."""
        fault = self.fault("add_outcome", row.decision) if self.fault else None
        with self._lock:
            if fault in {None, Fault.STORED}:
                asked = row.request
                self._outcomes = [e for e in self._outcomes if asked is None or e[0].request != asked]
                self._outcomes.append((row, frozenset(digests)))
        _raise(fault, "add_outcome", "outcome")

    def outcome_of_request(self, request: bytes) -> OutcomeRow | None:
        """The outcome of a request."""
        return next((row for row, _ in self._outcomes if row.request == request), None)

    def outcomes_of(self, decision: str) -> list[OutcomeRow]:
        """Outcomes of a decision."""
        return [row for row, _ in self._outcomes if row.decision == decision]

    def outcomes_found(self, digest: bytes, limit: int) -> list[OutcomeRow]:
        """Outcomes with a fact."""
        return [row for row, digests in self._outcomes if digest in digests][:limit]


def _check_path(path: str) -> None:
    if any(part in {"", ".", ".."} for part in path.split("/")):
        raise StorageError(f"expected a relative path without empty, . or .. parts, found {path!r}")


def _raise(fault: Fault | None, operation: str, path: str) -> None:
    if fault is not None:
        raise StorageError(f"{operation} {path}: expected success, found an injected fault ({fault.value})")
