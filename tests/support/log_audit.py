"""An audit of a whole log in memory: rebuilt from the stored bundles, with nothing acknowledged missing.

Shares nothing with the engine but the hash function and the framing of bundles and entries.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from auditlog.core.checkpoint import open_checkpoint
from auditlog.core.entry import Entry, parse_entry
from auditlog.core.merkle import root_hash
from auditlog.core.tiles import TILE_WIDTH, bundle_path, decode_bundle, partial_width, paths_for_size
from auditlog.storage.memory import MemoryStore

if TYPE_CHECKING:
    from tests.support.testlog import TestBench


def audit(bench: TestBench) -> list[bytes]:
    """Rebuild the published tree from its bundles: root, tiles, chains, and that nothing acknowledged is
    missing.

    Raises:
        AssertionError: something is not as it must be.
    """
    note = bench.public.objects["checkpoint"].decode()
    checkpoint, _ = open_checkpoint(note, [bench.signer.verifier], bench.config.origin)
    committed = bench.state.read()
    assert committed is not None
    newest, _ = open_checkpoint(committed.note, [bench.signer.verifier], bench.config.origin)
    assert checkpoint.tree_size <= newest.tree_size
    bundles = bench.public if bench.visibility == "public" else bench.private
    tiles = bench.private if bench.visibility == "private" else bench.public
    entries = stored_entries(bundles, checkpoint.tree_size)
    leaf_hashes = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]
    assert root_hash(leaf_hashes) == checkpoint.root_hash, "the bundles hash to the signed root"
    check_tiles(tiles, leaf_hashes)
    check_chains(entries)
    held = set(entries)
    missing = [entry for entry in bench.acknowledged.values() if entry not in held]
    assert not missing, f"{len(missing)} acknowledged entries are missing"
    check_public_folder(bench, checkpoint.tree_size)
    return entries


def stored_entries(bundles: MemoryStore, size: int) -> list[bytes]:
    """All entries of a tree, from its bundles."""
    entries: list[bytes] = []
    for index in range(-(-size // TILE_WIDTH)):
        width = min(TILE_WIDTH, size - index * TILE_WIDTH)
        data = bundles.get(bundle_path(index, width))
        assert data is not None, f"bundle {index} of width {width} is there"
        found = decode_bundle(data)
        assert len(found) == width
        entries += found
    return entries


def check_tiles(tiles: MemoryStore, leaf_hashes: list[bytes]) -> None:
    """Every tile of the tree is there, and holds the roots of its subtrees."""
    size, level, row = len(leaf_hashes), 0, leaf_hashes
    while row:
        for index in range(-(-len(row) // TILE_WIDTH)):
            part = row[index * TILE_WIDTH : (index + 1) * TILE_WIDTH]
            path = f"tile/{level}/{index:03d}" + ("" if len(part) == TILE_WIDTH else f".p/{len(part)}")
            assert tiles.get(path) == b"".join(part), f"{path} holds the hashes of its subtrees"
        assert len(row) % TILE_WIDTH == partial_width(level, size)
        row = [root_hash(row[at : at + 256]) for at in range(0, len(row) // 256 * 256, 256)]
        level += 1


@lru_cache(maxsize=20_000)
def _parsed(data: bytes) -> Entry:
    """A pure function of the bytes, which many an audit asks about the same ones."""
    return parse_entry(data)


def check_chains(entries: Sequence[bytes]) -> None:
    """Every writer's entries follow one another without a hole or a repeated number."""
    tips: dict[str, tuple[str, int, str]] = {}
    for data in entries:
        entry = _parsed(data)
        leaf_hash = hashlib.sha256(b"\x00" + data).hexdigest()
        instance, seq, prev = tips.get(
            entry.producer, ("", -1, "0" * 64 if entry.producer == "log" else entry.producer)
        )
        assert entry.prev == prev, "each entry names the one before it"
        if entry.instance == instance:
            assert entry.seq == seq + 1
        else:
            assert entry.seq == 0
        tips[entry.producer] = (entry.instance, entry.seq, leaf_hash)


def check_public_folder(bench: TestBench, size: int) -> None:
    """The public folder is a tlog-tiles tree and nothing else: no staging, nothing its visibility hides."""
    wanted: set[str] = {"checkpoint"}
    if bench.visibility != "private":
        wanted |= set(paths_for_size(size, entries=bench.visibility == "public"))
    found = set(bench.public.objects)
    assert wanted <= found, "every path of the published size is there"
    for path in found - wanted:
        assert path.startswith("tile/"), path
        assert ("entries" not in path) or bench.visibility == "public", path
        assert bench.visibility != "private", path
