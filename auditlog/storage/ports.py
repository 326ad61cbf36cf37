"""The two ports the engine stands on, each with its contract in writing (design sections 4 and 6).

`ObjectStore` holds bytes under paths: tiles, bundles, the checkpoint, staged commits. `LogState` holds what
must change together: the committed checkpoint, producer heads, the outbox; and beside it the derived index.
`tests/unit/storage/contract.py` is the contract as tests; every implementation passes it.

Raises, everywhere: `StorageError` when an operation failed. A failed write may have happened all the same:
callers re-read, they never assume.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from auditlog.storage.records import (
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
)


class ObjectStore(Protocol):
    """Bytes under relative paths (`tile/0/x001/234`). Safe to call from several threads.

    A path has no empty, `.` or `..` part. After a write returned, a power loss does not undo it. A reader
    sees an object whole or not at all.
    """

    def put_new(self, path: str, data: bytes) -> None:
        """Create the object; durable on return. The same bytes again are fine.

        Raises:
            ImmutableObjectError: it exists with other bytes; they are left as they were.
        """

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create several objects, each as `put_new` does, all durable on return. Not atomic as a whole."""

    def replace(self, path: str, data: bytes) -> None:
        """Create the object or take the place of the old one, atomically; durable on return."""

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:
        """As `replace`, unless there is an object that `keeps` says stays; return whether it was replaced.

        Two such calls, from any process on this store, never overlap: what `keeps` saw is what is replaced.
        """

    def get(self, path: str) -> bytes | None:
        """The bytes, or None if there is no such object."""

    def list(self, prefix: str = "") -> list[str]:
        """Every path that begins with `prefix`, sorted."""

    def delete(self, path: str) -> None:
        """Remove the object; nothing happens if there is none. Need not be durable on return."""


class Snapshot(Protocol):
    """The state of one log as one commit left it: whatever is committed meanwhile, all reads are of that one.

    Read inside the block that it was given to. A read that fails is a `StorageError` where the block ends,
    whatever it is inside.
    """

    @property
    def committed(self) -> Committed:
        """What `CommitState.read` would have said at that moment."""

    def producers(self) -> list[ProducerRecord]:
        """Every enrolled producer, in order of enrolment."""

    def rotations(self) -> list[RotationRecord]:
        """Every change of a producer's key, in order of the log."""

    def retirements(self) -> list[RetirementRecord]:
        """Every producer that has ended, in order of the log."""

    def declared_losses(self) -> list[LossRecord]:
        """Every loss the log declared for a producer, in order of the log."""

    def heads(self) -> dict[bytes, ChainHead]:
        """The newest entry of every producer that has one."""


class CommitState(Protocol):
    """The one commit point of one log."""

    def read(self) -> Committed | None:
        """The newest committed state, or None for a log never created. Reads what is durable, not a cache."""

    def snapshot(self) -> AbstractContextManager[Snapshot | None]:
        """The newest committed state with the chains that belong to it, or None for a log never created.

        Commits go on while the block is open.
        """

    def commit(self, change: Commit) -> None:
        """Apply the whole change in one transaction, durable on return, or nothing of it.

        The whole previous note, the log's own chain head and every producer head are compared with what the
        change expects, inside the transaction, and the standing must be one of `COMMITTING`. A change that
        `retires` sets it to retired. Every commit ends `restored`.

        Raises:
            CommitConflictError: something else was found; nothing changed.
            StorageError: it failed, and may have happened all the same: read again.
        """

    def set_standing(self, expected: str, standing: str) -> None:
        """Compare and swap the standing, durable on return. Retired is neither set nor left here.

        Raises:
            CommitConflictError: another standing was found, or retired is one of the two; nothing changed.
            StorageError: it failed, and may have happened all the same: read again.
        """

    def set_retention(self, expected: str | None, note: str, minimum: int) -> None:
        """Compare and swap the retention document with its minimum, durable on return.

        Raises:
            CommitConflictError: another document was found, or a minimum above this one; nothing changed.
            StorageError: it failed, and may have happened all the same: read again.
        """

    def run_of(self, producer: bytes, instance: str, seq: int) -> ChainRun | None:
        """The run that holds number `seq` of this instance."""

    def last_run(self, producer: bytes, instance: str) -> ChainRun | None:
        """The run with the highest number of this instance."""

    def life_after(self, producer: bytes, index: int) -> ChainRun | None:
        """The first run of this producer above `index` that begins an instance, with number 0."""

    def batch_head_of(self, producer: bytes, instance: str, seq: int) -> BatchHead | None:
        """The head with the lowest last number that covers `seq`."""


class AnchorState(Protocol):
    """Anchors of published checkpoints, and how far the outbox is done."""

    def add_anchor(self, anchor: AnchorRecord) -> None:
        """Keep an anchor and mark the outbox done up to its size, in one transaction. Twice is once."""

    def anchors(self) -> list[AnchorRecord]:
        """Every anchor, oldest first."""

    def newest_anchor(self, above_index: int) -> AnchorRecord | None:
        """The anchor recorded last whose tree holds that index."""


class IndexState(Protocol):
    """The derived index: follows the log, may lag, may be dropped and built again."""

    def index_size(self) -> int:
        """Entries 0..size-1 are in the index; negative: clearing it was begun, and has to be finished."""

    def add_index_rows(self, rows: IndexRows) -> list[int]:
        """Add rows and move the index from `rows.start` to `rows.end`, in one transaction.

        Decisions whose id an earlier entry has get the flag `ID_REPEATED`; returns their indices, ascending.

        Need not be durable on return: a power loss may undo it whole, and the index is built on from there.

        Raises:
            CommitConflictError: the index does not end at `rows.start`.
        """

    def clear_index(self) -> None:
        """Drop every row of this log's index and start again from 0, in steps that let commits in between.

        Until it is done the size is negative, and `add_index_rows` a conflict. Twice is once.
        """

    def indices_by_decision(
        self, decision_id: str, *, above: int = -1, limit: int | None = None
    ) -> list[int]:
        """Indices above `above` of decisions with this id, ascending: ids can repeat, and all are told."""

    def indices_by_leaf(self, leaf_hash: bytes) -> list[int]:
        """Indices of entries that may have this leaf hash, ascending: the caller compares the whole hash."""

    def facet_blocks(self, span: FacetSpan, others: Sequence[tuple[int, int]]) -> list[FacetBlock]:
        """Rows of `span` in its order, each with the places of the `others` (facet, value) in its block.

        Looks at `span.limit` rows at most: fewer than that means that there are no more.
        """

    def next_model(self, producer: bytes, instance: str, after_seq: int) -> ModelRow | None:
        """The first `model` entry of this instance with a number above `after_seq`."""

    def gaps_ending(self, producer: bytes, from_us: int, limit: int) -> list[GapRow]:
        """Gaps of this producer that end at `from_us` or later, by their end, at most `limit`."""

    def gaps_covering(self, producer: bytes, instance: str, seq: int, limit: int) -> list[GapReach]:
        """Gaps that cover a number of an instance, the latest `after_seq` first, at most `limit`."""

    def flags(self, index: int) -> list[str]:
        """What the index found odd about an entry."""


class PromiseState(Protocol):
    """Promises that producers handed over for their callers. Records of their own: not derived."""

    def add_promises(self, rows: Sequence[PromiseRow]) -> list[bool]:
        """Keep them all, durably, in one transaction; the same id and note again is kept once.

        Returns for each whether it is new and conflicts: see `KeptPromise`.
        """

    def promises_of(self, id: str) -> list[KeptPromise]:  # noqa: A002  the word of the format
        """Every promise under this id, in the order in which they were kept."""

    def forget_promises(self, before_us: int) -> int:
        """Forget those whose `until_us` is earlier, some thousand at most; how many."""


class OutcomeState(Protocol):
    """Outcomes that the service wrote, and the private index over their facts: keyed digests only."""

    def add_outcome(self, row: OutcomeRow, digests: Sequence[bytes]) -> None:
        """Keep an outcome with what it is found by, durably, in one transaction.

        It takes the place of one with the same `request`, whose entry did not come to be.
        """

    def outcome_of_request(self, request: bytes) -> OutcomeRow | None:
        """The outcome that was written for this request."""

    def outcomes_of(self, decision: str) -> list[OutcomeRow]:
        """Outcomes of a decision, oldest first."""

    def outcomes_found(self, digest: bytes, limit: int) -> list[OutcomeRow]:
        """Outcomes with this digest of a fact, oldest first, at most `limit`."""


class LogState(CommitState, AnchorState, IndexState, PromiseState, OutcomeState, Protocol):
    """Everything the engine keeps about one log, behind one object bound to its origin."""
