"""What one log is told, checked once: `LogConfig`, and the stores it works on.

Spec: design sections 5 ("Visibility") and 6. Everything here is fixed for the life of the `Log` object;
origin, visibility, merge delay and contact are fixed for ever, in the genesis entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from auditlog.core.retention import Policy
from auditlog.core.scalars import check_origin
from auditlog.core.tiles import TilePath
from auditlog.errors import ConfigurationError
from auditlog.storage.ports import LogState, ObjectStore


class Visibility(StrEnum):
    """Who may read what; the genesis entry fixes it."""

    PUBLIC = "public"
    """Any tlog client reads everything."""
    HASHES = "hashes"
    """Checkpoint and hash tiles are public, entry bundles are not."""
    PRIVATE = "private"
    """Only the checkpoint is public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """Settings of one log. Sizes in entries or bytes, times in seconds."""

    origin: str
    visibility: Visibility | str = Visibility.HASHES
    max_merge_delay_s: int = 60
    """In genesis: how long a promise may wait for its entry to be in a published checkpoint."""
    contact: str = ""
    name: str = ""
    """Short name in addresses and metrics; no meaning here."""
    publish_interval_s: float = 1.0
    """At most one checkpoint is published in this time."""
    index_interval_s: float = 0.0
    """Least time from one transaction of the index to the next, unless it is far behind."""
    receipt_secret: bytes = field(repr=False)
    """32 bytes; the receipt keys of producers are derived from it."""
    keep_promises_s: int = 30 * 86400
    """A promise handed over for its caller is kept this long after it was due."""
    retention: Policy = field(default_factory=Policy)
    """What is kept of entries; nothing is pruned without a rule."""
    awaits_anchors: bool = False
    """Entries are anchored somewhere: none is pruned before it was."""
    allow_unguarded: bool = False
    """Start although nothing outside the stores says how large the log was. Recorded as a `notice` entry."""
    max_commit_entries: int = 8192
    """Group commit: at most about this many entries in one."""
    max_commit_bytes: int = 32 << 20
    """And at most about this many bytes: a staged commit is held in memory whole."""
    max_pool_entries: int = 65_536
    max_pool_bytes: int = 128 << 20
    """Above either: pushback."""
    max_index_lag: int = 1_000_000
    """So far look-ups may fall behind what is being committed; above it: pushback."""
    model_wait_s: int = 600
    """How long the receipt of a decision with a pending model waits for the model's entry."""

    def __post_init__(self) -> None:
        check_origin(self.origin)
        object.__setattr__(self, "visibility", Visibility(self.visibility))
        if len(self.receipt_secret) != 32:
            raise ConfigurationError(
                f"expected a receipt secret of 32 bytes, found {len(self.receipt_secret)}"
            )
        if self.max_merge_delay_s < 1 or self.publish_interval_s < 0:
            raise ConfigurationError("expected a positive merge delay and interval, found another")


@dataclass(frozen=True, slots=True)
class Stores:
    """Where one log keeps what. Nothing here is shared with another log but the database under `state`."""

    public: ObjectStore
    """The folder that may be published: exactly a tlog-tiles tree."""
    private: ObjectStore
    """What the visibility keeps from the public: bundles, and hash tiles too if it is `private`."""
    staging: ObjectStore
    """Commits prepared and not yet superseded. Never below `public`, nor below `tile/` of `private`."""
    state: LogState


@dataclass(frozen=True, slots=True)
class Layout:
    """Which store an object of the tile tree belongs in."""

    stores: Stores
    visibility: Visibility

    def store_of(self, path: TilePath) -> ObjectStore:
        """The store for a tile or bundle, by visibility."""
        public_if = {Visibility.PUBLIC} if path.level is None else {Visibility.PUBLIC, Visibility.HASHES}
        return self.stores.public if self.visibility in public_if else self.stores.private
