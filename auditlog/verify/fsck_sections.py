"""One section of a log as fsck reads it: tiles and bundles of some 8,000 entries, hashed, compared and read.

Spec: `auditlog/spec/log.md`, "fsck". A `Scanner` does what needs no knowledge of the entries before: it
hashes, compares level 0, and sums up plain entries that follow each other as `Run`s. What it finds is the
same in the process that judges and in another. Everything read is attacker-controlled: any bytes give a
`Section`. Must never: judge a chain; keep more than one section in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from auditlog.core.merkle import hash_leaves, root_hash
from auditlog.core.tiles import TILE_WIDTH, TilePath, decode_tile
from auditlog.errors import MalformedError, SourceError
from auditlog.verify.plain_runs import Gathering, Run, Single
from auditlog.verify.sources import LogSource
from auditlog.verify.tlogclient import fetch_bundle, fetch_tile

SECTION_TILES: Final = 32
"""Tiles of a section: 8,192 entries, a twentieth of a second."""

LOST_BLOCKS: Final = 3
"""Stretches with neither tile nor bundle before the log is given up: the verdict stands by then."""


class Fault(msgspec.Struct, array_like=True):
    """Something about one block. `reason` is that of a `SourceError`, or empty where bytes are wrong."""

    block: int
    what: str
    """tile: it could not be read; bundle: nor could that; entry: an entry is not the tree's."""
    reason: str
    text: str


class Section(msgspec.Struct, array_like=True):
    """What was found in the blocks from `first` on: as many as there are `leaves`."""

    first: int
    leaves: list[bytes] = []
    """Leaf hashes of each block, one after the other; empty where there is neither tile nor bundle."""
    roots: list[bytes] = []
    """The root over the leaves of each full block; empty for others."""
    faults: list[Fault] = []
    """In the order of the blocks."""
    events: list[Run | Single] = []
    """By the index of the first entry of each."""


class Scanner:
    """Reads sections of one log. For one thread."""

    def __init__(
        self, source: LogSource, origin: str, size: int, *, with_bundles: bool, minimum: int = 0
    ) -> None:
        """`size` and `origin` are those of the signed checkpoint; bundles below `minimum` are not read."""
        self._source, self._size, self._with_bundles = source, size, with_bundles
        self._minimum = minimum
        self._gathering = Gathering(origin)

    def scan(self, number: int) -> Section:
        """The section of that number, or as much of it as is worth reading."""
        first = number * SECTION_TILES
        section = Section(first, events=self._gathering.begin())
        for block in range(first, min(first + SECTION_TILES, -(-self._size // TILE_WIDTH))):
            if not self._block(block, section):
                break
        self._gathering.close()
        return section

    def _block(self, block: int, section: Section) -> bool:
        """Read one bundle and its tile; False when going on is pointless."""
        width = min(TILE_WIDTH, self._size - block * TILE_WIDTH)
        tile = self._read_tile(TilePath(0, block, width), section)
        is_wanted = self._with_bundles and (block + 1) * TILE_WIDTH > self._minimum
        entries = self._read_bundle(TilePath(None, block, width), section) if is_wanted else None
        leaves, hashes = tile, []
        if entries is not None:
            hashes = hash_leaves(entries)
            joined = b"".join(hashes)
            self._gathering.take(block * TILE_WIDTH, hashes, entries)
            if tile is None:
                leaves = joined
            elif joined != tile:
                section.faults.append(_difference(block, hashes, tile))
                # Going on from the tile says whether the tiles alone still lead to the signed root.
                hashes = []
        else:
            # Chains are followed no further than the first hole, which the fault above has named.
            self._gathering.stop()
        section.leaves.append(leaves or b"")
        is_full = leaves is not None and width == TILE_WIDTH
        section.roots.append(root_hash(hashes or decode_tile(leaves or b"", width)) if is_full else b"")
        return leaves is not None or (self._with_bundles and section.leaves.count(b"") < LOST_BLOCKS)

    def _read_tile(self, path: TilePath, section: Section) -> bytes | None:
        try:
            return fetch_tile(self._source, path)
        except SourceError as error:
            section.faults.append(Fault(path.index, "tile", error.reason, str(error)))
        except MalformedError as error:
            section.faults.append(Fault(path.index, "tile", "", f"{path}: {error}"))
        return None

    def _read_bundle(self, path: TilePath, section: Section) -> list[bytes] | None:
        try:
            return fetch_bundle(self._source, path)
        except SourceError as error:
            section.faults.append(Fault(path.index, "bundle", error.reason, str(error)))
        except MalformedError as error:
            section.faults.append(Fault(path.index, "bundle", "", f"{path}: {error}"))
        return None


def _difference(block: int, hashes: list[bytes], tile: bytes) -> Fault:
    expected = decode_tile(tile, len(hashes))
    place = next(place for place, found in enumerate(hashes) if found != expected[place])
    text = (
        f"entry {block * TILE_WIDTH + place}: expected leaf hash {expected[place].hex()} of the tree, "
        f"found {hashes[place].hex()}"
    )
    return Fault(block, "entry", "", text)


def paths_of(number: int, size: int, *, with_bundles: bool, minimum: int = 0) -> Iterator[str]:
    """What the section of that number reads, in its order."""
    first = number * SECTION_TILES
    for block in range(first, min(first + SECTION_TILES, -(-size // TILE_WIDTH))):
        width = min(TILE_WIDTH, size - block * TILE_WIDTH)
        yield str(TilePath(0, block, width))
        if with_bundles and (block + 1) * TILE_WIDTH > minimum:
            yield str(TilePath(None, block, width))
