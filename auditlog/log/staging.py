r"""Staging: everything one commit will write, in one object written before it, and applied from it after.

Spec: design section 6; names: `auditlog/spec/decisions/0002-staging-names.md`. The object:

    "auditlog/staged@v1\n" || uint64 old size || uint64 new size || 32-byte new root
    || (uint16 path length || path || uint32 data length || data)*

It holds the tiles and bundles that became full, and the partial ones of the new size, so it can be checked
against the signed root by itself: `read_staged` hashes every byte of it again. The newest committed one stays
until the next commit, and every start goes through it, by the same `apply_staged` as every commit.

Must never: put an object in the tree that was not checked
against the root, or take an uncommitted one for committed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from struct import Struct
from struct import error as struct_error

from auditlog.core.integrate import RightEdge, level_count
from auditlog.core.merkle import hash_leaves, root_hash
from auditlog.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TilePath,
    decode_bundle,
    decode_tile,
    parse_path,
    partial_width,
)
from auditlog.errors import DamagedStoreError, ImmutableObjectError, MalformedError
from auditlog.log.config import Layout
from auditlog.log.tree import Object, Tree
from auditlog.storage.ports import ObjectStore

_MAGIC = b"auditlog/staged@v1\n"
_SIZES = Struct(">QQ32s")
_PATH = Struct(">H")
_DATA = Struct(">I")


@dataclass(frozen=True, slots=True)
class Staged:
    """A staged commit that was read back and checked: it belongs to `tree.size` and `tree.root_hash`."""

    old_size: int
    tree: Tree
    full: list[Object]
    bundles: dict[int, list[bytes]] = field(default_factory=dict)
    """Entries of the full bundles by number, as the check read them from the stored bytes."""


def staged_name(old_size: int, size: int, root: bytes) -> str:
    """Name of the staged object; it pins the content, so the same name is always the same bytes."""
    return f"{old_size}-{size}-{root.hex()}"


def find_staged(staging: ObjectStore, named: str | None, size: int, root: bytes) -> str:
    """Name of the staged object that led to the committed tree; `named` is what its row says.

    Others may lead to the same tree from another size, where entries were sent again in other groups: they
    lack, or repeat, what became full between. So each commit names its own. A row of an older release names
    none, or that of another tree: then the one from the smallest size is taken, which holds all that the
    others hold.

    Raises:
        DamagedStoreError: none is named, and none is there.
        StorageError: the store failed.
    """
    ending = f"-{size}-{root.hex()}"
    if named is not None and named.endswith(ending):
        return named
    found = [name for name in staging.list() if name.endswith(ending)]
    if not found:
        raise lost(size)
    return min(found, key=old_size_of)


def old_size_of(name: str) -> int:
    """Size of the tree that the staged object of this name builds on."""
    return int(name.partition("-")[0])


def lost(size: int) -> DamagedStoreError:
    """What to tell the operator whose staging store does not fit the database."""
    return DamagedStoreError(
        f"expected the staged object of the committed tree of size {size}, found none: the staging "
        "folder must be of the same moment as the database. Bring both back together"
    )


def stage(
    staging: ObjectStore, old: Tree, tree: Tree, full: list[Object], leaf_hashes: Sequence[bytes]
) -> tuple[str, Staged]:
    """Write the staged object, durable on return, read it back and check it; return its name and the check.

    What is signed next is what the store holds, not what memory held: a bit that flipped on the way, in an
    entry while it waited, or while the tree was grown is found here. `leaf_hashes` are those that admission
    computed of the new entries.

    Raises:
        StorageError: it could not be written, or what came back is not what was written.
    """
    name = write_staged(staging, old, tree, full)
    return name, read_back(staging, name, tree, admitted_hashes(old, leaf_hashes))


def admitted_hashes(old: Tree, leaf_hashes: Sequence[bytes]) -> list[bytes]:
    """Hashes of all entries in a staged object: those of the old partial bundle, and the new ones."""
    return [*(old.levels[0] if old.levels else ()), *leaf_hashes]


def write_staged(staging: ObjectStore, old: Tree, tree: Tree, full: list[Object]) -> str:
    """Write the staged object, durable on return; its name. Raises: StorageError."""
    name = staged_name(old.size, tree.size, tree.root_hash)
    data = _encode(old.size, tree, full)
    try:
        staging.put_new(name, data)
    except ImmutableObjectError:
        # A torn write of an earlier attempt at this very commit. The name pins the content, so nothing
        # that could be committed is lost by writing it again.
        staging.replace(name, data)
    return name


def read_back(staging: ObjectStore, name: str, tree: Tree, admitted: list[bytes]) -> Staged:
    """Read what was just staged, hash all of it, and compare. Raises: StorageError, DamagedStoreError."""

    def check(staged: Staged) -> None:
        if _check(staged) != admitted:
            raise MalformedError("expected entries of the hashes that were admitted, found others")

    return _read(staging, name, tree.size, tree.root_hash, check)


def hashes_of(
    staging: ObjectStore, name: str, size: int, root: bytes, begin: Callable[[Staged], object]
) -> tuple[Staged, list[bytes]]:
    """As `read_staged`, with the hashes of its entries, each computed from the stored bytes. `begin` is given
    what was read before it is checked.

    Raises:
        DamagedStoreError, StorageError: as `read_staged`.
    """
    found: list[bytes] = []

    def check(staged: Staged) -> None:
        begin(staged)
        found.extend(_check(staged))

    return _read(staging, name, size, root, check), found


def read_staged(staging: ObjectStore, name: str, size: int, root: bytes) -> Staged:
    """Read a staged object and hash all of it again, from the stored bytes.

    Raises:
        DamagedStoreError: it is gone, or it does not lead to a tree of this size and root.
        StorageError: the store failed.
    """
    return _read(staging, name, size, root, _check)


def _read(
    staging: ObjectStore, name: str, size: int, root: bytes, check: Callable[[Staged], object]
) -> Staged:
    data = staging.get(name)
    if data is None:
        raise lost(size)
    return open_staged(name, data, size, root, check)


def open_staged(
    name: str, data: bytes, size: int, root: bytes, check: Callable[[Staged], object] | None = None
) -> Staged:
    """Hash all of a staged object again; as `read_staged`, from bytes that somebody else has read.

    Raises:
        DamagedStoreError: it does not lead to a tree of this size and root.
    """
    try:
        staged = _decode(data)
        (check or _check)(staged)
    except (MalformedError, struct_error, UnicodeDecodeError) as error:
        raise DamagedStoreError(
            f"staged object {name}: expected intact bytes, found damage: {error}"
        ) from error
    found = staged_name(staged.old_size, staged.tree.size, staged.tree.root_hash)
    if found != name or (staged.tree.size, staged.tree.root_hash) != (size, root):
        raise DamagedStoreError(f"staged object {name}: expected what its name says, found {found}")
    return staged


def apply_staged(staged: Staged, layout: Layout) -> None:
    """Put what the commit finished into the tree; durable on return; any number of times, same result.

    Raises:
        StorageError: a write failed. ImmutableObjectError: the tree holds other bytes: damage, or another
        log's folder.
    """
    for store, objects in by_store(staged.full, layout):
        put_tiles(store, objects)


def by_store(full: Sequence[Object], layout: Layout) -> list[tuple[ObjectStore, list[Object]]]:
    """Objects with the store they belong in."""
    found: dict[int, tuple[ObjectStore, list[Object]]] = {}
    for path, data in full:
        store = layout.store_of(path)
        found.setdefault(id(store), (store, []))[1].append((path, data))
    return list(found.values())


def put_tiles(store: ObjectStore, objects: list[Object]) -> None:
    """Create tiles and bundles that were checked against a signed root; finish those an earlier crash tore.

    Raises:
        StorageError, ImmutableObjectError: as `apply_staged`.
    """
    try:
        store.put_new_all([(str(path), data) for path, data in objects])
    except ImmutableObjectError:
        for path, data in objects:
            _put_or_finish(store, str(path), data)


def _put_or_finish(store: ObjectStore, path: str, data: bytes) -> None:
    try:
        store.put_new(path, data)
    except ImmutableObjectError:
        held = store.get(path)
        # A beginning of the right bytes is a write that a crash cut off; anything else is damage, and the
        # operator has to see it before this log signs again.
        if held is None or not data.startswith(held):
            raise
        store.replace(path, data)


def _encode(old_size: int, tree: Tree, full: list[Object]) -> bytes:
    parts = [_MAGIC, _SIZES.pack(old_size, tree.size, tree.root_hash)]
    for path, data in [*full, *tree.partials()]:
        name = str(path).encode("ascii")
        parts += (_PATH.pack(len(name)), name, _DATA.pack(len(data)), data)
    return b"".join(parts)


def _decode(data: bytes) -> Staged:
    if not data.startswith(_MAGIC):
        raise MalformedError("expected a staged object, found other bytes")
    at = len(_MAGIC)
    old_size, size, root = _SIZES.unpack_from(data, at)
    at += _SIZES.size
    full: list[Object] = []
    partial: dict[TilePath, bytes] = {}
    while at < len(data):
        path_end = at + 2 + _PATH.unpack_from(data, at)[0]
        path = parse_path(data[at + 2 : path_end].decode("ascii"))
        end = path_end + 4 + _DATA.unpack_from(data, path_end)[0]
        content = data[path_end + 4 : end]
        if end > len(data):
            raise MalformedError(f"expected {end} bytes, found {len(data)}")
        if path.is_partial:
            partial[path] = content
        else:
            full.append((path, content))
        at = end
    edge = RightEdge.read(size, lambda path: partial.pop(path, b""))
    tail_width = partial_width(0, size)
    bundle = TilePath(None, size // TILE_WIDTH, tail_width) if tail_width else None
    tail = tuple(decode_bundle(partial.pop(bundle, b""))) if bundle else ()
    if partial:
        raise MalformedError(f"expected only the partial tiles of size {size}, found others")
    if edge.root_hash() != root:
        raise MalformedError(f"expected partial tiles of root {root.hex()}, found {edge.root_hash().hex()}")
    return Staged(old_size, Tree(size, root, edge.levels(), tail, None), full)


def _check(staged: Staged) -> list[bytes]:
    """Check that every byte hangs on the root: entries in level 0, each full tile in the level above. Return
    the hashes of the entries, each computed from the stored bytes.
    """
    tiles = {path: decode_tile(data, TILE_WIDTH) for path, data in staged.full if path.level is not None}
    levels = staged.tree.levels

    def above(level: int, index: int) -> bytes | None:
        """The hash at place `index` of `level`, from a full tile here or from the right edge."""
        row = tiles.get(TilePath(level, index // TILE_WIDTH))
        if row is None and level < len(levels):
            first = staged.tree.size >> (TILE_HEIGHT * (level + 1))
            row = list(levels[level]) if index // TILE_WIDTH == first else None
        place = index % TILE_WIDTH
        return row[place] if row is not None and place < len(row) else None

    for path, hashes in tiles.items():
        if path.level is not None and above(path.level + 1, path.index) != root_hash(hashes):
            raise MalformedError(f"{path}: expected the hash that the level above holds, found another")
    found: list[bytes] = []
    for path, data in staged.full:
        if path.level is None:
            entries = staged.bundles[path.index] = decode_bundle(data)
            hashes = hash_leaves(entries)
            if hashes != tiles.get(TilePath(0, path.index)):
                raise MalformedError(f"{path}: expected entries of the hashes in level 0, found others")
            found += hashes
    tail = hash_leaves(staged.tree.tail)
    if tail != (list(levels[0]) if levels else []):
        raise MalformedError("partial bundle: expected entries of the hashes in level 0, found others")
    _check_complete(staged, tiles)
    return found + tail


def _check_complete(staged: Staged, tiles: dict[TilePath, list[bytes]]) -> None:
    """Check that nothing the commit finished is missing."""
    old, new = staged.old_size, staged.tree.size
    bundles = {path.index for path, _ in staged.full if path.level is None}
    if bundles != set(range(old // TILE_WIDTH, new // TILE_WIDTH)):
        raise MalformedError("expected every bundle that became full, found others")
    for level in range(level_count(new)):
        shift = TILE_HEIGHT * (level + 1)
        if {path.index for path in tiles if path.level == level} != set(range(old >> shift, new >> shift)):
            raise MalformedError(f"expected every tile of level {level} that became full, found others")
