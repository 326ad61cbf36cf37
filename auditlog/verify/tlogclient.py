"""A client of tlog-tiles logs that uses no hash before it was checked against a signed root.

Spec: `auditlog/spec/log.md`, "Reading a log". `VerifiedTree` reads the right edge of a
tree once, recomputes the root from it, and from then on believes a tile only if its
root stands in a tile already believed. Proofs built here are therefore facts about the
signed tree; verifying them again costs nothing and is still done by those who need it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import sha256

from auditlog.core.checkpoint import Checkpoint
from auditlog.core.integrate import RightEdge
from auditlog.core.merkle import (
    hash_leaf,
    prove_consistency_from,
    prove_inclusion_from,
    range_hash,
    root_hash,
)
from auditlog.core.note import NoteVerifier
from auditlog.core.proofs import HASH_BYTES
from auditlog.core.tiles import TILE_HEIGHT, TILE_WIDTH, TilePath, decode_bundle, decode_tile
from auditlog.errors import MalformedError, SourceError, VerificationError
from auditlog.verify.sources import CHECKPOINT_PATH, FolderSource, HttpSource, LogSource, open_source
from auditlog.verify.trusted_log import LogKeys, SignedCheckpoint

__all__ = [
    "FolderSource",
    "HttpSource",
    "LogSource",
    "TlogClient",
    "VerifiedTree",
    "fetch_tile",
    "open_source",
]

_CACHED_TILES = 4096  # 32 MiB of hashes: the tiles of a million leaves


def fetch_tile(source: LogSource, path: TilePath) -> bytes:
    """Hashes of a tile as the log serves them, unchecked but of the right length.

    A partial tile may be gone once the full one exists, whose first hashes are the same (C2SP tlog-tiles).

    Raises:
        SourceError: neither is there.
        MalformedError: of another length.
    """
    try:
        content = source.fetch(str(path))
    except SourceError as error:
        if error.reason != "missing" or not path.is_partial:
            raise
        content = _fetch_full(source, path, error)
        if len(content) == TILE_WIDTH * HASH_BYTES:
            content = content[: path.width * HASH_BYTES]
    if len(content) != path.width * HASH_BYTES:
        decode_tile(content, path.width)  # says what is wrong
    return content


def fetch_bundle(source: LogSource, path: TilePath) -> list[bytes]:
    """Entries of a bundle as the log serves them, unchecked but of the right number.

    Raises:
        SourceError: not there.
        MalformedError: another number of entries, or not a bundle.
    """
    width = path.width
    try:
        entries = decode_bundle(source.fetch(str(path)))
    except SourceError as error:
        if error.reason != "missing" or not path.is_partial:
            raise
        entries = decode_bundle(_fetch_full(source, path, error))
        width = TILE_WIDTH
    if len(entries) != width:
        raise MalformedError(f"expected {width} entries in {path}, found {len(entries)}")
    return entries[: path.width]


def _fetch_full(source: LogSource, path: TilePath, first: SourceError) -> bytes:
    try:
        return source.fetch(str(path.full))
    except SourceError as second:
        # The object asked for is the one to name, unless the second attempt says more than "missing".
        raise (first if second.reason == "missing" else second) from None


class VerifiedTree:
    """One signed tree, read through its tiles; everything it gives out is under the checkpoint's root.

    Not safe to share between threads.
    """

    def __init__(self, source: LogSource, checkpoint: Checkpoint, *, cached: int = _CACHED_TILES) -> None:
        """Read and check the right edge: at most one tile a level. `cached` tiles are kept, the last used.

        Raises:
            SourceError: a tile cannot be read.
            MalformedError: a tile has another length.
            VerificationError: the tiles do not give the signed root.
        """
        self._source = source
        self._checkpoint = checkpoint
        self._cached = cached
        edge = RightEdge.read(checkpoint.tree_size, lambda path: fetch_tile(source, path))
        if edge.root_hash() != checkpoint.root_hash:
            raise VerificationError(
                f"expected tiles that give the signed root {checkpoint.root_hash.hex()} of size "
                f"{checkpoint.tree_size}, found {edge.root_hash().hex()}"
            )
        self._edge = edge.levels()
        self._tiles: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint everything here is checked against."""
        return self._checkpoint

    def tile(self, level: int, index: int) -> list[bytes]:
        """The hashes of a tile, checked. Raises as the constructor does."""
        nodes = self._checkpoint.tree_size >> (TILE_HEIGHT * level)
        if index == nodes // TILE_WIDTH and nodes % TILE_WIDTH:
            return list(self._edge[level])
        if not 0 <= index < nodes // TILE_WIDTH:
            raise ValueError(f"expected a tile index below {-(-nodes // TILE_WIDTH)}, found {index}")
        if (cached := self._tiles.get((level, index))) is not None:
            self._tiles.move_to_end((level, index))
            return cached
        path = TilePath(level, index)
        hashes = decode_tile(fetch_tile(self._source, path), TILE_WIDTH)
        believed = self.tile(level + 1, index // TILE_WIDTH)[index % TILE_WIDTH]
        if root_hash(hashes) != believed:
            raise VerificationError(f"expected {path} to have the root {believed.hex()}, found another")
        self._keep((level, index), hashes)
        return hashes

    def remember(self, index: int, hashes: list[bytes]) -> None:
        """Keep a full tile of leaf hashes that another reader of this same tree has checked."""
        self._keep((0, index), hashes)

    def _keep(self, place: tuple[int, int], hashes: list[bytes]) -> None:
        self._tiles[place] = hashes
        if len(self._tiles) > self._cached:
            self._tiles.popitem(last=False)

    def node(self, level: int, index: int) -> bytes:
        """Hash of the complete subtree of 2**level leaves from leaf index * 2**level on."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, place = divmod(index << height, TILE_WIDTH)
        return root_hash(self.tile(tile_level, tile_index)[place : place + (1 << height)])

    def leaf_hash(self, index: int) -> bytes:
        """Hash of one leaf."""
        return self.tile(0, index // TILE_WIDTH)[index % TILE_WIDTH]

    def inclusion(self, index: int, tree_size: int | None = None) -> list[bytes]:
        """Inclusion proof into this tree, or into the smaller tree of its first `tree_size` leaves."""
        return prove_inclusion_from(self.node, index, self._size(tree_size))

    def consistency(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """Consistency proof from `old_size` to this tree, or to the smaller tree of `new_size` leaves."""
        return prove_consistency_from(self.node, old_size, self._size(new_size))

    def root_at(self, tree_size: int) -> bytes:
        """Root over the first `tree_size` leaves of this tree."""
        return range_hash(self.node, 0, self._size(tree_size))

    def bundle(self, index: int) -> list[bytes]:
        """The entries of a bundle, each checked against its leaf hash.

        Raises:
            SourceError: not served, as in a log whose entries are not public.
            VerificationError: an entry is not the one in the tree.
        """
        hashes = self.tile(0, index)
        entries = fetch_bundle(self._source, TilePath(None, index, len(hashes)))
        if [sha256(b"\x00" + entry).digest() for entry in entries] == hashes:
            return entries
        place = next(place for place, entry in enumerate(entries) if hash_leaf(entry) != hashes[place])
        raise VerificationError(
            f"expected entry {index * TILE_WIDTH + place} to have the leaf hash {hashes[place].hex()}, "
            "found another"
        )

    def entry(self, index: int) -> bytes:
        """One entry, checked against the tree."""
        return self.bundle(index // TILE_WIDTH)[index % TILE_WIDTH]

    def entries(self) -> Iterator[tuple[int, bytes]]:
        """All (index, entry) in order, checked."""
        for number in range(-(-self._checkpoint.tree_size // TILE_WIDTH)):
            yield from enumerate(self.bundle(number), start=number * TILE_WIDTH)

    def _size(self, tree_size: int | None) -> int:
        size = self._checkpoint.tree_size if tree_size is None else tree_size
        if not 0 <= size <= self._checkpoint.tree_size:
            raise ValueError(f"expected a size of at most {self._checkpoint.tree_size}, found {size}")
        return size


class TlogClient:
    """Reads one log: its newest checkpoint, and proofs from tiles checked against it.

    `verifiers` may hold the keys of witnesses too; a checkpoint counts only if the log itself signed it. For
    a log whose key is not named like its origin give `key_name`.
    """

    def __init__(
        self,
        source: LogSource,
        verifiers: Iterable[NoteVerifier],
        *,
        origin: str | None = None,
        key_name: str | None = None,
    ) -> None:
        """Nothing is read before the first question."""
        self._source = source
        self._keys = LogKeys(verifiers, origin=origin, key_name=key_name)
        self._newest: SignedCheckpoint | None = None
        self._tree: VerifiedTree | None = None

    def checkpoint(self) -> SignedCheckpoint:
        """Fetch and open the newest checkpoint; later questions are about its tree.

        Raises:
            SourceError: not served.
            MalformedError: not a checkpoint.
            SignatureError: not signed by this log.
        """
        signed = self._keys.open(self._source.fetch(CHECKPOINT_PATH))
        if self._tree is not None and self._tree.checkpoint != signed.checkpoint:
            self._tree = None
        self._newest = signed
        return signed

    def tree(self) -> VerifiedTree:
        """The checked tree of the newest checkpoint fetched (fetched now, if none was)."""
        if self._tree is None:
            newest = self._newest or self.checkpoint()
            self._tree = VerifiedTree(self._source, newest.checkpoint)
        return self._tree

    def inclusion(self, index: int, tree_size: int | None = None) -> list[bytes]:
        """Inclusion proof of an index into the newest tree, or into its first `tree_size` leaves."""
        return self.tree().inclusion(index, tree_size)

    def consistency(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """Consistency proof between two sizes of the newest tree."""
        return self.tree().consistency(old_size, new_size)

    def root_at(self, tree_size: int) -> bytes:
        """Root over the first `tree_size` leaves of the newest tree."""
        return self.tree().root_at(tree_size)

    def entry(self, index: int) -> bytes:
        """One entry of the newest tree, checked."""
        return self.tree().entry(index)
