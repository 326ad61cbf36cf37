"""`Live`: the memory of one running log, shared by its parts and guarded by one lock.

Spec: design section 6. `tree` is the newest committed tree and is replaced whole; reading it needs no lock.
Everything else is touched under `lock` only. `lock` is never held while a store is written or a note signed.
"""

from __future__ import annotations

import threading
from copy import copy

from auditlog.core.note import Ed25519Signer
from auditlog.errors import LogHalted
from auditlog.log.chains import Chains
from auditlog.log.clock import Clock
from auditlog.log.config import Layout, LogConfig, Stores, Visibility
from auditlog.log.pool import Pending, Pool
from auditlog.log.tree import Tree
from auditlog.storage.records import OPEN, RETIRED


class Live:
    """State in memory of one log."""

    def __init__(
        self, config: LogConfig, stores: Stores, signer: Ed25519Signer, clock: Clock, tree: Tree
    ) -> None:
        self.config = config
        self.stores = stores
        self.layout = Layout(stores, Visibility(config.visibility))
        self.signer = signer
        self.clock = clock
        self.lock = threading.RLock()
        self.tree = tree
        self.chains = Chains()
        self.pool = Pool()
        self.inflight: list[Pending] = []
        """Taken from the pool by the sequencer, not yet committed."""
        self.next_index = tree.size
        """Size of the tree once everything in flight and in the pool is committed."""
        self.standing = OPEN
        """The durable standing (`standing`), as last read. Changed by `stand`."""
        self.stands_since = 0
        """How often it was changed here: what was read before a change says nothing about it."""
        self.is_ending = False
        """The log's last entry is in the pool: nothing is admitted behind it."""
        self.minimum = 0
        """Bundles of entries below it may be gone (`retention`). Only ever raised."""
        self.halted: LogHalted | None = None
        self.is_stopped = False
        """Halted for good: only a new start can help. Else a halt ends when recovery succeeds."""

    def admit(self, item: Pending) -> None:
        """Give the item its place in the order. Under the lock."""
        self.pool.add(item)
        self.next_index += len(item.entries)
        if item.new_head is not None:
            self.chains.pending[item.chain] = item.new_head
        if item.life is not None:
            self.chains.lives.add(item.life)

    def stand(self, standing: str, *, read_at: int | None = None) -> None:
        """Take over a standing; with `read_at` one that was read when `stands_since` was that number, which a
        change made meanwhile outdates.
        """
        with self.lock:
            if read_at is None or read_at == self.stands_since or standing == RETIRED:
                self.stands_since += read_at is None
                self.standing = standing

    def check_running(self) -> None:
        """Raise the reason if the engine stopped itself."""
        if self.halted is not None:
            # A new one each time: an exception raised again and again would collect tracebacks for ever.
            raise copy(self.halted)

    def halt(self, reason: LogHalted, *, for_good: bool = True) -> None:
        """Stop: nothing is admitted or signed, until `resume` or, `for_good`, ever again.

        The first reason stays, but one for good takes the place of one for a while.
        """
        with self.lock:
            if self.halted is None or (for_good and not self.is_stopped):
                self.halted, self.is_stopped = reason, for_good

    def resume(self) -> bool:
        """End a halt for a while, after recovery and guards; return whether the engine runs now."""
        with self.lock:
            if not self.is_stopped:
                self.halted = None
            return self.halted is None
