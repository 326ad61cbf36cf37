"""What the engine keeps in its state store, as plain frozen records (spec: design section 6, log/README.md).

Hashes are 32 bytes, instances 32 hex digits, sizes and indices count from 0. No record is
attacker-controlled: each was checked by admission before it got here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

LOG_CHAIN = b"log"
"""The chain id of the log's own entries in `ChainRun.producer`; every other chain id is a 32-byte leaf hash.
"""

LOG_INSTANCE = "log"

OPEN, QUIESCED, READ_ONLY, RETIRED = "open", "quiesced", "read-only", "retired"
STANDINGS = (OPEN, QUIESCED, READ_ONLY, RETIRED)
"""What a log takes and signs; `auditlog.log.standing`."""

COMMITTING = (OPEN, QUIESCED)
"""Standings under which a commit may be made: the compare-and-swap asks."""

ID_REPEATED = "id_repeated"
"""Flag of a decision whose id an earlier entry of the log has."""


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The newest entry of one chain."""

    instance: str
    seq: int
    leaf_hash: bytes
    index: int


@dataclass(frozen=True, slots=True)
class ProducerRecord:
    """One enrolled producer; `producer` is the leaf hash of its `producer` entry at `index`."""

    producer: bytes
    name: str
    vkey: str
    note: str
    index: int


@dataclass(frozen=True, slots=True)
class RotationRecord:
    """The `rotation` entry at `index`: `vkey` is the producer's key in force for every entry above it."""

    producer: bytes
    index: int
    vkey: str


@dataclass(frozen=True, slots=True)
class RetirementRecord:
    """The `retirement` entry at `index` ended this producer: its chain head is its last for ever."""

    producer: bytes
    index: int


@dataclass(frozen=True, slots=True)
class LossRecord:
    """The `declared_lost` notice at `index`: numbers of `instance` above `after_seq` are gone with the host.

    Times in Unix microseconds.
    """

    producer: bytes
    index: int
    instance: str
    after_seq: int
    from_us: int
    to_us: int


@dataclass(frozen=True, slots=True)
class HeadUpdate:
    """Move one chain from `expected` (None: its first entry) to `new`."""

    producer: bytes
    expected: ChainHead | None
    new: ChainHead


@dataclass(frozen=True, slots=True)
class ChainRun:
    """Numbers `first_seq`..`seq` of one instance lie at `first_index`.. without a hole."""

    producer: bytes
    instance: str
    first_seq: int
    seq: int
    first_index: int


@dataclass(frozen=True, slots=True)
class BatchHead:
    """The head note a producer signed over `first_seq`..`seq`."""

    producer: bytes
    instance: str
    first_seq: int
    seq: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """Everything one commit changes, with what it expects to find.

    `previous_note` is the whole previous signed checkpoint (None only for the first commit of a log).
    `own_head` is the log's own chain after the commit. `decisions_size`, if given, is the new tree size
    after which a decision waits to be anchored (the outbox).
    """

    previous_note: str | None
    note: str
    staged: str
    """Name of the staged object that leads to this tree: what recovery applies."""
    own_expected: ChainHead | None
    own_head: ChainHead
    heads: Sequence[HeadUpdate] = ()
    producers: Sequence[ProducerRecord] = ()
    rotations: Sequence[RotationRecord] = ()
    retirements: Sequence[RetirementRecord] = ()
    losses: Sequence[LossRecord] = ()
    runs: Sequence[ChainRun] = ()
    batch_heads: Sequence[BatchHead] = ()
    decisions_size: int | None = None
    retires: bool = False
    """Whether the last entry is the log's `successor`: no commit follows this one."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The one row that says what the log is."""

    note: str
    own_head: ChainHead
    decisions_size: int
    anchored_size: int
    standing: str = OPEN
    """One of `STANDINGS`: whether more may be committed."""
    restored: bool = False
    """Put here from a backup, and no commit was made since."""
    minimum: int = 0
    """Bundles of entries below this index may be gone: `auditlog.log.retention`."""
    retention: str | None = None
    """The signed document that says so; None before the first."""
    staged: str | None = None
    """Name of the staged object that led here; None, or another tree's, if an older release committed."""


@dataclass(frozen=True, slots=True)
class AnchorRecord:
    """One anchor of one published checkpoint, with the evidence a receipt will carry."""

    type: str
    tree_size: int
    root_hash: bytes
    checkpoint: str
    evidence: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Where a `model` entry lies, for decisions whose model was pending; or a `coverage` entry that
    says there is none.
    """

    producer: bytes
    instance: str
    seq: int
    index: int
    leaf_hash: bytes


@dataclass(frozen=True, slots=True)
class GapRow:
    """A producer's declaration, at `index`, of what it lost. Unix microseconds; `lost` None is unknown."""

    producer: bytes
    index: int
    from_us: int
    to_us: int
    lost: int | None
    of_earlier_life: bool
    """An instance before the declaring one lost it: nothing more can come from it."""


@dataclass(frozen=True, slots=True)
class GapReach:
    """The `gap` entry at `index` says that numbers of `instance` above `after_seq` are lost.

    `own_seq` is the number of the gap itself if it is of that instance: it speaks of numbers below its own
    only. None: it was written by another life.
    """

    producer: bytes
    instance: str
    index: int
    after_seq: int
    own_seq: int | None


@dataclass(frozen=True, slots=True)
class PromiseRow:
    """A promise whose signature was checked, under the decision id its sender named. Unix microseconds."""

    id: str
    producer: bytes
    instance: str
    seq: int
    leaf_hash: bytes
    note: str
    kept_us: int
    until_us: int
    """After this it may be forgotten."""


def conflict(known: PromiseRow, row: PromiseRow) -> bool:
    """Whether two promises cannot both be kept, or should not both have been given."""
    same_call = (known.id, known.producer) == (row.id, row.producer)
    same_place = (known.producer, known.instance, known.seq) == (row.producer, row.instance, row.seq)
    return known.leaf_hash != row.leaf_hash and (same_call or same_place)


@dataclass(frozen=True, slots=True)
class KeptPromise:
    """A promise of the store. `conflicts`: an earlier one of the same id and producer, or of the same number
    of its chain, promises another entry.
    """

    producer: bytes
    note: str
    conflicts: bool


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """What opens an outcome that the service wrote, sealed; `leaf_hash` is that of its entry."""

    leaf_hash: bytes
    decision: str
    stored_us: int
    sealed: bytes = field(repr=False)
    wrapped: bytes = field(repr=False)
    request: bytes | None = None
    """Keyed digest of the key that the sender gave the request, so that it happens once."""
    request_body: bytes | None = None
    """Keyed digest of what was asked with it."""


@dataclass(frozen=True, slots=True, order=True)
class FacetRow:
    """Which entries of one block (256 entries, as a bundle) share one property: `auditlog.log.facets`."""

    facet: int
    """Which property: its number."""
    value: int
    """Of a word the first eight bytes of its hash, of a time the minute: what is found is looked at again."""
    block: int
    places: bytes
    """Places in the block: empty for all 256, up to 31 bytes for so many, else a bitmap of 32 bytes."""


@dataclass(frozen=True, slots=True)
class FacetSpan:
    """Which rows of one facet are wanted: values `low`..`high`, by (value, block), from `start` on, which is
    one of them; with `newest` the other way round.
    """

    facet: int
    low: int
    high: int
    start: tuple[int, int] | None = None
    newest: bool = False
    limit: int = 1024


@dataclass(frozen=True, slots=True)
class FacetBlock:
    """One row of a span, and the places that other properties have in the same block (None: nowhere)."""

    value: int
    block: int
    places: bytes
    others: tuple[bytes | None, ...]


@dataclass(slots=True)
class IndexRows:
    """Rows of the derived index for entries `start`..`end`-1. Derived: may be dropped and built again."""

    start: int
    end: int
    leaf_hashes: bytes | bytearray = b""
    """32 bytes for each entry, in order; or none at all."""
    decisions: list[str | None] = field(default_factory=list)
    """For each entry the id of the decision that it is, in order; or none at all."""
    models: list[ModelRow] = field(default_factory=list)
    gaps: list[GapRow] = field(default_factory=list)
    reaches: list[GapReach] = field(default_factory=list)
    flags: list[tuple[int, str]] = field(default_factory=list)
    facets: list[FacetRow] = field(default_factory=list)
    """Of each block that these entries complete."""
