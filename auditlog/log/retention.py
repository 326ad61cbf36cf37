"""Retention: which entries of a log may go, the public document that says so, and letting them go.

Spec: `auditlog/spec/log.md`, "Retention"; C2SP tlog-tiles, "Pruning". Whole bundles only; hash tiles stay, so
every proof goes on. Order of a step, each durable before the next: what later receipts need is kept, the
signed document with the new minimum is in the row of the log, the document is public, the bundles are
deleted. Dying anywhere: the next run deletes what lies below the minimum. Must never: delete a bundle above
the minimum in the row, or one that is not what was signed.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from auditlog.core.merkle import hash_leaf
from auditlog.core.retention import (
    DAY_US,
    RETENTION_PATH,
    Policy,
    Retention,
    open_retention,
    sign_retention,
)
from auditlog.core.tiles import TILE_WIDTH, TilePath, parse_path
from auditlog.errors import (
    AuditLogError,
    CommitConflictError,
    ConfigurationError,
    DamagedStoreError,
    MalformedError,
    NotFoundError,
    StorageError,
)
from auditlog.log.keeping import to_keep, write_kept
from auditlog.log.live import Live
from auditlog.log.recover import open_own
from auditlog.log.staging import find_staged, old_size_of
from auditlog.log.standing import check_signs
from auditlog.storage.records import COMMITTING, Committed

if TYPE_CHECKING:
    from auditlog.log.index import Index
    from auditlog.log.reader import Reader

logger = logging.getLogger("auditlog.log")

STEP_BUNDLES: Final = 512
"""Bundles in one step: 131,072 entries."""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a run would do. Indices; each of `bounds` is how far one reason lets it go."""

    minimum: int
    target: int
    bounds: dict[str, int]

    @property
    def entries(self) -> int:
        """Entries that would go."""
        return self.target - self.minimum


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a step did. `is_done`: the minimum is where the plan wants it."""

    plan: PrunePlan
    minimum: int
    deleted: int
    is_done: bool


class Retentions:
    """The retention of one log. Safe to use from any thread; one step at a time."""

    def __init__(self, live: Live, reader: Reader, index: Index, published_size: Callable[[], int]) -> None:
        self._live, self._reader, self._index = live, reader, index
        self._published_size = published_size
        self._turn = threading.Lock()
        self._known: Retention | None = None

    def document(self) -> str:
        """The signed document as it is in the row of the log. Raises NotFoundError, StorageError."""
        note = self._row().retention
        if note is None:
            raise NotFoundError("expected a log with a retention policy, found one that keeps all")
        return note

    def opened(self) -> Retention | None:
        """What it said when this process last read or wrote it; None for a log that never had a policy."""
        return self._known

    def begin(self) -> None:
        """At a start: the policy is public before anything is pruned under it; a failure is logged."""
        try:
            with self._turn:
                row = self._row()
                if self._live.config.retention != Policy() and row.standing in COMMITTING:
                    row = self._save(row, self._marked(row))
                self._publish(row)
        except AuditLogError as error:
            logger.warning("retention: the policy could not be published: %s", error)

    def plan(self) -> PrunePlan:
        """What could go now.

        Raises:
            ConfigurationError: there is no policy. StorageError: a store failed.
        """
        return self._plan(self._row())

    def prune(self, *, bundles: int = STEP_BUNDLES, progress: Progress | None = None) -> Pruned:
        """Let at most so many bundles go, and finish what an earlier run left. `progress` hears (done, of).

        Raises:
            ConfigurationError: there is no policy. LogReadOnly, LogRetired: the log's key signs nothing.
            DamagedStoreError: a bundle is not what was signed; it stays. StorageError: a store failed; the
            same call goes on.
        """
        with self._turn:
            self._live.check_running()
            check_signs(self._live, self._reader)
            row = self._save(self._row(), self._marked(self._row()))
            plan = self._plan(row)
            target = min(plan.target, row.minimum + bundles * TILE_WIDTH)
            if target > row.minimum:
                self._keep(row.minimum // TILE_WIDTH, target // TILE_WIDTH, progress)
                document = self._open(row)
                assert document is not None
                row = self._save(row, replace(document, minimum=target))
            self._live.minimum = max(self._live.minimum, row.minimum)
            self._publish(row)
            deleted = self._delete(row.minimum)
            return Pruned(plan, row.minimum, deleted, row.minimum >= plan.target)

    def _row(self) -> Committed:
        row = self._live.stores.state.read()
        if row is None:
            raise StorageError("expected a committed log, found none")
        return row

    def _open(self, row: Committed) -> Retention | None:
        if row.retention is None:
            return None
        return open_retention(row.retention, self._live.signer.verifier, self._live.config.origin)

    def _marked(self, row: Committed) -> Retention:
        """The document with a mark of now, of the policy in force; a changed one begins anew."""
        config, now_us = self._live.config, self._live.clock.unix_us()
        self._expect_policy()
        held = self._open(row)
        if held is None or held.policy != config.retention:
            held = Retention(config.origin, config.retention, row.minimum, now_us, row.minimum, ())
        return held.marked(self._published_size(), now_us, self._horizon_us())

    def _expect_policy(self) -> None:
        if self._live.config.retention == Policy():
            raise ConfigurationError("expected a log with a retention policy, found one that keeps all")

    def _horizon_us(self) -> int:
        """Nothing younger goes: its rule, the promises about it, and receipts that wait for a model."""
        config = self._live.config
        waits_s = max(config.model_wait_s, config.max_merge_delay_s + config.keep_promises_s)
        return max((config.retention.days or 0) * DAY_US, waits_s * 1_000_000)

    def _plan(self, row: Committed) -> PrunePlan:
        document = self._marked(row)
        bounds = {
            "policy": document.allowed(),
            "age": document.size_before(self._live.clock.unix_us() - self._horizon_us()),
            "published": self._published_size(),
            "index": self._index.size,
            "staged": self._staged_from(row),
        }
        if self._live.config.awaits_anchors and row.decisions_size > row.anchored_size:
            bounds["anchored"] = row.anchored_size
        whole = min(bounds.values()) // TILE_WIDTH * TILE_WIDTH
        return PrunePlan(row.minimum, max(row.minimum, whole), bounds)

    def _staged_from(self, row: Committed) -> int:
        """Where the newest commit begins: a start writes its bundles again."""
        checkpoint = open_own(row.note, self._live.signer.verifier)
        size, root = checkpoint.tree_size, checkpoint.root_hash
        return old_size_of(find_staged(self._live.stores.staging, row.staged, size, root))

    def _keep(self, first: int, end: int, progress: Progress | None) -> None:
        """Check each bundle against the tree, and keep of it what later receipts need."""
        for number in range(first, end):
            start = number * TILE_WIDTH
            entries = self._reader.entries(start, start + TILE_WIDTH)
            if [hash_leaf(each) for each in entries] != self._reader.leaf_hashes(start, start + TILE_WIDTH):
                raise DamagedStoreError(f"expected bundle {number} as it was signed, found other entries")
            kept = to_keep(entries)
            if kept:
                write_kept(self._live.stores.private, number, kept)
            if progress is not None:
                progress(number + 1 - first, end - first)

    def _save(self, row: Committed, document: Retention) -> Committed:
        """Sign and commit a document, if it is another than before; what is read back counts."""
        if document == self._open(row):
            return row
        note = sign_retention(document, self._live.signer)
        self._live.stores.state.set_retention(row.retention, note, document.minimum)
        found = self._row()
        if found.retention != note:
            raise StorageError("expected the retention document just written, found another")
        return found

    def _publish(self, row: Committed) -> None:
        self._known = self._open(row)
        public, note = self._live.stores.public, row.retention
        if note is not None:
            data = note.encode("utf-8")
            if public.get(RETENTION_PATH) == data:
                return
            # Another process may have committed and published a newer one since: it stays.
            if not public.replace_unless(RETENTION_PATH, data, lambda _: self._row().retention != note):
                raise CommitConflictError(
                    "expected the newest retention document, found that another process wrote one; again"
                )

    def _delete(self, minimum: int) -> int:
        """Every bundle below the minimum, partial ones of old sizes too. Twice is once."""
        store = self._live.layout.store_of(TilePath(None, 0))
        deleted = 0
        for path in store.list("tile/entries/") if minimum else []:
            try:
                found = parse_path(path)
            except MalformedError:
                continue
            if found.level is None and (found.index + 1) * TILE_WIDTH <= minimum:
                store.delete(path)
                deleted += 1
        return deleted
