"""One Ethereum JSON-RPC node, asked strictly: what a transaction sender needs and no more.

Everything a node answers is attacker-controlled: it is parsed here into bytes and integers of the right
size, or refused as a `LedgerError`. Whether it is *true* is the caller's question. A call is made once:
web3's provider would repeat some by itself, sending among them, and only the journal (rpc.py) may decide
to send again. `Request` is the whole connection, so tests put a dishonest chain there
(tests/support/fake_chain.py).
"""

from __future__ import annotations

import enum
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditlog.anchoring.evm import format_address, parse_address
from auditlog.anchoring.jsonrpc import (
    Request,
    as_hex,
    blob,
    error_message,
    hash32,
    json_array,
    json_object,
    quantity,
)
from auditlog.errors import LedgerError

_FEE_BLOCKS = 5


class Sent(enum.Enum):
    """What a node said to a raw transaction."""

    ACCEPTED = "accepted"
    KNOWN = "known"
    """It has this transaction already: what we wanted."""
    NONCE_USED = "nonce_used"
    """Some transaction with this nonce is mined: ours or not, receipts tell."""
    UNDERPRICED = "underpriced"
    """It keeps an earlier attempt, or wants a higher fee now: a later bump decides."""


@dataclass(frozen=True, slots=True)
class Block:
    """The part of a header we compare."""

    number: int
    hash: bytes
    timestamp: int
    """Seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class EventLog:
    """One event, still unparsed."""

    address: bytes
    topics: tuple[bytes, ...]
    data: bytes
    tx: bytes
    block_number: int


@dataclass(frozen=True, slots=True)
class TxReceipt:
    """What became of a transaction."""

    tx: bytes
    status: int
    block_number: int
    block_hash: bytes
    logs: tuple[EventLog, ...]


@dataclass(frozen=True, slots=True)
class Fees:
    """What the next block will ask, in wei per gas."""

    base: int
    tip: int


class Node:
    """A node behind a `Request`. Holds no state."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def chain_id(self) -> int:
        """eth_chainId."""
        return quantity(self._ask("eth_chainId", []))

    def code(self, address: bytes) -> bytes:
        """eth_getCode at the newest block."""
        return blob(self._ask("eth_getCode", [format_address(address), "latest"]))

    def balance(self, address: bytes) -> int:
        """eth_getBalance at the newest block, wei."""
        return quantity(self._ask("eth_getBalance", [format_address(address), "latest"]))

    def nonce(self, address: bytes, tag: str = "latest") -> int:
        """eth_getTransactionCount: how many transactions of the address are in the chain up to `tag`."""
        return quantity(self._ask("eth_getTransactionCount", [format_address(address), tag]))

    def call(self, to: bytes, data: bytes) -> bytes:
        """eth_call at the newest block."""
        return blob(self._ask("eth_call", [{"to": format_address(to), "data": as_hex(data)}, "latest"]))

    def estimate_gas(self, sender: bytes, to: bytes, data: bytes) -> int:
        """eth_estimateGas. A call that would revert is an error here, before anything is signed."""
        call = {"from": format_address(sender), "to": format_address(to), "data": as_hex(data)}
        return quantity(self._ask("eth_estimateGas", [call]))

    def fees(self) -> Fees:
        """eth_feeHistory: the next base fee and the median tip of the last blocks, 0 when they were empty.

        Raises:
            LedgerError: the chain has no base fee (EIP-1559), or the answer is not one.
        """
        answer = json_object(self._ask("eth_feeHistory", [hex(_FEE_BLOCKS), "latest", [50]]))
        bases = json_array(answer.get("baseFeePerGas"))
        if not bases or bases[-1] is None:
            raise LedgerError("expected a chain with a base fee (EIP-1559), found none")
        rewards = [json_array(row) for row in json_array(answer.get("reward") or [])]
        tips = [quantity(row[0]) for row in rewards if row]
        return Fees(quantity(bases[-1]), int(statistics.median_low(tips)) if tips else 0)

    def block(self, which: int | str) -> Block | None:
        """eth_getBlockByNumber by number or tag; None when the node has no such block (nothing final yet)."""
        tag = hex(which) if isinstance(which, int) else which
        answer, error = self._exchange("eth_getBlockByNumber", [tag, False])
        if error is not None and not isinstance(which, int) and "not found" in error_message(error):
            return None  # geth before its first finalized block
        answer = _unless(error, answer, "eth_getBlockByNumber")
        if answer is None:
            return None
        fields = json_object(answer)
        return Block(
            quantity(fields.get("number")), hash32(fields.get("hash")), quantity(fields.get("timestamp"))
        )

    def receipt(self, tx: bytes) -> TxReceipt | None:
        """eth_getTransactionReceipt; None while the transaction is in no block this node follows.

        Raises:
            LedgerError: the answer is about another transaction.
        """
        answer = self._ask("eth_getTransactionReceipt", [as_hex(tx)])
        if answer is None or json_object(answer).get("blockHash") is None:
            return None
        fields = json_object(answer)
        receipt = TxReceipt(
            tx=hash32(fields.get("transactionHash")),
            status=quantity(fields.get("status")),
            block_number=quantity(fields.get("blockNumber")),
            block_hash=hash32(fields.get("blockHash")),
            logs=tuple(_event(entry) for entry in json_array(fields.get("logs"))),
        )
        if receipt.tx != tx:
            raise LedgerError("expected the receipt that was asked for, found another transaction's")
        return receipt

    def events(self, address: bytes, topics: Sequence[bytes], first: int, last: int) -> list[EventLog]:
        """eth_getLogs of one contract between two block numbers, both included, oldest first."""
        asked = {
            "address": format_address(address),
            "topics": [as_hex(topic) for topic in topics],
            "fromBlock": hex(first),
            "toBlock": hex(last),
        }
        events = [_event(entry) for entry in json_array(self._ask("eth_getLogs", [asked]))]
        if any(event.address != address or event.topics != tuple(topics) for event in events):
            raise LedgerError("expected events of the asked contract and topics, found others")
        return events

    def send(self, raw: bytes) -> Sent:
        """eth_sendRawTransaction.

        Raises:
            LedgerError: the node refused for another reason than those of `Sent`, or did not answer; then the
                transaction may be on its way all the same.
        """
        _, error = self._exchange("eth_sendRawTransaction", [as_hex(raw)])
        if error is None:
            return Sent.ACCEPTED
        message = error_message(error)
        for words, meaning in _SEND_ANSWERS:
            if words in message:
                return meaning
        raise LedgerError(f"expected the node to take the transaction, it said: {message[:200]}")

    def _ask(self, method: str, params: list[Any]) -> Any:
        answer, error = self._exchange(method, params)
        return _unless(error, answer, method)

    def _exchange(self, method: str, params: list[Any]) -> tuple[Any, Any]:
        response = json_object(self._request(method, params))
        if response.get("error") is not None:
            return None, response["error"]
        if "result" not in response:
            raise LedgerError(f"{method}: expected a result or an error, found neither")
        return response["result"], None


# Each client words these in its own way; the first match decides.
_SEND_ANSWERS: tuple[tuple[str, Sent], ...] = (
    ("already known", Sent.KNOWN),  # geth, erigon, besu
    ("already imported", Sent.KNOWN),  # anvil, reth
    ("known transaction", Sent.KNOWN),
    ("alreadyknown", Sent.KNOWN),  # nethermind
    ("nonce too low", Sent.NONCE_USED),
    ("oldnonce", Sent.NONCE_USED),  # nethermind
    ("underpriced", Sent.UNDERPRICED),
    ("max fee per gas less than block base fee", Sent.UNDERPRICED),
    ("feetoolow", Sent.UNDERPRICED),
)


def _unless(error: Any, answer: Any, method: str) -> Any:
    if error is not None:
        raise LedgerError(f"{method}: expected a result, the node said: {error_message(error)[:200]}")
    return answer


def _event(value: Any) -> EventLog:
    fields = json_object(value)
    address = fields.get("address")
    return EventLog(
        address=parse_address(address if isinstance(address, str) else ""),
        topics=tuple(hash32(topic) for topic in json_array(fields.get("topics"))),
        data=blob(fields.get("data")),
        tx=hash32(fields.get("transactionHash")),
        block_number=quantity(fields.get("blockNumber")),
    )
