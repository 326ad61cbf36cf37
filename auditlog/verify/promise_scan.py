"""What reading every entry of a tree shows about one promise.

Spec: auditlog/spec/promise.md, "Asking the log". Everything read is attacker-controlled, and written to be
read: where several entries say the same of a promise, the one that contradicts it is kept, so that nothing
written beside it hides it. Nothing here is a verdict. Fails with `SourceError`, or with an `EvidenceError`
where the log serves what it has not signed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from auditlog.core.entry import Entry, parse_entry
from auditlog.core.losses import declared_lost_covers, gap_covers
from auditlog.core.promise import Promise
from auditlog.core.receipt import Related
from auditlog.core.tiles import TILE_WIDTH
from auditlog.errors import EvidenceError, MalformedError
from auditlog.verify.promise_keys import KeyChain, read_producer
from auditlog.verify.promise_sources import Progress, Restart, View, find_leaves, prove
from auditlog.verify.steps_chain import Placed
from auditlog.verify.tlogclient import VerifiedTree

MAX_STARTS = 1024
"""Later lives that a reading tries (spec/promise.md, "Asking the log")."""


@dataclass(frozen=True, slots=True)
class _Start:
    """A life of the producer that began behind the promised one's first entry."""

    index: int
    prev: bytes
    life: int
    """The newest entry of the promised life before it."""


@dataclass(slots=True)
class _Found:
    """Indices of what a scan has met. Where several say the same, the one that contradicts the promise: no
    entry that is written beside it hides it.
    """

    producer: int | None = None
    keys: KeyChain | None = None
    entry: int | None = None
    successor: int | None = None
    is_successor_odd: bool = False
    life: int | None = None
    newest_life: int = 0
    starts: list[_Start] = field(default_factory=list)
    gaps: list[int] = field(default_factory=list)
    notices: list[int] = field(default_factory=list)

    @property
    def may_be_cut(self) -> bool:
        """Whether one more start is of interest: the promised life began, and not too many did behind it."""
        return self.life is not None and len(self.starts) < MAX_STARTS


def read_entry(data: bytes) -> Entry | None:
    """An entry, or None for bytes that are none: attacker-controlled."""
    try:
        return parse_entry(data)
    except MalformedError:
        return None


def scan(
    tree: VerifiedTree,
    checkpoint: str,
    promise: Promise,
    progress: Progress,
    read: Callable[[bytes], Entry | None] = read_entry,
    *,
    tiles: Sequence[int] | None = None,
) -> View:
    """Read every entry of a tree, or of the bundles `tiles` (in order), and keep those that speak of a
    promise.

    Entries that do not hold the producer's id are passed over unparsed: nothing about the promise is in them.
    `read` parses one; whoever scans for many promises gives one that remembers.

    Raises:
        SourceError: entries are not served.
        EvidenceError: they are not those of the tree.
    """
    found, identity = _Found(), promise.producer.encode("ascii")
    for number in range(-(-tree.checkpoint.tree_size // TILE_WIDTH)) if tiles is None else tiles:
        hashes, entries = tree.tile(0, number), tree.bundle(number)
        for place, data in enumerate(entries):
            index = number * TILE_WIDTH + place
            if hashes[place].hex() == promise.producer:
                _take_producer(found, index, data, hashes[place])
            elif identity in data and (entry := read(data)) is not None:
                _take(found, index, entry, promise, hashes[place])
        progress(number * TILE_WIDTH + len(entries), tree.checkpoint.tree_size)
    return _view(tree, checkpoint, promise, found, tiles or ())


def _take_producer(found: _Found, index: int, data: bytes, leaf_hash: bytes) -> None:
    """The first of them: a copy further on would stand behind the rotations."""
    if found.producer is not None:
        return
    found.producer = index
    with contextlib.suppress(EvidenceError):
        placed = Placed(parse_entry(data), leaf_hash, index)
        found.keys = KeyChain(read_producer(placed, leaf_hash.hex()))


def _take(found: _Found, index: int, entry: Entry, promise: Promise, leaf_hash: bytes) -> None:
    what = {"producer": promise.producer, "instance": promise.instance, "seq": promise.seq}
    if declared_lost_covers(entry, **what):  # type: ignore[arg-type]
        found.notices.append(index)
    if entry.producer != promise.producer:
        return
    if entry.instance == promise.instance:
        found.life = index if found.life is None else found.life
        found.newest_life = index
        _take_number(found, index, entry, promise, leaf_hash)
    elif (entry.kind, entry.seq) == ("instance", 0) and found.may_be_cut:
        found.starts.append(_Start(index, bytes.fromhex(entry.prev), found.newest_life))
    if entry.kind == "rotation":
        if found.keys is not None:
            with contextlib.suppress(EvidenceError):
                found.keys.take(Placed(entry, leaf_hash, index))
    elif gap_covers(entry, **what):  # type: ignore[arg-type]
        found.gaps.append(index)


def _take_number(found: _Found, index: int, entry: Entry, promise: Promise, leaf_hash: bytes) -> None:
    if entry.seq == promise.seq and (found.entry is None or leaf_hash != promise.leaf_hash):
        found.entry = index
    elif entry.seq == promise.seq + 1:
        is_odd = entry.prev != promise.leaf_hash.hex()
        if found.successor is None or (is_odd and not found.is_successor_odd):
            found.successor, found.is_successor_odd = index, is_odd


def _view(tree: VerifiedTree, checkpoint: str, promise: Promise, found: _Found, tiles: Sequence[int]) -> View:
    rotations = () if found.keys is None else tuple(each.index for each in found.keys.rotations)
    view = View(
        checkpoint,
        producer=prove(tree, found.producer),
        rotations=_prove_all(tree, rotations),
        entry=prove(tree, found.entry),
        next=prove(tree, found.successor),
        life=prove(tree, found.life),
        gaps=_prove_all(tree, found.gaps[:4]),
        notices=_prove_all(tree, found.notices[:4]),
        restart=_restart(tree, promise, found, tiles),
    )
    if view.next is None and view.restart is not None:
        view.next, view.base = view.restart.start, view.restart.base
    return view


def _restart(tree: VerifiedTree, promise: Promise, found: _Found, tiles: Sequence[int]) -> Restart | None:
    """The first life that goes on from before the promised number, of all that follow the promised one."""
    if not found.starts:
        return None
    bases = _find_bases(tree, {each.prev for each in found.starts}, tiles)
    for start in found.starts:
        base = bases.get(start.prev)
        if base is None or base > start.life:
            continue  # behind all there is of the promised life: no base of a cut
        if (entry := read_entry(tree.entry(base))) is None:
            continue
        life = None
        if (entry.producer, entry.instance) == (promise.producer, promise.instance):
            is_cut = entry.seq < promise.seq
        else:
            is_ours = promise.producer in (entry.producer, start.prev.hex())
            is_cut, life = is_ours and start.life > base, start.life
        if is_cut:
            shown = [prove(tree, index) for index in (start.index, base, life)]
            assert shown[0] is not None
            assert shown[1] is not None
            return Restart(shown[0], shown[1], shown[2])
    return None


def _find_bases(tree: VerifiedTree, wanted: set[bytes], tiles: Sequence[int]) -> dict[bytes, int]:
    """Where leaf hashes are: first where they should be, and if one is not there, wherever it is."""
    found: dict[bytes, int] = {}
    for number in tiles:
        hashes = tree.tile(0, number)
        for leaf_hash in wanted.intersection(hashes):
            found.setdefault(leaf_hash, number * TILE_WIDTH + hashes.index(leaf_hash))
    if len(found) < len(wanted):
        return find_leaves(tree, sorted(wanted), _silent)
    return found


def _prove_all(tree: VerifiedTree, indices: Sequence[int]) -> tuple[Related, ...]:
    return tuple(item for index in indices if (item := prove(tree, index)) is not None)


def _silent(_done: int, _size: int) -> None:
    return None
