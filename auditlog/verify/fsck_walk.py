"""The walk of fsck: sections in their order, joined to one tree and to the chains of all producers.

Spec: `auditlog/spec/log.md`, "fsck". Sections are read here or by other processes (`fsck_hands`), and judged
here, in their order: the report is the same either way. Promises: memory does not grow with the
log, but for its producers and its anchors. What a section says of the log is attacker-controlled; nothing
here raises on it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from auditlog.core.integrate import RightEdge, Tile
from auditlog.core.proofs import HASH_BYTES
from auditlog.core.tiles import TILE_WIDTH, TilePath, decode_tile
from auditlog.errors import EvidenceError, MalformedError, SourceError
from auditlog.verify.chains import ChainChecker
from auditlog.verify.fsck_hands import Hands
from auditlog.verify.fsck_report import StepLog
from auditlog.verify.fsck_sections import LOST_BLOCKS, SECTION_TILES, Fault, Scanner, Section, paths_of
from auditlog.verify.lives import Complaint
from auditlog.verify.monitor.prefetch import Ahead
from auditlog.verify.plain_runs import Run, Single
from auditlog.verify.retention import Told
from auditlog.verify.sources import LogSource
from auditlog.verify.tlogclient import VerifiedTree, fetch_bundle, fetch_tile
from auditlog.verify.trusted_log import SignedCheckpoint

Progress = Callable[[int, int], None]
"""Called with (entries done, entries in all)."""

_BLOCKS_KEPT: Final = 256
"""Leaf hashes of the newest blocks, 2 MiB, for the heads in heartbeats: they are about the newest entries."""


class Complaints:
    """What the chains complain of within one section, where runs are not taken entry by entry."""

    def __init__(self) -> None:
        self._taken: list[Complaint] = []

    def take(self, problem: Complaint) -> None:
        """One problem."""
        self._taken.append(problem)

    def hand_on(self, to: Callable[[str], None]) -> None:
        """All of them in the order of the entries they are about."""
        for problem in sorted(self._taken, key=lambda one: one.at):
            to(problem)
        self._taken.clear()


class Walk:
    """One pass over the log, rebuilding the tree beside what is served."""

    def __init__(
        self,
        source: LogSource,
        signed: SignedCheckpoint,
        steps: StepLog,
        chains: ChainChecker,
        complaints: Complaints,
        *,
        told: Told,
    ) -> None:
        """`complaints` is where `chains` complains; `told` what the log says of pruned entries."""
        self._told = told
        self._source, self._signed, self._size = source, signed, signed.tree_size
        self._tree, self._entries, self._heads = steps["tree"], steps["entries"], steps["heads"]
        self._chain_step, self._chains, self._complaints = steps["chains"], chains, complaints
        # A tree over the roots of full tiles: its level L is level L + 1 of the log.
        self._upper: RightEdge | None = RightEdge()
        self._rest: list[bytes] = []
        self._with_bundles = True
        self._tiles_compared = 0
        self._blocks_lost = 0
        self._follows_chains = True
        self._newest: OrderedDict[int, bytes] = OrderedDict()
        self._verified: VerifiedTree | None = None
        self.embedded = 0
        """Heads in heartbeats that were compared."""

    def run(self, progress: Progress, hands: Hands) -> None:
        """Read everything and settle the steps 2 to 4."""
        if self._told.fault:
            self._entries.problem(self._told.fault)
        if self._told.minimum:
            self._entries.not_checked(f"{self._told.line}; the others are compared with the tree")
            self._chain_step.not_checked(f"{self._told.line}: what came before the others is not known")
            self._follows_chains = False
        self._with_bundles = self._serves_bundles()
        origin, size = self._signed.checkpoint.origin, self._size
        minimum = self._told.minimum
        scanner = Scanner(self._source, origin, size, with_bundles=self._with_bundles, minimum=minimum)
        sections = -(-size // (SECTION_TILES * TILE_WIDTH))
        hands.start(origin, size, sections, with_bundles=self._with_bundles, minimum=minimum)
        try:
            for number in range(sections):
                if not self._take(hands.take(number) or self._scan(scanner, number)):
                    break
                progress(min(size, (number + 1) * SECTION_TILES * TILE_WIDTH), size)
        finally:
            hands.close()
        self._settle_tree()
        self._settle_entries()

    def _scan(self, scanner: Scanner, number: int) -> Section:
        if isinstance(self._source, Ahead):
            minimum = self._told.minimum
            self._source.plan(paths_of(number, self._size, with_bundles=self._with_bundles, minimum=minimum))
        return scanner.scan(number)

    def _serves_bundles(self) -> bool:
        """Whether bundles are served at all; one with only its newest bundle is a log with holes."""
        size = self._size
        if size == 0:
            return True
        first, reason = self._told.minimum // TILE_WIDTH, self._told.line
        if first * TILE_WIDTH >= size:
            return False
        width = min(size - first * TILE_WIDTH, TILE_WIDTH)
        paths = dict.fromkeys((TilePath(None, first, width), last_bundle(size)))
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

    def _take(self, section: Section) -> bool:
        """Judge one section; False when going on is pointless."""
        goes_on, roots = True, []
        for block, leaves in enumerate(section.leaves, section.first):
            faults = [fault for fault in section.faults if fault.block == block]
            for fault in faults:
                self._name(fault)
            self._tiles_compared += all(fault.what != "tile" for fault in faults)
            if leaves:
                roots.append(section.roots[block - section.first])
                self._keep(block, leaves)
                continue
            self._extend(roots)
            self._upper, roots = None, []
            self._blocks_lost += 1
            if not self._with_bundles or self._blocks_lost >= LOST_BLOCKS:
                goes_on = False
                break
        self._extend(roots)
        self._follow(section)
        return goes_on

    def _name(self, fault: Fault) -> None:
        if fault.what == "tile":
            is_hole = fault.reason == "missing" and (self._with_bundles or self._tiles_compared)
            step = self._tree
        else:
            is_hole, step = fault.reason == "missing", self._entries
        if is_hole or not fault.reason:
            step.problem(fault.text)
        else:
            step.not_checked(fault.text)

    def _keep(self, block: int, leaves: bytes) -> None:
        self._newest[block] = leaves
        if len(self._newest) > _BLOCKS_KEPT:
            self._newest.popitem(last=False)

    def _extend(self, roots: list[bytes]) -> None:
        """Go on by the roots of full tiles; the last of the log may be none, where its tile is partial."""
        if self._upper is None or not roots:
            return
        if not roots[-1]:
            del roots[-1]
            leaves = self._newest[self._size // TILE_WIDTH]
            self._rest = decode_tile(leaves, self._size % TILE_WIDTH)
        self._compare(self._upper.extend(roots))

    def _compare(self, tiles: list[Tile]) -> None:
        """Compare tiles of the tree of roots with what is served."""
        for built in tiles:
            path = TilePath((built.path.level or 0) + 1, built.path.index, built.path.width)
            served = self._read_tile(path)
            if served is None or served == built.data:
                continue
            pairs = zip(decode_tile(served, path.width), decode_tile(built.data, path.width), strict=True)
            for place, (found, expected) in enumerate(pairs):
                if found != expected:
                    self._tree.problem(
                        f"{path}: expected hash {place} to be {expected.hex()}, found {found.hex()}"
                    )
                    break

    def _read_tile(self, path: TilePath) -> bytes | None:
        try:
            content = fetch_tile(self._source, path)
        except SourceError as error:
            self._name(Fault(path.index, "tile", error.reason, str(error)))
        except MalformedError as error:
            self._name(Fault(path.index, "tile", "", f"{path}: {error}"))
        else:
            self._tiles_compared += 1
            return content
        return None

    def _follow(self, section: Section) -> None:
        """The chains, up to the first hole."""
        if not self._follows_chains:
            return
        for event in section.events:
            if isinstance(event, Run):
                self._chains.take_run(event)
            else:
                self._take_single(event)
        self._complaints.hand_on(self._chain_step.problem)
        hole = next((fault.block for fault in section.faults if fault.what == "bundle"), None)
        if hole is not None:
            self._follows_chains = False
            path = TilePath(None, hole, min(TILE_WIDTH, self._size - hole * TILE_WIDTH))
            self._chain_step.not_checked(f"{path} could not be read")

    def _take_single(self, event: Single) -> None:
        try:
            entry = self._chains.take(event.index, event.leaf_hash, event.data)
            if entry is None or entry.kind != "heartbeat" or not entry.understood:
                return
            self.embedded += self._chains.check_embedded_head(
                event.index, entry, self._leaf_hashes, self._heads.problem
            )
        except (SourceError, EvidenceError) as error:
            self._heads.not_checked(
                f"entry {event.index}: the entries under its head could not be read: {error}"
            )
        except Exception as error:  # noqa: BLE001  no content of one entry ends what is known of the others
            self._chain_step.not_checked(
                f"entry {event.index} has a content that could not be judged ({type(error).__name__})"
            )

    def _leaf_hashes(self, indices: range) -> list[bytes]:
        """Raises `SourceError` or `EvidenceError` where an old tile cannot be read again."""
        found: list[bytes] = []
        at = indices.start
        while at < indices.stop:
            block, place = divmod(at, TILE_WIDTH)
            end = min(TILE_WIDTH, place + indices.stop - at)
            leaves = self._newest.get(block)
            if leaves is None:
                if self._verified is None:
                    self._verified = VerifiedTree(self._source, self._signed.checkpoint)
                found += self._verified.tile(0, block)[place:end]
            else:
                found += decode_tile(leaves[place * HASH_BYTES : end * HASH_BYTES], end - place)
            at += end - place
        return found

    def _settle_tree(self) -> None:
        upper = self._upper
        if upper is None:
            return
        self._compare(upper.partials())
        levels = [self._rest, *upper.levels()] if self._size else []
        root = RightEdge(self._size, levels).root_hash()
        if root != self._signed.root_hash:
            self._tree.problem(
                f"expected the root {self._signed.root_hash.hex()} as signed, found {root.hex()}"
            )
        self._tree.passed(f"{self._tiles_compared} tiles lead to the signed root {root.hex()}")

    def _settle_entries(self) -> None:
        self._entries.passed(f"{self._size} entries are those of the tree")
        if self._chains.kinds:
            self._chain_step.passed(f"{self._chains.producers} producers, every number and link in order")
        else:
            self._chain_step.nothing(f"no entries of auditlog among {self._size}")


def last_bundle(size: int) -> TilePath:
    """The last bundle of a log that is not empty."""
    index, rest = divmod(size, TILE_WIDTH)
    return TilePath(None, index, rest) if rest else TilePath(None, index - 1)
