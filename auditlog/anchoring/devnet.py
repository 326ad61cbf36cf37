"""The devnet: a real EVM and the real contract inside this process, for a newcomer without a node.

Design section 5, Anchor: `devnet@v0`. It runs the same AnchorRegistry bytes as a public chain would, through
eth-tester and py-evm. It forgets everything at exit; a restart is a new devnet, and the scheduler anchors the
newest checkpoint again. Every anchor from here is called devnet, and its evidence is a note by the devnet
key. It must never pass for a public chain: whoever runs it can write any block it likes.

eth-tester is not thread-safe: one lock guards every call.
The EVM is loaded (about a second) at the first call.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

from auditlog.anchoring.artefact import load_artefact
from auditlog.anchoring.evm import (
    NEVER_ANCHORED,
    ZERO_SLOT,
    AnchorCall,
    AnchoredEvent,
    Opening,
    decode_event,
    decode_slot,
    encode_anchor,
    encode_slots,
    parse_address,
)
from auditlog.anchoring.ledger import Anchored, AnchorTx, BlockRef
from auditlog.anchoring.libraries import chain_libraries
from auditlog.errors import LedgerError
from auditlog.log.clock import Clock


class Devnet:
    """A `Ledger` on a chain of our own. May be shared by every log of a process.

    Args:
        clock: blocks are dated by its wall time.
    """

    is_devnet = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._started: _Chain | None = None
        self._untold: dict[bytes, AnchorTx] = {}
        self._newest: dict[bytes, tuple[AnchorTx, Opening]] = {}

    @property
    def chain_id(self) -> int:
        """eth-tester's fixed chain id, 131277322940537: the same for every devnet."""
        return self._chain().chain_id

    @property
    def contract(self) -> bytes:
        """Address of the registry, 20 bytes."""
        return self._chain().contract

    def submit(self, log_id: bytes, size: int, root: bytes, *, note: str = "") -> AnchorTx:
        """Anchor one checkpoint in a block of its own, mined at once. The same one again is not sent again.

        Raises:
            LedgerError: the slot holds another checkpoint that this one does not extend, or the EVM refused.
        """
        with self._lock:
            newest, opening = self._newest.get(log_id, (None, NEVER_ANCHORED))
            if newest is not None and (newest.size, newest.root) == (size, root):
                return newest
            if log_id in self._untold:
                return self._untold[log_id]
            if size <= opening.size:
                raise LedgerError(f"devnet: expected a tree size over {opening.size}, found {size}")
            now_us = self._clock.unix_us()
            data = encode_anchor(AnchorCall(log_id, opening, size, root))
            tx = self._chain().transact(data, now_us // 1_000_000)
            sent = AnchorTx(log_id=log_id, size=size, root=root, tx=tx, sent_us=now_us, note=note)
            self._untold[log_id] = replace(sent, is_final=True)
            self._newest[log_id] = (sent, opening.then(size, root))
            return sent

    def pending(self, log_id: bytes) -> AnchorTx | None:
        """Return the anchor that was not acknowledged; all are mined and final at once."""
        with self._lock:
            return self._untold.get(log_id)

    def acknowledge(self, tx: AnchorTx) -> None:
        """Forget the anchor in `pending`."""
        with self._lock:
            self._untold.pop(tx.log_id, None)

    def confirm(self, tx: AnchorTx) -> Anchored | None:
        """Read the anchor back from its block.

        Raises:
            LedgerError: this devnet does not hold it (it belongs to one before a restart).
        """
        with self._lock:
            chain = self._chain()
            receipt = chain.receipt(tx.tx)
            event = chain.event(receipt)
            found = (event.owner, event.log_id, event.opening.size, event.root)
            if found != (chain.account, tx.log_id, tx.size, tx.root):
                raise LedgerError(
                    f"devnet: expected the anchor of size {tx.size}, found {event.opening.size}"
                )
            number, block_hash, timestamp = chain.block(receipt["block_number"])
            return Anchored(
                chain_id=chain.chain_id,
                contract=chain.contract,
                owner=chain.account,
                log_id=tx.log_id,
                size=tx.size,
                root=tx.root,
                tx=tx.tx,
                block_number=number,
                block_hash=block_hash,
                block_time=timestamp,
            )

    def slot(self, log_id: bytes) -> bytes:
        """Return the contract's slot for this log; zeros when this devnet never anchored it."""
        with self._lock:
            # A devnet nobody anchored on yet need not be started to know that its slots are empty.
            return ZERO_SLOT if self._started is None else self._started.slot(log_id)

    def finalized_block(self) -> BlockRef:
        """Return the newest block: here all are final at once."""
        with self._lock:
            chain = self._chain()
            number, block_hash, _ = chain.block("latest")
            return BlockRef(chain.chain_id, number, block_hash)

    def _chain(self) -> _Chain:
        with self._lock:
            if self._started is None:
                self._started = _Chain()
            return self._started


class _Chain:
    """eth-tester behind bytes. Not thread-safe: the Devnet holds its lock around every call."""

    def __init__(self) -> None:
        with chain_libraries():
            from eth_tester import EthereumTester, PyEVMBackend

        backend = PyEVMBackend()
        self._tester: Any = EthereumTester(backend)
        self.chain_id = int(backend.chain.chain_id)
        self._from = self._tester.get_accounts()[0]
        self.account = parse_address(self._from)
        self._to = self._deploy()
        self.contract = parse_address(self._to)

    def _deploy(self) -> str:
        artefact = load_artefact()
        sent = self._send({"from": self._from, "data": _hex(artefact.init_code)})
        address = str(self._tester.get_transaction_receipt(_hex(sent))["contract_address"])
        if bytes.fromhex(self._tester.get_code(address)[2:]) != artefact.runtime:
            raise LedgerError("devnet: expected the committed runtime code, found another")
        return address

    def transact(self, data: bytes, now_s: int) -> bytes:
        """Send one call of the registry in a block dated `now_s` or a little later; return its hash."""
        # py-evm dates a block when the one before it is mined, which may be an hour ago: an anchor would
        # claim to be older than it is. An empty block dated now comes first.
        if now_s > self._tester.get_block_by_number("pending")["timestamp"]:
            self._tester.time_travel(now_s)
        return self._send({"from": self._from, "to": self._to, "data": _hex(data)})

    def _send(self, transaction: dict[str, Any]) -> bytes:
        from eth_tester.exceptions import TransactionFailed

        try:
            # A transaction that fails is mined all the same; the estimate is what says so before.
            transaction["gas"] = self._tester.estimate_gas(transaction)
            return bytes.fromhex(self._tester.send_transaction(transaction)[2:])
        except TransactionFailed as error:
            raise LedgerError(f"devnet: expected the contract to accept, it refused: {error}") from error

    def slot(self, log_id: bytes) -> bytes:
        data = _hex(encode_slots(self.account, log_id))
        answer = self._tester.call({"from": self._from, "to": self._to, "data": data})
        return decode_slot(bytes.fromhex(answer[2:]))

    def receipt(self, tx: bytes) -> dict[str, Any]:
        from eth_tester.exceptions import TransactionNotFound

        try:
            receipt: dict[str, Any] = self._tester.get_transaction_receipt(_hex(tx))
        except TransactionNotFound as error:
            raise LedgerError("devnet: the transaction belongs to a devnet before a restart") from error
        if receipt["status"] != 1:
            raise LedgerError(f"devnet: expected receipt status 1, found {receipt['status']}")
        return receipt

    def event(self, receipt: dict[str, Any]) -> AnchoredEvent:
        logs = [log for log in receipt["logs"] if parse_address(log["address"]) == self.contract]
        if len(logs) != 1:
            raise LedgerError(f"devnet: expected one event of the registry, found {len(logs)}")
        topics = [bytes.fromhex(topic[2:]) for topic in logs[0]["topics"]]
        return decode_event(topics, bytes.fromhex(logs[0]["data"][2:]))

    def block(self, number: int | str) -> tuple[int, bytes, int]:
        block = self._tester.get_block_by_number(number)
        return int(block["number"]), bytes.fromhex(block["hash"][2:]), int(block["timestamp"])


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
