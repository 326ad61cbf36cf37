"""Where things are in a log: which bundles speak of a producer's life, so that a promise costs few of them.

Spec: auditlog/spec/monitor.md, "Promises". One row a bundle for each life in it, written in the transaction
of the batch. Promises: the bundles given for a promise are all in which `auditlog.verify.promise_scan` could
find anything, so that scanning those gives what scanning the log gives. Must never: be believed for what it
does not lead to; it only says where to look.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from auditlog.core.entry import Entry
from auditlog.core.promise import Promise
from auditlog.core.tiles import TILE_WIDTH
from auditlog.verify.monitor.store import Store

_ODD: Final = b""
"""Bundles with what may speak of anybody: notices, and what is no entry of this log."""
_OF_A_PRODUCER: Final = frozenset({"instance", "rotation", "gap"})


class Places:
    """The index of one log. Not for several threads."""

    def __init__(self, store: Store, origin: str) -> None:
        self._store, self._origin = store, origin
        self._instance, self._low, self._high, self._tile = "", 0, 0, -1
        self._rows: dict[tuple[bytes, int, int], int] = {}
        """(life, lowest number, bundle) to the highest number; not written yet."""

    def take(self, index: int, entry: Entry | None, began_after: int = 0) -> None:
        """The next entry; None for bytes that are none of this log's. `began_after` is where the entry is
        that a new instance goes on from.
        """
        if entry is not None and entry.instance == self._instance and index // TILE_WIDTH == self._tile:
            seq = entry.seq
            if seq > self._high:
                self._high = seq
            elif seq < self._low:
                self._low = seq
        else:
            self._turn(index, entry)
        if entry is None or entry.kind == "notice":
            self._rows[_ODD, 0, index // TILE_WIDTH] = 0
        elif entry.kind in _OF_A_PRODUCER:
            self._rows[_key(entry.producer), 0, index // TILE_WIDTH] = 0
            if entry.kind == "instance":
                self._rows[_key(entry.producer), 0, max(0, began_after) // TILE_WIDTH] = 0

    def _turn(self, index: int, entry: Entry | None) -> None:
        """Another life, or another bundle."""
        self._flush()
        self._tile = index // TILE_WIDTH
        self._instance = "" if entry is None else entry.instance
        if entry is not None:
            self._low = self._high = entry.seq

    def _flush(self) -> None:
        if self._instance:
            place = (_key(self._instance), self._low, self._tile)
            self._rows[place] = max(self._high, self._rows.get(place, 0))

    def save(self, connection: sqlite3.Connection) -> None:
        """Write what is new, in the transaction of `connection`."""
        self._flush()
        rows = [(self._origin, *place, high) for place, high in self._rows.items()]
        # A stretch that begins where another did in the same bundle must not make that one shorter.
        connection.executemany(
            "INSERT INTO place VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET high = max(high, excluded.high)",
            rows,
        )

    def saved(self) -> None:
        """It is on disk. The stretch in hand begins anew, for its row is written."""
        self._rows = {}
        self._instance = ""

    def tiles(self, promise: Promise, enrolled_at: int, size: int, read: int) -> list[int]:
        """Bundles of the first `size` entries, in order, that may speak of a promise; `read` entries are in
        this index. `enrolled_at` is where its producer was enrolled.
        """
        life, seq = _key(promise.instance), promise.seq
        found = {enrolled_at // TILE_WIDTH}
        marks = self._tiles("life = ? AND low = 0", _key(promise.producer)) | self._tiles("life = ?", _ODD)
        found |= marks | self._tiles("life = ? AND low <= ? AND high >= ?", life, seq + 1, seq)
        for edge in ("min(tile)", "max(tile)"):
            found |= self._tiles("life = ?", life, what=edge)
        for mark in marks:
            # The newest entry of the promised life before whatever is there.
            found |= self._tiles("life = ? AND tile <= ?", life, mark, what="max(tile)")
        end = -(-size // TILE_WIDTH)
        found |= set(range(read // TILE_WIDTH, end))
        return sorted(tile for tile in found if tile < end)

    def _tiles(self, where: str, *values: object, what: str = "tile") -> set[int]:
        query = f"SELECT {what} FROM place WHERE origin = ? AND {where}"  # noqa: S608  our own words
        return {row[0] for row in self._store.read(query, (self._origin, *values)) if row[0] is not None}


def _key(text: str) -> bytes:
    """An identity in few bytes: ids are hex; a life of the log itself, or of a stranger, is as it is."""
    try:
        return bytes.fromhex(text)
    except ValueError:
        return text.encode("utf-8", "replace")
