"""cose.md: COSE receipts; and verification.md, "Bare proofs".

CBOR is read here by writing again what was read and comparing: another way than the first verifier's.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from .canonical import is_int, need, refuse
from .merkle import MAX_SIZE
from .note import TlogProof, _verifies, parse_checkpoint, parse_note, parse_tlog_proof

TYP = "application/vnd.auditlog.receipt.v1+cose"
NOTE = "c2sp.org/tlog-checkpoint@v1"


class Tagged(tuple[int, Any]):
    """A tag and its value."""

    __slots__ = ()


def write(value: Any) -> bytes:
    """A value in its one spelling."""
    if value is None:
        return b"\xf6"
    if isinstance(value, int):
        return _start(0, value) if value >= 0 else _start(1, ~value)
    if isinstance(value, bytes):
        return _start(2, len(value)) + value
    if isinstance(value, str):
        return _start(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _start(4, len(value)) + b"".join(write(item) for item in value)
    if isinstance(value, dict):
        pairs = sorted((write(key), write(item)) for key, item in value.items())
        return _start(5, len(value)) + b"".join(key + item for key, item in pairs)
    number, inner = value
    return _start(6, number) + write(inner)


def _start(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([32 * major + number])
    width = next(width for width in (1, 2, 4, 8) if number < 256**width)
    return bytes([32 * major + 23 + width.bit_length()]) + number.to_bytes(width, "big")


def read(data: bytes) -> Any:
    """One value in its one spelling and nothing else, or Malformed."""
    value, rest = _read(data, 8)
    need(not rest and write(value) == data, "not the one spelling of this CBOR")
    return value


def _read(data: bytes, depth: int) -> tuple[Any, bytes]:
    need(data, "CBOR that ends too early")
    major, low, rest = data[0] >> 5, data[0] & 31, data[1:]
    need(low < 28, "a length that is not definite")
    need(major != 7 or low == 22, "a simple value or a float")
    number = low
    if low > 23:
        width = 2 ** (low - 24)
        need(len(rest) >= width, "CBOR that ends too early")
        number, rest = int.from_bytes(rest[:width], "big"), rest[width:]
    if major < 2:
        return number if major == 0 else ~number, rest
    if major == 7:
        return None, rest
    need(number <= len(rest) or major == 6, "a length beyond the end")
    if major in {2, 3}:
        raw, rest = rest[:number], rest[number:]
        try:
            return raw if major == 2 else raw.decode(), rest
        except UnicodeDecodeError:
            refuse("text that is not UTF-8")
    need(depth > 0, "too deep")
    if major == 6:
        inner, rest = _read(rest, depth - 1)
        return Tagged((number, inner)), rest
    items = []
    for _ in range(number if major == 4 else 2 * number):
        item, rest = _read(rest, depth - 1)
        items.append(item)
    if major == 4:
        return items, rest
    keys = items[::2]
    need(all(isinstance(key, (int, str, bytes)) or key is None for key in keys), "a container as a key")
    return dict(zip(keys, items[1::2], strict=True)), rest


@dataclass
class CoseReceipt:
    """A COSE receipt, not verified."""

    proof: TlogProof
    origin: str
    size: int
    kid: bytes
    protected: bytes
    signature: bytes

    def check(self, origin: str, size: int, root: bytes, public: bytes) -> None:
        """Points 2 and 3 of "Checking", against the opened checkpoint and the log's key."""
        need((self.origin, self.size) == (origin, size), "another log or size than its checkpoint")
        need(self.kid == hashlib.sha256(write({1: 1, -1: 6, -2: public})).digest(), "another key's kid")
        signed = write(["Signature1", self.protected, b"", root])
        need(_verifies(public, self.signature, signed), "a wrong COSE signature")


def _only(value: Any, *keys: Any) -> list[Any]:
    need(isinstance(value, dict) and value.keys() == set(keys), "other members")
    return [value[key] for key in keys]


def parse_cose(data: bytes) -> CoseReceipt:
    """A COSE receipt of this profile, or Malformed."""
    need(len(data) <= 1_008_192, "too large")
    message = read(data)
    need(isinstance(message, Tagged) and message[0] == 18, "no tagged COSE_Sign1")
    parts = message[1]
    need(isinstance(parts, list) and len(parts) == 4, "not four parts")
    protected, unprotected, payload, signature = parts
    need(isinstance(protected, bytes) and payload is None, "no bytes, or a payload")
    need(isinstance(signature, bytes) and len(signature) == 64, "no signature of 64 bytes")
    alg, kid, claims, typ, vds = _only(read(protected), 1, 4, 15, 16, 395)
    need((alg, typ, vds) == (-8, TYP, 1), "another alg, typ or vds")
    need(isinstance(kid, bytes) and len(kid) == 32, "no kid")
    issuer, subject, size = _only(claims, 1, 2, "tree-size")
    need(isinstance(issuer, str) and issuer == subject, "issuer and subject differ")
    need(is_int(size, 1, MAX_SIZE), "no tree size")
    proofs, note = _only(unprotected, 396, NOTE)
    (inclusion,) = _only(proofs, -1)
    one = isinstance(inclusion, list) and len(inclusion) == 1 and isinstance(inclusion[0], bytes)
    need(one, "not one inclusion proof")
    proof = read(inclusion[0])
    need(isinstance(proof, list) and len(proof) == 3, "no inclusion proof")
    again, index, path = proof
    need(is_int(again, 1, MAX_SIZE) and again == size, "another size than the claim")
    need(is_int(index, 0, size - 1), "an index that is not below the size")
    need(isinstance(path, list) and 1 <= len(path) <= 63, "not 1 to 63 hashes")
    need(all(isinstance(item, bytes) and len(item) == 32 for item in path), "not hashes of 32 bytes")
    parse_checkpoint(parse_note(note).text)
    return CoseReceipt(TlogProof(None, index, path, note), issuer, size, kid, protected, signature)


def parse_proof(data: bytes) -> tuple[TlogProof, CoseReceipt | None]:
    """A bare proof of either kind."""
    if data[:1] == b"\xd2":
        cose = parse_cose(data)
        return cose.proof, cose
    try:
        return parse_tlog_proof(data.decode()), None
    except UnicodeDecodeError:
        refuse("neither text nor a COSE receipt")
