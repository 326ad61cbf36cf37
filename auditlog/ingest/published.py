"""The published log as a replica shows it: the checkpoint, tiles and bundles, straight from the stores.

Spec: auditlog/spec/api.md, "Reading the log". The sequencer writes the partial tiles of a checkpoint before
the checkpoint, and keeps them until the full tile is published: so what a checkpoint implies can be read by
anyone at any time. Must never: show what the published checkpoint does not imply.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from auditlog.core.checkpoint import Checkpoint, parse_checkpoint
from auditlog.core.entry import parse_entry
from auditlog.core.note import split_note
from auditlog.core.retention import RETENTION_PATH, parse_retention
from auditlog.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TilePath,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
)
from auditlog.errors import EntryPruned, EvidenceError, NotFoundError, StorageError
from auditlog.log.config import Layout
from auditlog.log.publisher import CHECKPOINT

FRESH_S = 0.1


class Published:
    """Reads one log's published tree. Safe to use from any thread."""

    def __init__(self, layout: Layout, origin: str, monotonic: Callable[[], float]) -> None:
        self._layout = layout
        self._origin = origin
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._note = ""
        self._size = 0

    def note(self) -> str:
        """The published checkpoint, at most `FRESH_S` old. Raises: NotFoundError, StorageError."""
        self._refresh()
        if not self._note:
            raise NotFoundError("expected a published checkpoint, found none yet")
        return self._note

    def size(self) -> int:
        """Its tree size; 0 before the first. Raises: StorageError."""
        self._refresh()
        return self._size

    def tile(self, level: int, index: int, width: int = TILE_WIDTH) -> bytes:
        """Bytes of a hash tile, cut to `width`. Raises: NotFoundError, StorageError."""
        return encode_tile(self._hashes(level, index)[:width])

    def bundle(self, index: int, width: int = TILE_WIDTH) -> bytes:
        """Bytes of an entry bundle, cut to `width`. Raises: NotFoundError, StorageError."""
        return encode_bundle(decode_bundle(self._read(None, index)[0])[:width])

    def successor(self) -> dict[str, str] | None:
        """Where an ended log goes on, as its last entry says; None while that is not published.

        Raises: StorageError.
        """
        size = self.size()
        if not size:
            return None
        number, place = divmod(size - 1, TILE_WIDTH)
        entry = parse_entry(decode_bundle(self._read(None, number)[0])[place])
        if not entry.by_log or entry.kind != "successor":
            return None
        return {"origin": str(entry.body["origin"]), "vkey": str(entry.body["vkey"])}

    def leaf_hash(self, index: int) -> bytes:
        """Leaf hash of a published entry. Raises: NotFoundError, StorageError."""
        hashes = self._hashes(0, index // TILE_WIDTH)
        if index % TILE_WIDTH >= len(hashes):
            raise NotFoundError(f"expected an entry below the published size, found number {index}")
        return hashes[index % TILE_WIDTH]

    def _hashes(self, level: int, index: int) -> list[bytes]:
        data, width = self._read(level, index)
        return decode_tile(data, width)

    def _read(self, level: int | None, index: int) -> tuple[bytes, int]:
        """The largest published width of a tile, and that width."""
        width = min(TILE_WIDTH, (self.size() >> (TILE_HEIGHT * (level or 0))) - index * TILE_WIDTH)
        if width < 1 or index < 0:
            raise NotFoundError("expected a tile within the published tree, found one outside")
        # A partial tile is removed once its full one is published: then that one is there.
        for each in dict.fromkeys((width, TILE_WIDTH)):
            path = TilePath(level, index, each)
            data = self._layout.store_of(path).get(str(path))
            if data is not None:
                return data, each
        if level is None and (index + 1) * TILE_WIDTH <= self._minimum():
            raise EntryPruned(f"expected bundle {index} to be kept, found a pruned one")
        raise StorageError(f"expected {TilePath(level, index, width)} in the store, found nothing")

    def _minimum(self) -> int:
        """Below which index bundles may be gone, as the public document says."""
        data = self._layout.stores.public.get(RETENTION_PATH)
        if data is None:
            return 0
        try:
            return parse_retention(split_note(data.decode("utf-8"))[0]).minimum
        except (EvidenceError, UnicodeDecodeError) as error:
            raise StorageError("expected a retention document, found other bytes") from error

    def _refresh(self) -> None:
        with self._lock:
            if self._monotonic() - self._read_at < FRESH_S:
                return
            data = self._layout.stores.public.get(CHECKPOINT)
            if data is not None:
                checkpoint = _parse(data)
                # Torn or foreign bytes are shown to nobody, and a store that lags does not turn us back.
                if checkpoint.origin == self._origin and checkpoint.tree_size >= self._size:
                    self._note, self._size = data.decode("utf-8"), checkpoint.tree_size
            self._read_at = self._monotonic()


def _parse(data: bytes) -> Checkpoint:
    try:
        return parse_checkpoint(split_note(data.decode("utf-8"))[0])
    except (EvidenceError, UnicodeDecodeError) as error:
        raise StorageError("expected a checkpoint in the public store, found other bytes") from error
