"""The tree at one committed size, with just enough in hand to grow it: `Tree` and `grow`.

Spec: `auditlog/spec/log.md`, "Tiles". A `Tree` is immutable and may be read by any thread: the sequencer
replaces it whole after each commit. Pure; the tiles themselves come from `auditlog.core.integrate`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auditlog.core.integrate import RightEdge
from auditlog.core.proofs import EMPTY_ROOT
from auditlog.core.tiles import TILE_WIDTH, TilePath, encode_bundle

Object = tuple[TilePath, bytes]
"""A tile or bundle with its place."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of `size` leaves: its root, its partial tiles and the entries of its partial bundle."""

    size: int
    root_hash: bytes
    levels: tuple[tuple[bytes, ...], ...]
    """Hashes of the partial tile of each level."""
    tail: tuple[bytes, ...]
    """Entries of the partial bundle: those of `levels[0]`."""
    note: str | None
    """The signed checkpoint of this tree; None before one is signed."""

    @property
    def tail_start(self) -> int:
        """Index of the first entry in `tail`."""
        return self.size - len(self.tail)

    def partials(self) -> list[Object]:
        """The partial tiles and the partial bundle of exactly this size."""
        objects = [(tile.path, tile.data) for tile in RightEdge(self.size, self.levels).partials()]
        if self.tail:
            path = TilePath(None, self.size // TILE_WIDTH, len(self.tail))
            objects.append((path, encode_bundle(self.tail)))
        return objects


EMPTY_TREE = Tree(0, EMPTY_ROOT, (), (), None)


def grow(tree: Tree, entries: Sequence[bytes], leaf_hashes: Sequence[bytes]) -> tuple[Tree, list[Object]]:
    """Append entries: the new tree (not signed yet) and the tiles and bundles that became full."""
    edge = RightEdge(tree.size, tree.levels)
    full = [(tile.path, tile.data) for tile in edge.extend(leaf_hashes)]
    row = [*tree.tail, *entries]
    whole = len(row) // TILE_WIDTH * TILE_WIDTH
    first = tree.size // TILE_WIDTH
    full += [
        (TilePath(None, first + at // TILE_WIDTH), encode_bundle(row[at : at + TILE_WIDTH]))
        for at in range(0, whole, TILE_WIDTH)
    ]
    return Tree(edge.size, edge.root_hash(), edge.levels(), tuple(row[whole:]), None), full
