"""Catching up with one tree: tiles and entries from where the monitor stands to the end, batch by batch.

Spec: auditlog/spec/monitor.md, "Catching up". Every hash is checked against the signed root before it is
used, every entry against its hash; nothing before the point reached is read again. Promises: a batch is in
the store whole or not at all, and going on after a kill gives the same state as never having stopped. What
the log serves is attacker-controlled: it ends in alarms and reasons, never in another exception.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final

from auditlog.core.integrate import level_count
from auditlog.core.tiles import TILE_HEIGHT, TILE_WIDTH, TilePath, partial_width
from auditlog.core.trust import Trust
from auditlog.errors import EvidenceError, SourceError
from auditlog.verify.monitor.anchors import check_claims
from auditlog.verify.monitor.books import Books
from auditlog.verify.monitor.prefetch import Ahead
from auditlog.verify.monitor.prove import Sight
from auditlog.verify.monitor.raised import Raised
from auditlog.verify.monitor.reader import Piece
from auditlog.verify.monitor.reading import Readers, Reading
from auditlog.verify.sources import LogSource
from auditlog.verify.tlogclient import VerifiedTree, fetch_tile

BATCH_TILES: Final = 64
"""Tiles between two commits: 16,384 entries."""

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all)."""


class Walk:
    """One pass from where the books stand to the end of a tree."""

    def __init__(
        self,
        books: Books,
        tree: VerifiedTree,
        note: str,
        trust: Trust,
        *,
        progress: Progress,
        readers: Readers | None = None,
        is_stopped: Callable[[], bool] = lambda: False,
        minimum: int = 0,
    ) -> None:
        """`tree` is that of `note`, which extends what the books know. `is_stopped` is asked after each
        batch. Bundles of entries below `minimum` may be gone.
        """
        self._minimum = minimum
        self._books, self._tree, self._progress = books, tree, progress
        self._readers, self._is_stopped = readers, is_stopped
        self._reading: Reading | None = None
        self._size, self._trust = tree.checkpoint.tree_size, trust
        self._sight = Sight(tree, note, books.producers.chains)
        self._range = books.standing.range()
        self._with_entries = True

    @property
    def sight(self) -> Sight:
        """What is looked at."""
        return self._sight

    def run(self, source: LogSource) -> bool:
        """Go to the end; False where the tree itself could not be read to its end, or a stop came first."""
        standing = self._books.standing
        standing.entries_why = ""
        number = min(standing.entries_size, standing.tree_size) // TILE_WIDTH
        if self._readers is not None:
            self._reading = self._readers.start(self._tree.checkpoint, number)
        if self._reading is None:
            self._plan(source, number)
        try:
            return self._go(number, source)
        finally:
            self._end_reading()

    def _go(self, number: int, source: LogSource) -> bool:
        unsaved = 0
        while number * TILE_WIDTH < self._size:
            piece = self._piece(number, source)
            try:
                hashes = self._tree.tile(0, number) if piece is None else self._hashes(piece)
            except (SourceError, EvidenceError) as error:
                self._broken("tile", number, error)
                self._commit()
                return False
            number = self._one(number, hashes, piece, source)
            unsaved += 1
            if unsaved >= BATCH_TILES:
                self._commit()
                unsaved = 0
                self._progress(min(self._size, number * TILE_WIDTH), self._size)
                if self._is_stopped():
                    return False
        self._commit()
        self._progress(self._size, self._size)
        return True

    def _piece(self, number: int, source: LogSource) -> Piece | None:
        """What the reader has read of a tile; from where it ends, everything is read here."""
        if self._reading is None:
            return None
        piece = self._reading.take(number)
        if piece is None:
            self._end_reading()
            self._plan(source, number)
        return piece

    def _hashes(self, piece: Piece) -> list[bytes]:
        hashes = piece.leaf_hashes()
        # Heads and evidence ask for them again.
        self._tree.remember(piece.number, hashes)
        return hashes

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def _one(self, number: int, hashes: list[bytes], piece: Piece | None, source: LogSource) -> int:
        """Take in one tile and its entries; returns the next tile to read."""
        standing, first = self._books.standing, number * TILE_WIDTH
        self._extend(first, hashes)
        if not self._with_entries or standing.entries_size >= first + len(hashes):
            return number + 1
        if piece is not None:
            self._take_piece(first, hashes, piece)
            return number + 1
        self._with_entries = self._entries(number, first, hashes)
        if self._with_entries:
            return number + 1
        # Without entries the tiles go on from where they stand, not from where the entries do.
        following = max(number + 1, standing.tree_size // TILE_WIDTH)
        self._plan(source, following)
        return following

    def _commit(self) -> None:
        # What could not be compared stays in the books, and is compared with the next batch.
        with contextlib.suppress(SourceError, EvidenceError):
            check_claims(self._books, self._tree, self._trust)
        self._books.commit(self._sight)

    def _plan(self, source: LogSource, number: int) -> None:
        if isinstance(source, Ahead):
            source.plan(self._paths(number))

    def _paths(self, number: int) -> Iterator[str]:
        for following in range(number, self._size // TILE_WIDTH):
            yield str(TilePath(0, following))
            if self._with_entries:
                yield str(TilePath(None, following))

    def _extend(self, first: int, hashes: list[bytes]) -> None:
        standing = self._books.standing
        if standing.tree_size < first + len(hashes):
            self._range.extend(hashes[max(0, standing.tree_size - first) :])
            standing.tree_size, standing.peaks = self._range.size, list(self._range.hashes)

    def _entries(self, number: int, first: int, hashes: list[bytes]) -> bool:
        """Fold one bundle; False where it cannot be read."""
        standing, fold = self._books.standing, self._books.fold
        try:
            entries = self._tree.bundle(number)
        except (SourceError, EvidenceError) as error:
            standing.entries_why = str(error)
            if (number + 1) * TILE_WIDTH <= self._minimum:
                standing.entries_why = (
                    f"entries {standing.entries_size} to {self._minimum - 1} were pruned before they were "
                    f"read here, below the published minimum index {self._minimum}"
                )
                return False
            is_closed = isinstance(error, SourceError) and (
                error.reason in ("refused", "unreachable") or standing.entries_size == 0
            )
            # A log whose entries need a token shows none from the start: that is no alarm.
            if not is_closed or standing.entries_size:
                self._broken("bundle", number, error)
            return False
        for place in range(max(0, standing.entries_size - first), len(entries)):
            fold.take(first + place, hashes[place], entries[place])
        standing.entries_size = first + len(entries)
        return True

    def _take_piece(self, first: int, hashes: list[bytes], piece: Piece) -> None:
        """Fold what the reader has read."""
        standing, fold = self._books.standing, self._books.fold
        take, take_plain = fold.take, fold.take_plain
        for place in range(max(0, standing.entries_size - first), len(hashes)):
            entry = piece.entries[place]
            if isinstance(entry, bytes):
                take(first + place, hashes[place], entry)
            else:
                take_plain(first + place, hashes[place], entry)
        standing.entries_size = first + len(hashes)

    def _broken(self, what: str, number: int, error: SourceError | EvidenceError) -> None:
        """A part of the signed tree that is not served, or is not the tree's."""
        if isinstance(error, SourceError):
            if error.reason == "unreachable":
                if what == "tile" or self._books.standing.entries_size:
                    detail = f"{what} {number} of {self._size} entries: {error}"
                    self._books.unreached[what] = (detail, self._sight.note)
                return
            alarm, where = "tiles_withheld", f"the log does not serve {what} {number} of the tree it signed"
        else:
            alarm, where = "tiles_mismatch", f"what the log serves as {what} {number} is not of its tree"
        key = f"{alarm}:{what}:{number}"
        self._books.book.take(Raised(alarm=alarm, key=key, detail=f"{where}: {error}"))


def shows_tiles(source: LogSource, size: int) -> bool:
    """Whether any tile at the right edge of a tree of that size is served."""
    for path in (TilePath(0, 0, min(size, TILE_WIDTH)), *edge_paths(size)):
        with contextlib.suppress(SourceError, EvidenceError):
            fetch_tile(source, path)
            return True
    return False


def edge_paths(size: int) -> Iterator[TilePath]:
    """The partial tiles of a tree, one a level at most."""
    for level in range(level_count(size)):
        if width := partial_width(level, size):
            yield TilePath(level, size >> (TILE_HEIGHT * (level + 1)), width)
