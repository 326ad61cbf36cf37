"""The anchor slot as a rollback guard: what a public chain remembers of our log.

Design section 2, "restore an old backup and go on". Promises: an empty slot has seen nothing; anything
short of an answer (another chain, no contract, no event for a slot that is set) is an error, never
"nothing seen". Every block counts, final or not: what was anchored was published, so our stores must hold
it. Must never: stand on a devnet, which forgets with us.
"""

from __future__ import annotations

from auditlog.anchoring.evm import format_address
from auditlog.anchoring.registry import Registry
from auditlog.core.anchor import log_id
from auditlog.log.rollback import SeenTree


class AnchorSlotSource:
    """A `RollbackSource` that reads our slot. Needs the owner's address, not its key."""

    def __init__(self, registry: Registry, origin: str) -> None:
        self._registry = registry
        self._log_id = log_id(origin)

    @property
    def name(self) -> str:
        """Chain and contract, for messages."""
        return f"anchor slot in {format_address(self._registry.contract)} on chain {self._registry.chain_id}"

    def newest(self) -> SeenTree | None:
        """Read slot and event; None for a slot never written.

        Raises:
            LedgerError: the node failed, or hides the event.
            ConfigurationError: the node follows another chain.
        """
        self._registry.check_chain()
        found = self._registry.newest(self._log_id)
        return None if found is None else SeenTree(found.event.opening.size, found.event.root)

    def record(self, note: str) -> None:
        """Nothing: the scheduler anchors, and only what is published."""
