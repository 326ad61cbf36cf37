"""Search: entries of one log by what they say, page by page, each page bounded work.

Spec: auditlog/spec/api.md, "Search". The index names candidates, in an order that appending does not change:
by place in the log, or, for a span of time, by minute and then by place. Each candidate is read and looked at
before it is shown. What the index does not hold yet (its lag, and the last block that is not full) is read
from the log itself. A page may be short, or empty: there is more as long as it says where to go on. Must
never: be evidence, or do work that grows with the log.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from auditlog.core.entry import parse_time
from auditlog.core.merkle import hash_leaf
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import EntryPruned
from auditlog.log.envelope import Indexed, read_indexed
from auditlog.log.facets import (
    ENDED,
    KIND,
    MINUTE_US,
    MODEL,
    OPERATION,
    PRODUCER,
    STATUS,
    TIME,
    common_places,
    word_value,
)
from auditlog.log.index import Index
from auditlog.log.live import Live
from auditlog.log.reader import Reader
from auditlog.storage.ports import IndexState
from auditlog.storage.records import FacetSpan

BLOCKS = 1024
"""Rows of the index that one page looks at, at most."""
EXAMINED = 4096
"""Entries that one page reads, at most."""
_LAST_MINUTE = 2**40
TAIL = 8192
"""Entries behind the index that one page reads, at most; `Page.size` says where that ends."""

Place = tuple[int, int]
"""Where a search is: (minute, index), the minute 0 unless a time is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What to look for: everything that is not None has to hold. Times in Unix microseconds."""

    decision: str | None = None
    leaf: bytes | None = None
    producer: str | None = None
    instance: str | None = None
    seq: int | None = None
    kind: str | None = None
    model: str | None = None
    operation: str | None = None
    status: int | None = None
    ended: str | None = None
    since_us: int | None = None
    """From then on."""
    before_us: int | None = None
    """Until then, without it."""
    newest: bool = False
    """The newest first."""

    @property
    def is_timed(self) -> bool:
        """Whether the order is by minute."""
        return self.since_us is not None or self.before_us is not None


@dataclass(frozen=True, slots=True)
class Hit:
    """An entry that was found."""

    index: int
    leaf_hash: bytes
    entry: Indexed


@dataclass(frozen=True, slots=True)
class Page:
    """What one page found; `next` is None at the end. Entries from `size` on were not looked at."""

    hits: list[Hit]
    next: Place | None
    size: int


class Search:
    """Searches one log. Any thread."""

    def __init__(self, live: Live, reader: Reader, index: Index) -> None:
        self._live = live
        self._reader = reader
        self._index = index

    def page(self, query: Query, *, size: int, after: Place | None, limit: int) -> Page:
        """Up to `limit` entries below `size` that match, in order, behind the place `after`.

        Raises:
            StorageError: a store failed.
        """
        walk = self._walk(query, size, after)
        hits: list[Hit] = []
        for examined, place in enumerate(walk.places(), 1):
            hit = self._look(place[1])
            if hit is not None and _matches(query, hit):
                hits.append(hit)
            if len(hits) == limit or examined == EXAMINED:
                return Page(hits, place, walk.size)
        return Page(hits, walk.stopped_at, walk.size)

    def _walk(self, query: Query, size: int, after: Place | None) -> _Walk:
        if query.seq is not None and query.producer is not None and query.instance is not None:
            # Part of the commit itself: exact, and never behind.
            found = self._index.by_chain(bytes.fromhex(query.producer), query.instance, query.seq)
            return _Listed(query, self._reader, _Bounds(size, size, after), found)
        indexed = self._index.size
        state = self._live.stores.state
        if query.leaf is not None:
            found = self._index.by_leaf(query.leaf)
            return _Listed(query, self._reader, _Bounds(indexed, size, after), found)
        if query.decision is not None:
            above = -1 if after is None else after[1]
            found = state.indices_by_decision(query.decision, above=above, limit=BLOCKS)
            walk = _Listed(query, self._reader, _Bounds(indexed, size, after), found)
            walk.stopped_at = (0, found[-1]) if len(found) == BLOCKS else None
            return walk
        whole = indexed // TILE_WIDTH * TILE_WIDTH
        return _ByFacets(query, self._reader, _Bounds(whole, size, after), state)

    def _look(self, index: int) -> Hit | None:
        """The entry; None for one whose content was pruned."""
        try:
            data = self._reader.entry(index)
        except EntryPruned:
            return None
        return Hit(index, hash_leaf(data), read_indexed(data))


class _Bounds(NamedTuple):
    """The index knows what is below `covered`; nothing from `size` on is asked for, nor up to `after`."""

    covered: int
    size: int
    after: Place | None


class _Walk:
    """Candidates in order: what the index knows, then what is behind it."""

    def __init__(self, query: Query, reader: Reader, bounds: _Bounds) -> None:
        self.query = query
        # What was pruned is not behind the index, whatever that has come to.
        self.covered = min(max(bounds.covered, reader.minimum), bounds.size)
        self.size = min(bounds.size, self.covered + TAIL)
        self.after = bounds.after
        self.is_timed = query.is_timed
        self.stopped_at: Place | None = None
        """Where the index was not looked at any further, though there may be more."""
        self._reader = reader

    def places(self) -> Iterator[Place]:
        """Each candidate once."""
        newest = self.query.newest
        for place in heapq.merge(self.indexed(), self._tail(), reverse=newest):
            if self.stopped_at is not None and self._is_behind(place, self.stopped_at):
                return
            if self.after is None or self._is_behind(place, self.after):
                yield place

    def indexed(self) -> Iterator[Place]:
        """Candidates below `covered`, in order; sets `stopped_at` before it ends early."""
        raise NotImplementedError

    def _tail(self) -> Iterator[Place]:
        entries = self._reader.entries(self.covered, self.size)
        places = [(self._key(data), index) for index, data in enumerate(entries, self.covered)]
        return iter(sorted(places, reverse=self.query.newest))

    def _key(self, data: bytes) -> int:
        """What the order goes by, before the index."""
        return parse_time(read_indexed(data).time) // MINUTE_US if self.is_timed else 0

    def _is_behind(self, place: Place, other: Place) -> bool:
        return place < other if self.query.newest else place > other


class _Listed(_Walk):
    """Candidates that were looked up one by one; in the order of the log."""

    def __init__(self, query: Query, reader: Reader, bounds: _Bounds, found: list[int]) -> None:
        super().__init__(query, reader, bounds)
        self.is_timed = False
        self._found = found

    def indexed(self) -> Iterator[Place]:
        places = ((0, index) for index in self._found if index < self.covered)
        return iter(sorted(places, reverse=self.query.newest))


class _ByFacets(_Walk):
    """Candidates from the rows of blocks."""

    def __init__(self, query: Query, reader: Reader, bounds: _Bounds, state: IndexState) -> None:
        super().__init__(query, reader, bounds)
        self._state = state

    def indexed(self) -> Iterator[Place]:
        wanted = _wanted(self.query)
        if not self.is_timed and not wanted:
            yield from self._all()
            return
        span, others = self._span(wanted)
        rows = self._state.facet_blocks(span, others) if self.covered else []
        if len(rows) == span.limit:
            first = rows[-1].block * TILE_WIDTH
            at = first if span.newest else first + TILE_WIDTH - 1
            self.stopped_at = (rows[-1].value if self.is_timed else 0, at)
        for row in rows:
            first = row.block * TILE_WIDTH
            key = row.value if self.is_timed else 0
            places = common_places(row.places, row.others)
            for place in reversed(places) if span.newest else places:
                if first + place < self.covered:
                    yield key, first + place

    def _all(self) -> Iterator[Place]:
        after = self.after
        if self.query.newest:
            last = self.covered if after is None else min(after[1], self.covered)
            return ((0, index) for index in range(last - 1, -1, -1))
        return ((0, index) for index in range(0 if after is None else after[1] + 1, self.covered))

    def _span(self, wanted: list[tuple[int, int]]) -> tuple[FacetSpan, list[tuple[int, int]]]:
        """Which rows lead the way, and which are held against them."""
        query, after = self.query, self.after
        if self.is_timed:
            low = (query.since_us or 0) // MINUTE_US
            high = _LAST_MINUTE if query.before_us is None else (query.before_us - 1) // MINUTE_US
            start = None if after is None else (after[0], after[1] // TILE_WIDTH)
            return FacetSpan(TIME, low, high, start, query.newest, BLOCKS), wanted
        (facet, value), *others = wanted
        start = None if after is None else (value, after[1] // TILE_WIDTH)
        return FacetSpan(facet, value, value, start, query.newest, BLOCKS), others


def _wanted(query: Query) -> list[tuple[int, int]]:
    """The properties asked for as (facet, value), those that few entries share first."""
    words = [
        (PRODUCER, query.producer),
        (MODEL, query.model),
        (OPERATION, query.operation),
        (ENDED, query.ended),
        (KIND, query.kind),
    ]
    found = [(facet, word_value(word)) for facet, word in words if word is not None]
    if query.status is not None:
        found.insert(0, (STATUS, query.status))
    return found


def _matches(query: Query, hit: Hit) -> bool:
    """Whether the entry is what was asked for: the index only named it."""
    entry, body = hit.entry, hit.entry.body
    of_decision = (
        (query.decision, body.id),
        (query.model, body.model),
        (query.operation, body.operation),
        (query.status, body.status),
        (query.ended, body.ended),
    )
    if any(wanted is not None for wanted, _ in of_decision) and entry.kind != "decision":
        return False
    pairs = (
        *of_decision,
        (query.leaf, hit.leaf_hash),
        (query.producer, entry.producer),
        (query.instance, entry.instance),
        (query.seq, entry.seq),
        (query.kind, entry.kind),
    )
    if not all(
        wanted is None or (type(found) is type(wanted) and found == wanted) for wanted, found in pairs
    ):
        return False
    if not query.is_timed:
        return True
    sealed_us = parse_time(entry.time)
    return sealed_us >= (query.since_us or 0) and (query.before_us is None or sealed_us < query.before_us)
