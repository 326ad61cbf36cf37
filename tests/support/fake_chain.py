"""A chain with one AnchorRegistry, in memory, behind the JSON-RPC a node would answer. Honest unless told
otherwise.

It reorganises, stalls, forgets, loses answers and lies on demand; it applies geth's rules where the real
test node (anvil) is kinder: a replacement must pay 10 % more of both amounts, an underpriced transaction
waits in the pool. State is replayed from the blocks, so a reorganisation needs no undo. Transactions are
real, signed ones.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from auditlog.anchoring.artefact import load_artefact
from auditlog.anchoring.evm import (
    NEVER_ANCHORED,
    AnchorCall,
    AnchoredEvent,
    decode_anchor,
    encode_event,
    encode_slots,
    format_address,
    keccak256,
)
from auditlog.anchoring.libraries import chain_libraries
from auditlog.errors import LedgerError

CONTRACT = bytes.fromhex("c0" * 20)
CHAIN_ID = 31337
GAS = 31_125
ETHER = 10**18


@dataclass(frozen=True, slots=True)
class Tx:
    """One signed transaction, decoded."""

    hash: bytes
    raw: bytes
    sender: bytes
    nonce: int
    to: bytes
    data: bytes
    gas: int
    max_fee: int
    tip: int


@dataclass(frozen=True, slots=True)
class FakeBlock:
    """One block. `branch` makes blocks of the same height on two branches differ."""

    number: int
    branch: int
    timestamp: int
    txs: tuple[Tx, ...]

    @property
    def hash(self) -> bytes:
        """Return a hash over everything in the block."""
        text = f"{self.number} {self.branch} {self.timestamp} {[tx.hash.hex() for tx in self.txs]}"
        return keccak256(text.encode())


@dataclass(slots=True)
class Outcome:
    """What executing one transaction did."""

    status: int
    events: list[AnchoredEvent]


@dataclass(slots=True)
class FakeChain:
    """The chain and its one node. Call it as a `Request`."""

    chain_id: int = CHAIN_ID
    contract: bytes = CONTRACT
    balance: int = ETHER
    base_fee: int = 10**9
    tips: list[int] = field(default_factory=lambda: [10**8] * 5)
    finality_lag: int = 2
    has_finality: bool = True
    takes_transactions: bool = True
    """False: nothing from the pool is mined (a stuck transaction)."""
    max_log_span: int = 10**9
    calls: list[tuple[str, list[Any]]] = field(default_factory=list)
    faults: dict[str, list[Callable[[Callable[[], Any]], Any]]] = field(default_factory=dict)
    """method -> wrappers of the honest answer, used up one a call."""
    lies: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    """method -> what to make of the honest answer, for ever."""
    blocks: list[FakeBlock] = field(default_factory=lambda: [FakeBlock(0, 0, 1_700_000_000, ())])
    pool: dict[tuple[bytes, int], Tx] = field(default_factory=dict)
    branch: int = 0

    # What a test does to the chain

    def mine(self, count: int = 1) -> None:
        """Append blocks; the pool's payable transactions go in, in order of nonce."""
        for _ in range(count):
            taken = self._payable() if self.takes_transactions else []
            for tx in taken:
                del self.pool[tx.sender, tx.nonce]
            parent = self.blocks[-1]
            self.blocks.append(FakeBlock(parent.number + 1, self.branch, parent.timestamp + 12, tuple(taken)))

    def reorganise(self, depth: int, *, forget: bool = False) -> None:
        """Replace the newest `depth` blocks by one more empty one; their transactions go back to the pool."""
        dropped = self.blocks[-depth:]
        del self.blocks[-depth:]
        self.branch += 1
        for tx in (tx for block in dropped for tx in block.txs if not forget):
            self.pool[tx.sender, tx.nonce] = tx
        taking, self.takes_transactions = self.takes_transactions, False
        self.mine(depth + 1)
        self.takes_transactions = taking

    def forget_pool(self) -> None:
        """Drop every waiting transaction, as nodes under load do."""
        self.pool.clear()

    def refuse(self, method: str, message: str = "server busy", times: int = 1) -> None:
        """Answer the next calls with a JSON-RPC error, doing nothing."""

        def answer(_: Callable[[], Any]) -> Any:
            return {"error": {"code": -32005, "message": message}}

        self.faults.setdefault(method, []).extend([answer] * times)

    def lose_request(self, method: str, times: int = 1) -> None:
        """Let the next calls time out before the node saw them."""

        def answer(_: Callable[[], Any]) -> Any:
            raise LedgerError(f"{method}: expected an answer, found ReadTimeout")

        self.faults.setdefault(method, []).extend([answer] * times)

    def lose_answer(self, method: str, times: int = 1) -> None:
        """Let the next calls do their work, and time out before the answer came."""

        def answer(honest: Callable[[], Any]) -> Any:
            honest()
            raise LedgerError(f"{method}: expected an answer, found ReadTimeout")

        self.faults.setdefault(method, []).extend([answer] * times)

    def sent(self) -> list[bytes]:
        """Every raw transaction that was sent, in order, repeats too."""
        return [bytes.fromhex(p[0][2:]) for method, p in self.calls if method == "eth_sendRawTransaction"]

    # The node

    def __call__(self, method: str, params: list[Any]) -> Mapping[str, Any]:
        """Answer one request."""
        self.calls.append((method, params))

        def honest() -> Any:
            return self._answer(method, params)

        waiting = self.faults.get(method)
        response = waiting.pop(0)(honest) if waiting else honest()
        if method in self.lies and "result" in response:
            return {"result": self.lies[method](response["result"])}
        return response  # type: ignore[no-any-return]

    def _answer(self, method: str, params: list[Any]) -> dict[str, Any]:
        handler = getattr(self, "_" + method, None)
        if handler is None:
            return {"error": {"code": -32601, "message": f"the method {method} does not exist"}}
        try:
            return {"result": handler(*params)}
        except ValueError as error:
            return {"error": {"code": -32000, "message": str(error)}}

    def _eth_chainId(self) -> str:  # noqa: N802
        return hex(self.chain_id)

    def _eth_getCode(self, address: str, _: str) -> str:  # noqa: N802
        return _hex(load_artefact().runtime) if address == format_address(self.contract) else "0x"

    def _eth_getBalance(self, _address: str, _: str) -> str:  # noqa: N802
        return hex(self.balance)

    def _eth_getTransactionCount(self, address: str, tag: str) -> str:  # noqa: N802
        if tag == "finalized" and not self.has_finality:
            raise ValueError("finalized block not found")
        return hex(self._nonce(bytes.fromhex(address[2:]), self._upto(tag)))

    def _eth_call(self, call: dict[str, str], _: str) -> str:
        state, _outcomes = self._replay(self.blocks)
        for (owner, log_id), opening in state.items():
            if call["data"] == _hex(encode_slots(owner, log_id)):
                return _hex(opening.slot())
        return _hex(bytes(32))

    def _eth_estimateGas(self, call: dict[str, str]) -> str:  # noqa: N802
        state, _ = self._replay(self.blocks)
        asked = decode_anchor(bytes.fromhex(call["data"][2:]))
        if not _accepts(state, bytes.fromhex(call["from"][2:]), asked):
            raise ValueError("execution reverted: slot differs")
        return hex(GAS)

    def _eth_feeHistory(self, count: str, _: str, _percentiles: list[int]) -> dict[str, Any]:  # noqa: N802
        rewards = [[hex(tip)] for tip in self.tips]
        return {"baseFeePerGas": [hex(self.base_fee)] * (int(count, 16) + 1), "reward": rewards}

    def _eth_getBlockByNumber(self, tag: str, _: bool) -> dict[str, str] | None:  # noqa: N802
        if tag == "finalized" and not self.has_finality:
            raise ValueError("finalized block not found")
        number = self._upto(tag)
        if number >= len(self.blocks):
            return None
        block = self.blocks[number]
        return {"number": hex(number), "hash": _hex(block.hash), "timestamp": hex(block.timestamp)}

    def _eth_getTransactionReceipt(self, tx_hash: str) -> dict[str, Any] | None:  # noqa: N802
        _, outcomes = self._replay(self.blocks)
        for block in self.blocks:
            for tx in block.txs:
                if _hex(tx.hash) == tx_hash:
                    outcome = outcomes[tx.hash]
                    return {
                        "transactionHash": tx_hash,
                        "status": hex(outcome.status),
                        "blockNumber": hex(block.number),
                        "blockHash": _hex(block.hash),
                        "logs": [self._log(event, tx, block) for event in outcome.events],
                    }
        return None

    def _eth_getLogs(self, asked: dict[str, Any]) -> list[dict[str, Any]]:  # noqa: N802
        first, last = int(asked["fromBlock"], 16), int(asked["toBlock"], 16)
        if last - first + 1 > self.max_log_span:
            raise ValueError(f"query exceeds max block range {self.max_log_span}")
        _, outcomes = self._replay(self.blocks)
        logs = [
            self._log(event, tx, block)
            for block in self.blocks[first : last + 1]
            for tx in block.txs
            for event in outcomes[tx.hash].events
        ]
        return [log for log in logs if log["topics"] == asked["topics"]]

    def _eth_sendRawTransaction(self, raw: str) -> str:  # noqa: N802
        tx = decode_tx(bytes.fromhex(raw[2:]))
        key = (tx.sender, tx.nonce)
        old = self.pool.get(key)
        if old is not None and old.hash == tx.hash:
            raise ValueError("already known")
        if tx.nonce < self._nonce(tx.sender, len(self.blocks) - 1):
            raise ValueError("nonce too low: next nonce is higher")
        if self.balance < tx.gas * tx.max_fee:
            raise ValueError("insufficient funds for gas * price + value")
        # geth: both amounts at least 10 % over the old ones, rounded up.
        if old is not None and (tx.max_fee * 10 < old.max_fee * 11 or tx.tip * 10 < old.tip * 11):
            raise ValueError("replacement transaction underpriced")
        self.pool[key] = tx
        return _hex(tx.hash)

    # The inside

    def _upto(self, tag: str) -> int:
        newest = len(self.blocks) - 1
        if tag == "finalized":
            return max(0, newest - self.finality_lag)
        return newest if tag == "latest" else int(tag, 16)

    def _nonce(self, sender: bytes, upto: int) -> int:
        return sum(tx.sender == sender for block in self.blocks[: upto + 1] for tx in block.txs)

    def _payable(self) -> list[Tx]:
        taken: list[Tx] = []
        for (sender, nonce), tx in sorted(self.pool.items(), key=lambda item: item[0]):
            earlier = sum(other.sender == sender for other in taken)
            if nonce == self._nonce(sender, len(self.blocks) - 1) + earlier and tx.max_fee >= self.base_fee:
                taken.append(tx)
        return taken

    def _replay(self, blocks: list[FakeBlock]) -> tuple[dict[tuple[bytes, bytes], Any], dict[bytes, Outcome]]:
        state: dict[tuple[bytes, bytes], Any] = {}
        outcomes: dict[bytes, Outcome] = {}
        for tx in (tx for block in blocks for tx in block.txs):
            if tx.to != self.contract:
                outcomes[tx.hash] = Outcome(1, [])
                continue
            call = decode_anchor(tx.data)
            if not _accepts(state, tx.sender, call):
                outcomes[tx.hash] = Outcome(0, [])
                continue
            opening = call.previous.then(call.size, call.root)
            state[tx.sender, call.log_id] = opening
            outcomes[tx.hash] = Outcome(1, [AnchoredEvent(tx.sender, call.log_id, opening, call.root)])
        return state, outcomes

    def _log(self, event: AnchoredEvent, tx: Tx, block: FakeBlock) -> dict[str, Any]:
        topics, data = encode_event(event)
        return {
            "address": format_address(self.contract),
            "topics": [_hex(topic) for topic in topics],
            "data": _hex(data),
            "transactionHash": _hex(tx.hash),
            "blockNumber": hex(block.number),
        }


def decode_tx(raw: bytes) -> Tx:
    """Decode a signed EIP-1559 transaction and recover its sender."""
    with chain_libraries():
        from eth_account import Account
        from eth_account.typed_transactions import TypedTransaction
    from hexbytes import HexBytes

    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return Tx(
        hash=keccak256(raw),
        raw=raw,
        sender=bytes.fromhex(Account.recover_transaction(raw)[2:]),
        nonce=fields["nonce"],
        to=bytes(fields["to"]),
        data=bytes(fields["data"]),
        gas=fields["gas"],
        max_fee=fields["maxFeePerGas"],
        tip=fields["maxPriorityFeePerGas"],
    )


def _accepts(state: Mapping[tuple[bytes, bytes], Any], owner: bytes, call: AnchorCall) -> bool:
    opening = state.get((owner, call.log_id), NEVER_ANCHORED)
    return bool(call.previous == opening and call.size > opening.size)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
