"""The index: finds entries by decision id, leaf hash or place in a chain.

Spec: design section 6, "the SQL index follows the log and is rebuilt from it". Off the commit path; it may
lag, as `lag` tells; above a bound of `backlog` the log pushes back. Chains are exact:
their runs are part of the commit. Flags say what admission let pass and a person may want to see. Must
never: be the evidence of anything.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable

from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import AuditLogError, EntryPruned, StorageError
from auditlog.log.envelope import read_indexed
from auditlog.log.indexing import index_rows, pruned_rows
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.storage.records import ID_REPEATED, GapReach, GapRow, IndexRows, ModelRow

logger = logging.getLogger("auditlog.log")

CHUNK = 4096
"""Entries in one index transaction: long enough to be cheap (leaf hashes fall on random pages of their era,
and the more come together, the more of them share one), short enough for a commit to get in between.
"""

_RETRY_S = 1.0


class Index:
    """Look-ups in one log."""

    def __init__(self, live: Live, reader: Reader, later: Callable[[float], None]) -> None:
        """`later(seconds)` runs `step` after that time on some thread."""
        self._live = live
        self._reader = reader
        self._later = later
        self._turn = threading.Lock()
        self._size = live.stores.state.index_size()
        self._excused = live.tree.size
        """Entries below were committed before this index had a chance to follow them: a long way that is made
        up for beside the work (a start, a rebuild) is no reason to refuse new ones.
        """
        self._planned = False
        self._last = -live.config.index_interval_s
        """When the last step began, on the monotonic clock."""
        self.flagged: Counter[str] = Counter()
        """Entries flagged by this object, by flag: since the start of the process, for metrics."""

    @property
    def size(self) -> int:
        """Entries 0..size-1 are in the index."""
        return max(0, self._size)

    @property
    def lag(self) -> int:
        """Committed entries that are not in the index yet."""
        return max(0, self._live.tree.size - self.size)

    @property
    def backlog(self) -> int:
        """How far the index has fallen behind what is being committed: over a bound, the log pushes back."""
        return max(0, self._live.tree.size - max(self._size, self._excused))

    def by_decision(self, decision_id: str, producer: bytes | None = None) -> list[int]:
        """Indices of all decisions with this id, ascending; of one producer, if given.

        Raises:
            StorageError: a store failed.
        """
        found = self._live.stores.state.indices_by_decision(decision_id)
        if producer is None:
            return found
        wanted = producer.hex()
        own, pruned = [], None
        for index in found:
            try:
                if read_indexed(self._reader.entry(index)).producer == wanted:
                    own.append(index)
            except EntryPruned as error:
                # Whose it was is not known any more: it counts only where no other is there.
                pruned = error
        if pruned is not None and not own:
            raise pruned
        return own

    def by_leaf(self, leaf_hash: bytes) -> list[int]:
        """Indices of entries with this leaf hash. Raises: StorageError."""
        candidates = self._live.stores.state.indices_by_leaf(leaf_hash)
        return [index for index in candidates if self._reader.leaf_hash(index) == leaf_hash]

    def by_chain(self, producer: bytes, instance: str, seq: int) -> list[int]:
        """Index of one number of a chain, in a list of at most one. Exact, never behind."""
        run = self._live.stores.state.run_of(producer, instance, seq)
        return [] if run is None else [run.first_index + seq - run.first_seq]

    def next_model(self, producer: bytes, instance: str, after_seq: int) -> ModelRow | None:
        """The first entry of an instance after a number that answers for a `pending` model: a `model` entry,
        or a `coverage` entry without a model. Raises: StorageError.
        """
        return self._live.stores.state.next_model(producer, instance, after_seq)

    def gaps_ending(self, producer: bytes, from_us: int, limit: int) -> list[GapRow]:
        """Losses a producer declared that end at `from_us` or later. Raises: StorageError."""
        return self._live.stores.state.gaps_ending(producer, from_us, limit)

    def gaps_covering(self, producer: bytes, instance: str, seq: int, limit: int) -> list[GapReach]:
        """Gaps that say this number of an instance was lost. Raises: StorageError."""
        return self._live.stores.state.gaps_covering(producer, instance, seq, limit)

    def flags(self, index: int) -> list[str]:
        """What was odd about an entry: `unknown_kind`, `unregistered_model`, `id_form`, `id_time` (not that
        of `start`, by over 1 ms), `id_repeated` (an earlier entry has it), `gap_form`.
        """
        return self._live.stores.state.flags(index)

    def request(self) -> None:
        """Plan a step; one is enough for any number of commits. At once after a rest, and when a whole chunk
        waits; else small commits that follow each other are indexed together.
        """
        live = self._live
        rest_s = self._last + live.config.index_interval_s - live.clock.monotonic()
        self._plan(0.0 if self.lag >= CHUNK else max(0.0, rest_s))

    def _plan(self, delay_s: float) -> None:
        with self._live.lock:
            if self._planned or not self.lag or self._live.halted is not None:
                return
            self._planned = True
        self._later(delay_s)

    def step(self) -> None:
        """Index the next chunk; plan another if there is more."""
        with self._live.lock:
            self._planned = False
        self._last = self._live.clock.monotonic()
        try:
            self._advance()
        except AuditLogError as error:
            # The log goes on without its index, up to `max_index_lag`.
            logger.warning("index: could not go on at %d: %s", self._size, error)
            self._plan(_RETRY_S)
        else:
            self.request()

    def follow(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Index everything committed so far, in the caller's thread; `progress` hears (done, of).

        Raises:
            StorageError: a store failed; what was done stays.
        """
        while self.lag:
            self._advance()
            if progress is not None:
                progress(self.size, self._live.tree.size)

    def rebuild(self, progress: Callable[[int, int], None] | None = None) -> None:
        """Drop the index and build it again from the entries; `progress` hears (done, of), in entries.

        Safe beside a running log, in this process or another on the same database: whoever follows the log
        goes on from what the store says, and new entries are not refused because the old ones are not
        indexed. Until it is done, look-ups leave out what is not there yet, as `lag` tells. If the process
        dies on the way, the next start goes on.

        Raises:
            StorageError: a store failed.
        """
        self.drop()
        self.follow(progress)

    def drop(self) -> None:
        """Drop the index; `request` or `follow` builds it again, as `rebuild` says. Raises: StorageError."""
        with self._turn:
            self._live.stores.state.clear_index()
            self._size = 0
            self._excused = self._live.tree.size
            self.flagged.clear()

    def _advance(self) -> None:
        with self._turn:
            if self._size < 0:
                self._live.stores.state.clear_index()
                self._size = 0
            start, end = self._size, self._chunk_end()
            if start >= end:
                return
            rows = self._rows(start, end)
            state = self._live.stores.state
            try:
                repeated = state.add_index_rows(rows)
            except StorageError:
                # It may have happened all the same, or another process builds it: what the store says is
                # where we go on.
                self._size = state.index_size()
                if self._size < start:
                    self._excused = self._live.tree.size
                raise
            self._size = end
            self.flagged.update(flag for _, flag in rows.flags)
            self.flagged.update({ID_REPEATED: len(repeated)} if repeated else {})

    def _rows(self, start: int, end: int) -> IndexRows:
        leaf_hashes = self._reader.leaf_hashes(start, end)
        if start < self._live.minimum:
            return pruned_rows(start, self._reader.kept_between(start, end), leaf_hashes)
        whole = start // TILE_WIDTH * TILE_WIDTH
        # The minimum is on the edge of a block, so no block is half pruned.
        before = self._reader.entries(whole, start) if end // TILE_WIDTH > start // TILE_WIDTH else []
        return index_rows(start, self._reader.entries(start, end), leaf_hashes, before)

    def _chunk_end(self) -> int:
        """Where the next step ends: on a whole block as long as there is more, and not across the minimum."""
        end = (self._size + CHUNK) // TILE_WIDTH * TILE_WIDTH
        if self._size < self._live.minimum:
            end = min(end, self._live.minimum)
        return min(self._live.tree.size, end)
