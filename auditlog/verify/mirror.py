"""Copying a whole log, every byte of it checked against the signed checkpoint before it is written.

Spec: `auditlog/spec/log.md`, "Mirrors". The copy is a tlog-tiles folder that any file server can serve. Order
of writes: full tiles and bundles, then the partial ones, then `checkpoint`; a copy that stops anywhere shows
its old checkpoint and goes on from where it stopped. Runs may overlap (a bucket has no lock): the checkpoint
is compared and swapped, so it never goes back, and partial objects are removed only by the run whose
checkpoint stands, those of smaller sizes: what a larger size shares with them, the standing one has too.
Everything read from the source is attacker-controlled.
Promises: what the copy holds below its checkpoint hangs on that checkpoint; other bytes are never written
over what is there. Must never: follow a log that was rolled back or has two histories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import ne
from typing import Any, Protocol, TypeVar

from auditlog.core.merkle import hash_leaf, root_hash
from auditlog.core.note import Ed25519Verifier
from auditlog.core.retention import RETENTION_PATH, Retention, open_retention
from auditlog.core.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    TilePath,
    decode_bundle,
    decode_tile,
    encode_bundle,
    encode_tile,
)
from auditlog.errors import (
    EvidenceError,
    InconsistentLogError,
    MalformedError,
    SourceError,
    VerificationError,
)
from auditlog.verify.retention import Told, read_retention
from auditlog.verify.sources import CHECKPOINT_PATH, LogSource
from auditlog.verify.tlogclient import VerifiedTree, fetch_bundle, fetch_tile
from auditlog.verify.trusted_log import LogKeys, SignedCheckpoint

GROUP = 16
"""Bundles held in memory at once: 4 MiB of ordinary entries, 256 MiB of the largest there can be."""
_THREADS = 8

Progress = Callable[[int, int], None]
Item = TypeVar("Item")


class MirrorTarget(Protocol):
    """Where the copy goes: what a mirror needs of an object store of `auditlog.storage`."""

    def get(self, path: str) -> bytes | None:
        """The bytes, or None."""

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create objects, durable on return; the same bytes again are fine, others are refused."""

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:
        """Create the object or take the place of the old one, atomically, unless there is one that `keeps`
        says stays; whether it was put. What `keeps` saw is what is replaced.
        """

    def delete(self, path: str) -> None:
        """Remove the object, if there is one."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What a run did. Sizes in entries; `copied` counts the objects written."""

    origin: str
    old_size: int
    size: int
    root_hash: bytes
    copied: int
    has_entries: bool
    """Whether the bundles were copied as well: a source may keep them from the public."""
    pruned: int
    """Entries below this are not in the copy: the source has pruned them, and says so."""
    copy_size: int
    """What the copy shows: more than `size` if another run brought it further meanwhile."""

    def to_json(self) -> dict[str, Any]:
        """Members as JSON values."""
        return {
            "origin": self.origin,
            "old_size": self.old_size,
            "size": self.size,
            "root": self.root_hash.hex(),
            "objects_copied": self.copied,
            "has_entries": self.has_entries,
            "pruned": self.pruned,
            "copy_size": self.copy_size,
        }


def mirror(
    source: LogSource,
    target: MirrorTarget,
    vkey: str,
    *,
    hashes_only: bool = False,
    progress: Progress | None = None,
) -> Mirrored:
    """Bring the copy up to the source's newest checkpoint.

    Args:
        source: where the log is read from, with a token inside if its bundles need one.
        target: where the copy lies, or is to lie.
        vkey: the log's key, from the reader's own trust file.
        hashes_only: leave the entries out though they are served.
        progress: told (entries done, entries in all).

    Raises:
        MalformedError: not a key; or the source or the copy holds something that is no checkpoint.
        InconsistentLogError: the source was rolled back or has another history than the copy; both notes.
        VerificationError: what was served is not what was signed. SourceError: it is not served.
        StorageError: the target failed, or holds other bytes, which are left as they are.
    """
    verifier = Ed25519Verifier.from_vkey(vkey)
    keys = LogKeys([verifier], key_name=verifier.name)
    # The copy first: what another run puts there after the source was read is no rollback of the source.
    held_note = target.get(CHECKPOINT_PATH)
    signed = keys.open(source.fetch(CHECKPOINT_PATH))
    held = None if held_note is None else keys.open(held_note)
    tree = VerifiedTree(source, signed.checkpoint)
    _check_follows(held, signed, tree)
    show = _Showing(target, keys, signed, tree)
    told = read_retention(source, [verifier], signed.checkpoint)
    if told.fault:
        raise VerificationError(told.fault)
    copy = _Copy(source, target, tree, 0 if held is None else held.tree_size, told)
    has_entries = not hashes_only and copy.serves_entries()
    copy.run(has_entries, progress or (lambda _done, _all: None))
    if told.note:
        # Before the checkpoint: a reader of the copy is told of a hole before it can meet it.
        target.replace_unless(RETENTION_PATH, told.note.encode("utf-8"), partial(_tells_more, told, verifier))
    standing = show.place(held_note, held)
    if standing is signed:
        copy.drop_superseded(show.replaced)
    return Mirrored(
        origin=signed.checkpoint.origin,
        old_size=copy.old_size,
        size=signed.tree_size,
        root_hash=signed.root_hash,
        copied=copy.written,
        has_entries=has_entries,
        pruned=told.minimum if has_entries and copy.lacks_pruned() else 0,
        copy_size=standing.tree_size,
    )


def _check_follows(held: SignedCheckpoint | None, signed: SignedCheckpoint, tree: VerifiedTree) -> None:
    """The source's tree must hold the copy's."""
    if held is None:
        return
    if held.checkpoint.origin != signed.checkpoint.origin:
        raise MalformedError(
            f"expected a copy of {signed.checkpoint.origin} in the target, found {held.checkpoint.origin}"
        )
    if signed.tree_size < held.tree_size:
        raise InconsistentLogError(
            f"expected at least the {held.tree_size} entries copied earlier, found {signed.tree_size}",
            smaller=signed.note,
            larger=held.note,
        )
    found = tree.root_at(held.tree_size)
    if found != held.root_hash:
        raise InconsistentLogError(
            f"expected the root {held.root_hash.hex()} at size {held.tree_size} as it was signed earlier, "
            f"found {found.hex()}: the log has two histories",
            smaller=held.note,
            larger=signed.note,
        )


class _Showing:
    """Puts the checkpoint of a run, unless the copy has been brought further meanwhile."""

    def __init__(
        self, target: MirrorTarget, keys: LogKeys, signed: SignedCheckpoint, tree: VerifiedTree
    ) -> None:
        self._target, self._keys, self._signed, self._tree = target, keys, signed, tree
        self.replaced = 0
        """Size of the checkpoint whose place was taken."""

    def place(self, note: bytes | None, held: SignedCheckpoint | None) -> SignedCheckpoint:
        """What stands then: ours, or a larger one. `note` was found, holds `held`, and is followed by ours.

        Ends: each turn lost is one that another run has won, and none goes back.
        """
        data = self._signed.note.encode("utf-8")
        while not self._target.replace_unless(CHECKPOINT_PATH, data, partial(ne, note)):
            note = self._target.get(CHECKPOINT_PATH)
            held = None if note is None else self._keys.open(note)
            if held is not None and held.tree_size > self._signed.tree_size:
                return held
            _check_follows(held, self._signed, self._tree)
        self.replaced = 0 if held is None else held.tree_size
        return self._signed


def _tells_more(told: Told, verifier: Ed25519Verifier, found: bytes) -> bool:
    """Whether the retention document in the copy is a newer one, which another run has put there."""
    ours = told.document
    if ours is None:
        return True
    try:
        there = open_retention(found, verifier, ours.origin)
    except EvidenceError:
        return False
    return _age(there) > _age(ours)


def _age(document: Retention) -> tuple[int, int, int]:
    """A later one has more: a minimum never goes back, nor does what was published."""
    newest = document.marks[-1] if document.marks else None
    return document.minimum, document.since_us, 0 if newest is None else newest.at_us


@dataclass(frozen=True, slots=True)
class _Block:
    """256 entries, or the rest: what is there of them, None where it is still to be fetched."""

    path: TilePath
    tile: bytes | None
    entries: list[bytes] | None


class _Copy:
    """One run, from the size of the copy to the size of the source."""

    def __init__(
        self, source: LogSource, target: MirrorTarget, tree: VerifiedTree, old_size: int, told: Told
    ) -> None:
        self._told = told
        self._source = source
        self._target = target
        self._tree = tree
        self._size = tree.checkpoint.tree_size
        self.old_size = old_size
        self.written = 0
        self._may_hold = True
        """Whether an earlier run that stopped may have left the next object here."""

    def serves_entries(self) -> bool:
        """Whether the source gives bundles to this reader; asked of the newest."""
        if not self._size:
            return True
        index, width = divmod(self._size, TILE_WIDTH)
        last = TilePath(None, index, width) if width else TilePath(None, index - 1)
        try:
            fetch_bundle(self._source, last)
        except SourceError as error:
            if error.reason == "unreachable":
                raise
            return False
        return True

    def run(self, has_entries: bool, progress: Progress) -> None:
        """Copy what is missing, in order."""
        first = self.old_size // TILE_WIDTH
        is_due = has_entries and first and not self._told.covers(first - 1)
        if is_due and self._target.get(str(TilePath(None, first - 1))) is None:
            # A copy that takes the entries only now needs those below its checkpoint as well.
            first = 0
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="auditlog-mirror") as threads:
            blocks = range(first, -(-self._size // TILE_WIDTH))
            for group in _groups(blocks, GROUP):
                kept = [self._kept(number) for number in group]
                found = threads.map(lambda block: self._fetched(block, has_entries), kept)
                self._put([each for block in found for each in self._checked(block)])
                progress(min(self._size, (group[-1] + 1) * TILE_WIDTH), self._size)
        for paths in _groups(self._above(), GROUP * _THREADS):
            tiles = [(str(path), self._tree.tile(path.level or 0, path.index)) for path in paths]
            self._put([(path, encode_tile(hashes)) for path, hashes in tiles])

    def lacks_pruned(self) -> bool:
        """Whether the copy has not kept what the source has pruned."""
        newest = TilePath(None, self._told.minimum // TILE_WIDTH - 1)
        return bool(self._told.minimum) and self._target.get(str(newest)) is None

    def _kept(self, number: int) -> _Block:
        """What an earlier run left of a block. What is not as it was signed counts as missing: writing it
        then fails, since other bytes are there.
        """
        path = TilePath(0, number, min(TILE_WIDTH, self._size - number * TILE_WIDTH))
        if not self._may_hold or path.is_partial:
            return _Block(path, None, None)
        tile, bundle = self._target.get(str(path)), self._target.get(str(TilePath(None, number)))
        # Objects are written in order: where one is missing, the earlier run stopped.
        self._may_hold = tile is not None
        try:
            if tile is None or not self._is_signed(path, hashes := decode_tile(tile, path.width)):
                return _Block(path, None, None)
            entries = None if bundle is None else decode_bundle(bundle)
        except MalformedError:
            return _Block(path, None, None)
        is_right = entries is not None and [hash_leaf(entry) for entry in entries] == hashes
        return _Block(path, tile, entries if is_right else None)

    def _fetched(self, block: _Block, has_entries: bool) -> _Block:
        """The same block whole. On a thread: nothing is checked here."""
        path = block.path
        tile = fetch_tile(self._source, path) if block.tile is None else block.tile
        if not has_entries or self._told.covers(path.index):
            return _Block(path, tile, None)
        bundle = TilePath(None, path.index, path.width)
        return _Block(
            path, tile, fetch_bundle(self._source, bundle) if block.entries is None else block.entries
        )

    def _checked(self, block: _Block) -> Iterator[tuple[str, bytes]]:
        """What may be written: the tile under the signed root, the bundle under the tile."""
        path = block.path
        hashes = decode_tile(block.tile or b"", path.width)
        if not self._is_signed(path, hashes):
            raise VerificationError(f"expected {path} under the signed root, found other hashes")
        yield str(path), encode_tile(hashes)
        if block.entries is None:
            return
        if [hash_leaf(entry) for entry in block.entries] != hashes:
            raise VerificationError(f"expected the entries of {path} in its bundle, found others")
        yield str(TilePath(None, path.index, path.width)), encode_bundle(block.entries)

    def _is_signed(self, path: TilePath, hashes: list[bytes]) -> bool:
        """Whether these hashes of level 0 stand under the signed root."""
        if path.is_partial:
            return self._tree.tile(0, path.index) == hashes
        return self._tree.node(TILE_HEIGHT, path.index) == root_hash(hashes)

    def _above(self) -> Iterator[TilePath]:
        """The tiles above level 0 that the old checkpoint did not have."""
        level = 1
        while nodes := self._size >> (TILE_HEIGHT * level):
            full, width = divmod(nodes, TILE_WIDTH)
            for index in range(self.old_size >> (TILE_HEIGHT * (level + 1)), full):
                yield TilePath(level, index)
            if width:
                yield TilePath(level, full, width)
            level += 1

    def _put(self, objects: list[tuple[str, bytes]]) -> None:
        self._target.put_new_all(objects)
        self.written += len(objects)

    def drop_superseded(self, replaced: int) -> None:
        """Remove the partial objects of the old checkpoint, which nobody is pointed to any more; and of the
        one whose place ours took, if another run had put that meanwhile.
        """
        kept = {str(path) for path in self._partials(self._size)}
        for size in {self.old_size, replaced} - {self._size}:
            for path in self._partials(size):
                if str(path) not in kept:
                    self._target.delete(str(path))

    @staticmethod
    def _partials(size: int) -> Iterator[TilePath]:
        """The partial tiles and the partial bundle of a size: at most one a level."""
        level, nodes = 0, size
        while nodes:
            index, width = divmod(nodes, TILE_WIDTH)
            if width:
                yield TilePath(level, index, width)
                if level == 0:
                    yield TilePath(None, index, width)
            level, nodes = level + 1, index


def _groups(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while group := list(islice(iterator, size)):
        yield group
