"""When to anchor, and what to do once an anchor is final.

Design sections 5 (Anchor) and 6. One turn (`run_once`): push what is on its way; else, if a decision
waits in the outbox, anchor the newest published checkpoint. A final anchor is told twice: as an `anchor`
entry in the log, and as a record that receipts are given, which also empties the outbox. Own entries wait
for nothing, so an `anchor` entry never calls for another anchor.

Promises: only published checkpoints; at most one anchor of a log on its way; a death anywhere is finished
by the next turn, with one transaction, one entry and one record. A devnet is empty after a restart: the
newest checkpoint is anchored on it again, once something had been anchored before. Must never: anchor a
tree that is not a prefix of ours, or report what the ledger has not confirmed.
"""

from __future__ import annotations

import enum
import threading
from dataclasses import dataclass
from typing import Any

from auditlog.anchoring.evm import ZERO_SLOT
from auditlog.anchoring.ledger import Anchored, AnchorTx, Ledger
from auditlog.core.anchor import DEVNET_TYPE, EVM_TYPE, DevnetAnchor, format_hex, log_id, sign_devnet_anchor
from auditlog.core.checkpoint import Checkpoint, parse_checkpoint
from auditlog.core.entry import parse_entry
from auditlog.core.note import NoteSigner, split_note
from auditlog.core.scalars import format_time
from auditlog.errors import ConfigurationError, InconsistentLogError
from auditlog.log.clock import Clock
from auditlog.log.log import Log
from auditlog.storage.records import QUIESCED, READ_ONLY, RETIRED, AnchorRecord

ENTRY_TIMEOUT_S = 60.0
PUBLISHED_TIMEOUT_S = 3.0
_SCAN = 4096


class State(enum.Enum):
    """How a turn ended."""

    IDLE = "idle"
    """Nothing to anchor."""
    WAITING = "waiting"
    """On its way: not final, or the decision is not published yet."""
    ANCHORED = "anchored"
    """Final, in the log and in receipts."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn did."""

    state: State
    size: int = 0
    """Tree size of the checkpoint it was about."""
    waited_s: float = 0.0
    """How long it has been on its way, by our clock: for alarms about a chain whose finality stalls."""


class Anchorer:
    """Anchors one log on one ledger. `run_once` may be called from any thread.

    Args:
        devnet_signer: signs the evidence of a devnet; required there, and of no use elsewhere.
        clock: for `Turn.waited_s` only.

    Raises:
        ConfigurationError: a devnet without its signer.
    """

    def __init__(self, log: Log, ledger: Ledger, devnet_signer: NoteSigner | None, clock: Clock) -> None:
        if ledger.is_devnet and devnet_signer is None:
            raise ConfigurationError("expected a devnet key for the evidence of a devnet, found none")
        self._log = log
        self._ledger = ledger
        self._signer = devnet_signer
        self._clock = clock
        self._log_id = log_id(log.origin)
        self._lock = threading.Lock()
        self._target = 0
        """Tree size the next anchor must reach. Fixed when first seen: under load the outbox always grows."""

    def run_once(self) -> Turn:
        """Take one turn. Waits a moment for a publication, never for a block.

        Raises:
            LedgerError: the chain or its node failed; the next turn tries again.
            InconsistentLogError: what is on its way is not a prefix of our tree: this log was rolled back.
        """
        with self._lock:
            if self._log.standing in {QUIESCED, READ_ONLY}:
                # An anchor is told in an entry, and none is taken now.
                return Turn(State.IDLE)
            tx = self._ledger.pending(self._log_id)
            if tx is None:
                due = self._due()
                if isinstance(due, Turn):
                    return due
                note, checkpoint = due
                tx = self._ledger.submit(self._log_id, checkpoint.tree_size, checkpoint.root_hash, note=note)
            self._check_prefix(tx)
            anchored = self._ledger.confirm(tx)
            waited_s = (self._clock.unix_us() - tx.sent_us) / 1_000_000
            if anchored is None:
                return Turn(State.WAITING, tx.size, waited_s)
            self._tell(anchored, tx)
            return Turn(State.ANCHORED, tx.size, waited_s)

    def _due(self) -> Turn | tuple[str, Checkpoint]:
        """Return the checkpoint to anchor now, or why there is none."""
        self._target = self._target or self._log.outbox.pending() or self._last_target()
        if not self._target and not self._is_new_devnet():
            return Turn(State.IDLE)
        try:
            # Published at most an interval later; an anchor before that would not hold the decision.
            note = self._log.await_published(max(self._target - 1, 0), PUBLISHED_TIMEOUT_S)
        except TimeoutError:
            return Turn(State.WAITING, self._target)
        self._target = 0
        return note, parse_checkpoint(split_note(note)[0])

    def _last_target(self) -> int:
        """The last checkpoint of a log that has ended is anchored, decisions or not; 0 if it is."""
        if self._log.standing != RETIRED:
            return 0
        newest = self._log.anchors.newest()
        size = self._log.tree_size
        return 0 if newest is not None and newest.tree_size >= size else size

    def _is_new_devnet(self) -> bool:
        if not self._ledger.is_devnet or self._ledger.slot(self._log_id) != ZERO_SLOT:
            return False
        return any(anchor.type == DEVNET_TYPE for anchor in self._log.anchors.all())

    def _check_prefix(self, tx: AnchorTx) -> None:
        ours = self._log.tree_size
        if tx.size > ours or self._log.reader.root_at(tx.size) != tx.root:
            raise InconsistentLogError(
                f"expected an anchor of our own tree, found root {tx.root.hex()} with tree size"
                f" {tx.size} on its way and {ours} entries here",
                smaller=tx.note,
            )

    def _tell(self, anchored: Anchored, tx: AnchorTx) -> None:
        """Write entry and record, then acknowledge. A death between them is finished by the next turn.

        A log that has ended takes no entry: its anchor is in receipts alone.
        """
        if self._log.standing != RETIRED and not (tx.is_final and self._is_in_log(anchored)):
            self._log.append_own("anchor", self._body(anchored)).result(ENTRY_TIMEOUT_S)
        self._log.anchors.record(
            AnchorRecord(
                type=self._type,
                tree_size=anchored.size,
                root_hash=anchored.root,
                checkpoint=tx.note,
                evidence=self._evidence(anchored),
            )
        )
        self._ledger.acknowledge(tx)

    def _is_in_log(self, anchored: Anchored) -> bool:
        """Look for the entry behind the tree it anchors: a long way, gone only after a turn was cut short."""
        tx, end = format_hex(anchored.tx), self._log.tree_size
        for start in range(anchored.size, end, _SCAN):
            for data in self._log.reader.entries(start, min(start + _SCAN, end)):
                if tx.encode() in data and _is_anchor_of(data, tx):
                    return True
        return False

    @property
    def _type(self) -> str:
        return DEVNET_TYPE if self._ledger.is_devnet else EVM_TYPE

    def _body(self, anchored: Anchored) -> dict[str, Any]:
        return {
            "type": self._type,
            "chain_id": anchored.chain_id,
            "contract": format_hex(anchored.contract),
            "log_id": anchored.log_id.hex(),
            "size": anchored.size,
            "root": anchored.root.hex(),
            "tx": format_hex(anchored.tx),
            "block_number": anchored.block_number,
            "block_hash": format_hex(anchored.block_hash),
            "block_time": format_time(anchored.block_time * 1_000_000),
        }

    def _evidence(self, anchored: Anchored) -> str:
        """Return what a receipt can carry: the devnet's note; nothing yet for a chain that needs proofs."""
        if self._signer is None or not self._ledger.is_devnet:
            return ""
        statement = DevnetAnchor(
            origin=self._log.origin,
            chain_id=anchored.chain_id,
            contract=anchored.contract,
            size=anchored.size,
            root=anchored.root,
            tx=anchored.tx,
            block_number=anchored.block_number,
            block_hash=anchored.block_hash,
            block_time=format_time(anchored.block_time * 1_000_000),
        )
        return sign_devnet_anchor(statement, self._signer)


def _is_anchor_of(data: bytes, tx: str) -> bool:
    entry = parse_entry(data)
    return entry.kind == "anchor" and entry.producer == "log" and entry.body.get("tx") == tx
