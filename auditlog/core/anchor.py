"""Evidence that a checkpoint stands on a chain (spec/anchor.md).

`devnet@v0`, outside the for-ever promise: a note by the key of an embedded development chain.

    auditlog/devnet@v0
    <origin>
    <log id, 64 hex digits>
    <chain id>
    <contract, 0x and 40 hex digits>
    <tree size>
    <root hash, base64>
    <transaction, 0x and 64 hex digits>
    <block number>
    <block hash, 0x and 64 hex digits>
    <block time, YYYY-MM-DDTHH:MM:SS.ffffffZ>

Must never count as a final anchor: whoever holds the devnet's key can write any of it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from auditlog.core.note import NoteSigner, NoteVerifier
from auditlog.core.scalars import (
    check_hash,
    check_hash_hex,
    check_origin,
    encode_base64,
    parse_decimal,
    parse_hash_base64,
    parse_time,
    text_lines,
)
from auditlog.core.signed import open_one, sign_one
from auditlog.errors import AnchorError, MalformedError

DEVNET_TYPE = "devnet@v0"
EVM_TYPE = "evm@v1"
DEVNET_HEADER = "auditlog/devnet@v0"

ADDRESS_BYTES = 20

_LOG_ID_DOMAIN = b"auditlog/log-id@v1\n"
_ADDRESS = re.compile(r"0x[0-9a-f]{40}")
_HASH = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DevnetAnchor:
    """What a devnet's key says: this root, of this size, of this log, is in this block."""

    origin: str
    chain_id: int
    contract: bytes
    """20 bytes."""
    size: int
    root: bytes
    tx: bytes
    block_number: int
    block_hash: bytes
    block_time: str
    """In the one spelling of an entry's `time`."""

    @property
    def log_id(self) -> bytes:
        """The log's name on a chain."""
        return log_id(self.origin)


def log_id(origin: str) -> bytes:
    """Return the 32 bytes that name a log on a chain: SHA-256 of domain, origin and newline."""
    return hashlib.sha256(_LOG_ID_DOMAIN + check_origin(origin).encode("ascii") + b"\n").digest()


def format_hex(value: bytes) -> str:
    """Return 0x and lower-case hex: how addresses, transactions and blocks are written everywhere."""
    return "0x" + value.hex()


def parse_address(text: str) -> bytes:
    """Read 0x and 40 lower-case hex digits as 20 bytes.

    Raises:
        MalformedError: anything else.
    """
    if _ADDRESS.fullmatch(text) is None:
        raise MalformedError("address: expected 0x and 40 lower-case hex digits, found something else")
    return bytes.fromhex(text[2:])


def parse_chain_hash(text: str, what: str) -> bytes:
    """Read 0x and 64 lower-case hex digits as 32 bytes.

    Raises:
        MalformedError: anything else.
    """
    if _HASH.fullmatch(text) is None:
        raise MalformedError(f"{what}: expected 0x and 64 lower-case hex digits, found something else")
    return bytes.fromhex(text[2:])


def format_devnet_text(anchor: DevnetAnchor) -> str:
    """Return the text to sign.

    Raises:
        MalformedError: a member out of form.
    """
    lines = (
        DEVNET_HEADER,
        anchor.origin,
        anchor.log_id.hex(),
        str(anchor.chain_id),
        format_hex(anchor.contract),
        str(anchor.size),
        encode_base64(check_hash(anchor.root, "devnet root")),
        format_hex(anchor.tx),
        str(anchor.block_number),
        format_hex(anchor.block_hash),
        anchor.block_time,
    )
    text = "".join(f"{line}\n" for line in lines)
    parse_devnet_text(text)
    return text


def parse_devnet_text(text: str) -> DevnetAnchor:
    """Read the text of a devnet anchor: attacker-controlled.

    Raises:
        MalformedError: not exactly what `format_devnet_text` writes.
        AnchorError: the log id is not that of the origin.
    """
    origin, found_id, chain_id, contract, size, root, tx, number, block_hash, time = text_lines(
        text, DEVNET_HEADER, 10
    )
    parse_time(time)
    anchor = DevnetAnchor(
        origin=check_origin(origin),
        chain_id=parse_decimal(chain_id, "devnet chain id"),
        contract=parse_address(contract),
        size=parse_decimal(size, "devnet tree size"),
        root=parse_hash_base64(root, "devnet root"),
        tx=parse_chain_hash(tx, "devnet transaction"),
        block_number=parse_decimal(number, "devnet block number"),
        block_hash=parse_chain_hash(block_hash, "devnet block hash"),
        block_time=time,
    )
    if check_hash_hex(found_id, "devnet log id") != anchor.log_id.hex():
        raise AnchorError("devnet anchor: expected the log id of its origin, found another")
    if anchor.size == 0:
        raise MalformedError("devnet tree size: expected at least 1, found 0")
    return anchor


def sign_devnet_anchor(anchor: DevnetAnchor, signer: NoteSigner) -> str:
    """Return the anchor as a note signed by the devnet's key."""
    return sign_one(format_devnet_text(anchor), signer)


def open_devnet_anchor(note: str | bytes, verifier: NoteVerifier) -> DevnetAnchor:
    """Verify a devnet anchor's signature and read it.

    Raises:
        MalformedError: not a note, or not a devnet anchor.
        SignatureError: not signed by `verifier`'s key.
        AnchorError: the log id is not that of the origin.
    """
    return parse_devnet_text(open_one(note, verifier))
