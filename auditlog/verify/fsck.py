"""fsck: rebuild a whole log from what it serves, and compare every byte.

Spec: `auditlog/spec/log.md`, "fsck". Works on any tlog-tiles log, ours or not. Imports core only, so that it
can judge the engine. Steps, each passed, failed, not checked or with nothing to check:

    1 checkpoint   signed by the given key
    2 tree         every tile is the hashes below it, and all lead to the signed root
    3 entries      every entry bundle holds exactly the entries of the tree
    4 chains       numbers, links, enrolments and instances of the producers (`auditlog.verify.chains`); the
                   key that genesis names, and the roots that anchors do
    5 heads        signed producer heads the caller holds are covered by the log

Without bundles steps 3 to 5 are not checked and the exit code is 3. Everything read is attacker-controlled:
any bytes give a report, never another exception.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from auditlog.core.integrate import RightEdge, Tile
from auditlog.core.merkle import hash_leaf
from auditlog.core.note import Ed25519Verifier
from auditlog.core.tiles import TILE_WIDTH, TilePath, bundles_for_size, decode_tile
from auditlog.errors import EvidenceError, MalformedError, SourceError
from auditlog.verify.chains import ChainChecker
from auditlog.verify.fsck_report import FsckReport, StepLog
from auditlog.verify.sources import CHECKPOINT_PATH, LogSource
from auditlog.verify.tlogclient import VerifiedTree, fetch_bundle, fetch_tile
from auditlog.verify.trusted_log import LogKeys, SignedCheckpoint

__all__ = ["FsckReport", "Progress", "fsck"]

_LOST_BLOCKS = 3
"""Stretches with neither tile nor bundle before the log is given up: the verdict stands by then."""

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all)."""


def fsck(
    source: LogSource,
    vkey: str,
    *,
    origin: str | None = None,
    heads: Sequence[str] = (),
    progress: Progress | None = None,
) -> FsckReport:
    """Check a whole log.

    Args:
        source: where the log is read from, with a token inside if its bundles need one.
        vkey: the log's key, from the reader's own trust file; its name need not be the origin.
        origin: refuse a checkpoint of another origin.
        heads: producers' signed heads the caller holds, for step 5.
        progress: told how far the entries are read.

    Raises:
        MalformedError: `vkey` is not a key; whatever the log serves only shows in the report.
    """
    verifier = Ed25519Verifier.from_vkey(vkey)
    keys = LogKeys([verifier], origin=origin, key_name=verifier.name)
    steps = StepLog()
    signed = _open(source, keys, steps)
    if signed is None:
        for name in ("tree", "entries", "chains", "heads"):
            steps[name].not_checked("there is no checkpoint to check it against")
        return steps.report(signed=None, chains=None)
    chains = ChainChecker(
        signed.checkpoint.origin, steps["chains"].problem, vkey=verifier.vkey, keep_hashes=bool(heads)
    )
    _Walk(source, signed, steps, chains).run(progress or (lambda _done, _all: None))
    _check_anchors(source, signed, chains, steps)
    _check_heads(chains, heads, steps)
    return steps.report(signed=signed, chains=chains)


def _open(source: LogSource, keys: LogKeys, steps: StepLog) -> SignedCheckpoint | None:
    try:
        signed = keys.open(source.fetch(CHECKPOINT_PATH))
    except SourceError as error:
        steps["checkpoint"].not_checked(str(error))
    except EvidenceError as error:
        steps["checkpoint"].problem(str(error))
    else:
        size = signed.tree_size
        steps["checkpoint"].passed(f"{signed.checkpoint.origin}, size {size}, signed by the given key")
        return signed
    return None


def _check_anchors(source: LogSource, signed: SignedCheckpoint, chains: ChainChecker, steps: StepLog) -> None:
    """The roots that the log's own `anchor` entries name are those of the signed tree."""
    step, anchored = steps["chains"], chains.anchored
    if not anchored:
        return
    try:
        tree = VerifiedTree(source, signed.checkpoint)
        for claim in anchored:
            if (root := tree.root_at(claim.size).hex()) != claim.root:
                step.problem(
                    f"entry {claim.index}: expected the root {root} anchored at size {claim.size}, "
                    f"found {claim.root}"
                )
    except (SourceError, EvidenceError) as error:  # what is wrong with the tiles is for step 2 to say
        step.not_checked(f"the anchored roots could not be compared: {error}")


def _check_heads(chains: ChainChecker, heads: Sequence[str], steps: StepLog) -> None:
    step = steps["heads"]
    if heads and "not_checked" in (steps["entries"].outcome, steps["chains"].outcome):
        step.not_checked("the entries could not all be read")
        return
    checked = sum(chains.check_head(head, step.problem) for head in heads)
    if step.outcome != "failed" and checked:
        step.passed(f"{checked} signed heads are covered by the log")
    if checked < len(heads):
        step.not_checked(f"{len(heads) - checked} heads are by producers this log does not have")


class _Walk:
    """One pass over the log, 256 entries at a time, rebuilding the tree beside what is served."""

    def __init__(
        self, source: LogSource, signed: SignedCheckpoint, steps: StepLog, chains: ChainChecker
    ) -> None:
        self._source = source
        self._signed = signed
        self._tree = steps["tree"]
        self._entries = steps["entries"]
        self._chain_step = steps["chains"]
        self._chains = chains
        self._edge: RightEdge | None = RightEdge()
        self._with_bundles = True
        self._tiles_compared = 0
        self._blocks_lost = 0
        self._follow_chains = True

    def run(self, progress: Progress) -> None:
        """Read everything and settle the steps 2 to 4."""
        size = self._signed.tree_size
        self._with_bundles = self._serves_bundles(size)
        for path in bundles_for_size(size):
            if not self._block(path):
                break
            progress(path.index * TILE_WIDTH + path.width, size)
        self._settle_tree()
        self._settle_entries(size)

    def _serves_bundles(self, size: int) -> bool:
        """Whether bundles are served at all; one with only its newest bundle is a log with holes."""
        if size == 0:
            return True
        paths = list(dict.fromkeys((TilePath(None, 0, min(size, TILE_WIDTH)), _last_bundle(size))))
        for path in paths:
            try:
                fetch_bundle(self._source, path)
            except SourceError as error:
                reason = str(error)
                continue
            except EvidenceError:
                pass
            return True
        self._entries.not_checked(f"the log serves no entry bundles: {reason}")
        self._chain_step.not_checked("the log serves no entry bundles")
        return False

    def _block(self, path: TilePath) -> bool:
        """Check one bundle and its tile; False when going on is pointless."""
        tile = self._read_tile(TilePath(0, path.index, path.width))
        entries = self._read_bundle(path) if self._with_bundles else None
        hashes = None if entries is None else [hash_leaf(entry) for entry in entries]
        if hashes is not None and tile is not None and hashes != tile:
            self._name_difference(path, hashes, tile)
        if entries is None:
            self._follow_chains = False
        elif hashes is not None and self._follow_chains:
            for place, entry in enumerate(entries):
                self._chains.take(path.index * TILE_WIDTH + place, hashes[place], entry)
        # Going on from the tile says whether the tiles alone still lead to the signed root.
        leaves = tile if tile is not None else hashes
        if leaves is None:
            self._edge = None
            self._blocks_lost += 1
            return self._with_bundles and self._blocks_lost < _LOST_BLOCKS
        if self._edge is not None:
            self._compare([built for built in self._edge.extend(leaves) if built.path.level])
        return True

    def _name_difference(self, path: TilePath, hashes: list[bytes], tile: list[bytes]) -> None:
        place = next(place for place in range(path.width) if hashes[place] != tile[place])
        index = path.index * TILE_WIDTH + place
        self._entries.problem(
            f"entry {index}: expected leaf hash {tile[place].hex()} of the tree, found {hashes[place].hex()}"
        )

    def _compare(self, tiles: list[Tile]) -> None:
        for built in tiles:
            served = self._read_tile(built.path)
            if served is None:
                continue
            pairs = zip(served, decode_tile(built.data, built.path.width), strict=True)
            for place, (found, expected) in enumerate(pairs):
                if found != expected:
                    self._tree.problem(
                        f"{built.path}: expected hash {place} to be {expected.hex()}, found {found.hex()}"
                    )
                    break

    def _read_tile(self, path: TilePath) -> list[bytes] | None:
        try:
            hashes = decode_tile(fetch_tile(self._source, path), path.width)
        except SourceError as error:
            if error.reason == "missing" and (self._with_bundles or self._tiles_compared):
                self._tree.problem(str(error))
            else:
                self._tree.not_checked(str(error))
            return None
        except MalformedError as error:
            self._tree.problem(f"{path}: {error}")
            return None
        self._tiles_compared += 1
        return hashes

    def _read_bundle(self, path: TilePath) -> list[bytes] | None:
        try:
            return fetch_bundle(self._source, path)
        except SourceError as error:
            if error.reason == "missing":
                self._entries.problem(str(error))
            else:
                self._entries.not_checked(str(error))
        except MalformedError as error:
            self._entries.problem(f"{path}: {error}")
        # Chains are followed no further than the first hole, which the complaint above has named.
        self._chain_step.not_checked(f"{path} could not be read")
        return None

    def _settle_tree(self) -> None:
        if self._edge is None:
            return
        self._compare([built for built in self._edge.partials() if built.path.level])
        root = self._edge.root_hash()
        if root != self._signed.root_hash:
            self._tree.problem(
                f"expected the root {self._signed.root_hash.hex()} as signed, found {root.hex()}"
            )
        self._tree.passed(f"{self._tiles_compared} tiles lead to the signed root {root.hex()}")

    def _settle_entries(self, size: int) -> None:
        self._entries.passed(f"{size} entries are those of the tree")
        if self._chains.kinds:
            self._chain_step.passed(f"{self._chains.producers} producers, every number and link in order")
        else:
            self._chain_step.nothing(f"no entries of auditlog among {size}")


def _last_bundle(size: int) -> TilePath:
    index, rest = divmod(size, TILE_WIDTH)
    return TilePath(None, index, rest) if rest else TilePath(None, index - 1)
