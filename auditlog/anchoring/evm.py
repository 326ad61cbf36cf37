"""AnchorRegistry as bytes: calldata, slots and events, without any chain library.

Spec: auditlog/spec/decisions/0003-anchor-registry.md, contract/AnchorRegistry.vy.

    calldata  = selector(4) || log_id || prev_size || prev_acc || size || root      each a 32-byte word
    acc'      = keccak256(slot || root')
    slot'     = keccak256(size' || acc')             the empty slot is 32 zero bytes, opened by (0, zeros)
    event     = topics [signature, owner, log_id], data size || root || acc

Pure: no I/O, no clock. What a node returns is attacker-controlled and parsed
strictly here; a caller still has to compare it with what it asked for. Must
never be used to decide a receipt's verdict: that is core/anchor.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from Crypto.Hash import keccak

from auditlog.errors import LedgerError

ZERO_SLOT = bytes(32)
_WORD = 32


def keccak256(data: bytes) -> bytes:
    """Return Keccak-256 (the original padding, not SHA3-256)."""
    return keccak.new(digest_bits=256, data=data).digest()


ANCHOR_SELECTOR = keccak256(b"anchor(bytes32,uint64,bytes32,uint64,bytes32)")[:4]
SLOTS_SELECTOR = keccak256(b"slots(address,bytes32)")[:4]
ANCHORED_TOPIC = keccak256(b"Anchored(address,bytes32,uint64,bytes32,bytes32)")


@dataclass(frozen=True, slots=True)
class Opening:
    """What opens a slot: the size anchored last, and the accumulator after it."""

    size: int
    acc: bytes

    def slot(self) -> bytes:
        """Return the slot this opens."""
        if self == NEVER_ANCHORED:
            return ZERO_SLOT
        return keccak256(_uint(self.size) + self.acc)

    def then(self, size: int, root: bytes) -> Opening:
        """Return the opening after one more checkpoint is anchored."""
        return Opening(size, keccak256(self.slot() + root))


NEVER_ANCHORED = Opening(0, bytes(32))


@dataclass(frozen=True, slots=True)
class AnchorCall:
    """The arguments of one call of `anchor`."""

    log_id: bytes
    previous: Opening
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class AnchoredEvent:
    """One Anchored event."""

    owner: bytes
    log_id: bytes
    opening: Opening
    root: bytes


def encode_anchor(call: AnchorCall) -> bytes:
    """Return the calldata of `anchor`."""
    words = (
        call.log_id,
        _uint(call.previous.size),
        call.previous.acc,
        _uint(call.size),
        call.root,
    )
    return ANCHOR_SELECTOR + b"".join(words)


def decode_anchor(data: bytes) -> AnchorCall:
    """Parse the calldata of `anchor`.

    Raises:
        LedgerError: it is not a call of `anchor`.
    """
    if data[:4] != ANCHOR_SELECTOR or len(data) != 4 + 5 * _WORD:
        raise LedgerError(f"expected a call of anchor, 164 bytes, found {len(data)} bytes {data[:4].hex()}")
    log_id, prev_size, prev_acc, size, root = _words(data[4:])
    return AnchorCall(log_id, Opening(_size(prev_size), prev_acc), _size(size), root)


def encode_slots(owner: bytes, log_id: bytes) -> bytes:
    """Return the calldata of `slots(owner, log_id)`."""
    return SLOTS_SELECTOR + _address_word(owner) + log_id


def decode_slot(data: bytes) -> bytes:
    """Parse the answer of `slots`: one word.

    Raises:
        LedgerError: it is not one word; an address without a contract answers nothing at all.
    """
    if len(data) != _WORD:
        raise LedgerError(f"expected 32 bytes from slots(owner, log id), found {len(data)}")
    return data


def event_topics(owner: bytes, log_id: bytes) -> list[bytes]:
    """Return the topics of every Anchored event of one slot."""
    return [ANCHORED_TOPIC, _address_word(owner), log_id]


def encode_event(event: AnchoredEvent) -> tuple[list[bytes], bytes]:
    """Return (topics, data) as the contract emits them."""
    data = _uint(event.opening.size) + event.root + event.opening.acc
    return event_topics(event.owner, event.log_id), data


def decode_event(topics: Sequence[bytes], data: bytes) -> AnchoredEvent:
    """Parse one Anchored event (attacker-controlled: a node's answer).

    Raises:
        LedgerError: it is another event, or one of another shape.
    """
    if len(topics) != 3 or any(len(topic) != _WORD for topic in topics) or topics[0] != ANCHORED_TOPIC:
        raise LedgerError(f"expected the three topics of Anchored, found {len(topics)} others")
    if len(data) != 3 * _WORD or any(topics[1][:12]):
        raise LedgerError(f"expected 96 bytes of Anchored data and an address, found {len(data)} bytes")
    size, root, acc = _words(data)
    return AnchoredEvent(topics[1][12:], topics[2], Opening(_size(size), acc), root)


def parse_address(text: str) -> bytes:
    """Parse "0x" and 40 hex digits of either case. The EIP-55 checksum of mixed case is not checked.

    Raises:
        LedgerError: it is something else.
    """
    try:
        raw = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raw = b""
    if not text.startswith("0x") or len(text) != 42 or len(raw) != 20:
        raise LedgerError(f"expected an address, 0x and 40 hex digits, found {len(text)} characters")
    return raw


def format_address(address: bytes) -> str:
    """Return "0x" and 40 lowercase hex digits."""
    return "0x" + address.hex()


def create2_address(factory: bytes, salt: bytes, init_code: bytes) -> bytes:
    """Return where CREATE2 puts a contract (EIP-1014)."""
    return keccak256(b"\xff" + factory + salt + keccak256(init_code))[12:]


def _uint(value: int) -> bytes:
    return value.to_bytes(_WORD, "big")


def _size(word: bytes) -> int:
    value = int.from_bytes(word, "big")
    if value >= 1 << 64:
        raise LedgerError("expected a size below 2**64, found a larger one")
    return value


def _address_word(address: bytes) -> bytes:
    return bytes(12) + address


def _words(data: bytes) -> list[bytes]:
    return [data[at : at + _WORD] for at in range(0, len(data), _WORD)]
