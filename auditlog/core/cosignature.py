r"""Timestamped cosignatures: C2SP tlog-cosignature, Ed25519 form (type byte 0x04, "cosignature/v1").

Spec: `auditlog/spec/log.md`, "Cosignatures".

    blob    = uint64 big-endian POSIX seconds || 64-byte Ed25519 signature
    message = "cosignature/v1\n" || "time <seconds>\n" || checkpoint text

A witness says: this tree is consistent with every tree of this log I signed, and at
that time it was the largest I had seen. The message does not name the witness, so
one key must never serve two names. The ML-DSA-44 form (0x06) is not read here: such
keys are refused in a trust file, such signatures in a note are unknown ones. Pure.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from auditlog.core.keys import (
    ED25519,
    Ed25519Verifier,
    NamedKey,
    ed25519_verify,
    format_private_key,
    load_ed25519,
    split_private_key,
    split_vkey,
)
from auditlog.core.note import NoteVerifier, Signature, format_signature
from auditlog.errors import MalformedError

COSIGNATURE_ED25519 = 0x04
"""Type byte of a timestamped Ed25519 cosignature."""

MAX_TIMESTAMP = 2**63 - 1
"""Largest POSIX second a cosignature may name."""

_TIME_BYTES = 8
_SIGNATURE_BYTES = 64
_SEED_BYTES = 32


def _message(checkpoint_text: bytes, timestamp: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % timestamp + checkpoint_text


class CosignatureVerifier(NamedKey):
    """A witness's public key. Immutable, safe to share."""

    __slots__ = ("_key",)

    TYPE = COSIGNATURE_ED25519

    def __init__(self, name: str, public_key: bytes) -> None:
        """Raises `MalformedError` on a bad name or key."""
        super().__init__(name, public_key)
        self._key = load_ed25519(public_key)

    def verify(self, text: bytes, blob: bytes) -> bool:
        """Whether `blob` is this witness's cosignature, at
        the time it names, of exactly this checkpoint text.
        """
        if len(blob) != _TIME_BYTES + _SIGNATURE_BYTES:
            return False
        timestamp = int.from_bytes(blob[:_TIME_BYTES], "big")
        if timestamp > MAX_TIMESTAMP:
            return False
        return ed25519_verify(self._key, _message(text, timestamp), blob[_TIME_BYTES:])

    def __repr__(self) -> str:
        return f"CosignatureVerifier({self._vkey!r})"


class CosignatureSigner:
    """A witness's private key. Safe to share between threads."""

    __slots__ = ("_key", "_seed", "_verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises `MalformedError` on a bad name or a seed that is not 32 bytes."""
        if len(seed) != _SEED_BYTES:
            raise MalformedError(f"expected a seed of {_SEED_BYTES} bytes, found {len(seed)}")
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._verifier = CosignatureVerifier(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> CosignatureSigner:
        """The key of a 32-byte seed."""
        return cls(name, seed)

    @classmethod
    def from_private_key(cls, text: str) -> CosignatureSigner:
        """Read the text form that `private_key` writes.

        Raises:
            MalformedError: another form, or a key ID that is not the key's; never quotes the text.
        """
        name, key_id, seed = split_private_key(text, COSIGNATURE_ED25519)
        signer = cls(name, seed)
        if signer.key_id != key_id:
            raise MalformedError("expected the key ID to fit the private key, found another")
        return signer

    @property
    def private_key(self) -> str:
        """Text form of the private key. A secret: for a file only its owner can read."""
        return format_private_key(self.name, COSIGNATURE_ED25519, self.key_id, self._seed)

    @property
    def name(self) -> str:
        """Key name."""
        return self._verifier.name

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of the key's hash."""
        return self._verifier.key_id

    @property
    def vkey(self) -> str:
        """Text form of the public key."""
        return self._verifier.vkey

    @property
    def verifier(self) -> CosignatureVerifier:
        """The public half."""
        return self._verifier

    def sign(self, checkpoint_text: str, timestamp: int) -> str:
        """The signature line, newline included, over a checkpoint text the caller checked for consistency.

        Raises:
            ValueError: a timestamp of 0 (no claim at all) or out of range.
        """
        if not 0 < timestamp <= MAX_TIMESTAMP:
            raise ValueError(f"expected POSIX seconds from 1 to {MAX_TIMESTAMP}, found {timestamp}")
        signature = self._key.sign(_message(checkpoint_text.encode("utf-8"), timestamp))
        blob = timestamp.to_bytes(_TIME_BYTES, "big") + signature
        return format_signature(Signature(self.name, self.key_id, blob))

    def __repr__(self) -> str:
        return f"CosignatureSigner({self.name!r})"


def cosignature_timestamp(signature: Signature) -> int:
    """POSIX seconds of a verified cosignature; 0 means the witness claims no time.

    Raises:
        MalformedError: the signature was not verified, or is of another type.
    """
    if not signature.vkey or split_vkey(signature.vkey)[1] != COSIGNATURE_ED25519:
        raise MalformedError("expected a verified cosignature, found another signature")
    return int.from_bytes(signature.blob[:_TIME_BYTES], "big")


def parse_vkey(vkey: str) -> NoteVerifier:
    """The verifier of a vkey of either type this project reads; `vkey` is attacker-controlled.

    Raises:
        MalformedError: not a vkey, or of a type that is not read.
    """
    algorithm = split_vkey(vkey)[1]
    if algorithm == ED25519:
        return Ed25519Verifier.from_vkey(vkey)
    if algorithm == COSIGNATURE_ED25519:
        return CosignatureVerifier.from_vkey(vkey)
    raise MalformedError(f"expected a key of type {ED25519} or {COSIGNATURE_ED25519}, found type {algorithm}")
