r"""Timestamped (sub)tree cosignatures with ML-DSA-44: C2SP tlog-cosignature, type 0x06. Read, never made.

Spec: `auditlog/spec/log.md`, "Cosignatures".

    blob    = uint64 big-endian POSIX seconds || 2420-byte signature
    message = "subtree/v1\n\0" || u8 length, cosigner name || uint64 time
              || u8 length, log origin || uint64 start || uint64 end || 32-byte hash

For a checkpoint start is 0 and end its size. Whether such a signature can be checked depends on the
installed cryptography library (`can_verify`); where it cannot, it is parsed like any other and listed as not
checked. Pure.
"""

from __future__ import annotations

from typing import Any

from auditlog.core.checkpoint import parse_checkpoint
from auditlog.core.keys import NamedKey
from auditlog.errors import MalformedError

COSIGNATURE_MLDSA44 = 0x06
"""Type byte of a timestamped ML-DSA-44 cosignature."""
PUBLIC_KEY_BYTES = 1312
SIGNATURE_BYTES = 2420

_LABEL = b"subtree/v1\n\0"
_TIME_BYTES = 8
_MAX_TIMESTAMP = 2**63 - 1
_MAX_NAME_BYTES = 255


def can_verify() -> bool:
    """Whether the installed library has ML-DSA-44."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import mldsa
    except ImportError:  # a library from before it had the algorithm
        return False
    try:
        mldsa.MLDSA44PublicKey.from_public_bytes(bytes(PUBLIC_KEY_BYTES))
    except UnsupportedAlgorithm:  # it has, and the OpenSSL below it has not
        return False
    except ValueError:
        return True
    return True


def cosigned_message(cosigner: str, timestamp: int, origin: str, tree_size: int, root_hash: bytes) -> bytes:
    """The bytes that are signed for a whole tree.

    Raises:
        MalformedError: a name or origin of more than 255 bytes.
    """
    names = [cosigner.encode("utf-8"), origin.encode("utf-8")]
    if any(len(name) > _MAX_NAME_BYTES for name in names):
        raise MalformedError(f"expected names of at most {_MAX_NAME_BYTES} bytes, found a longer one")
    mine, log = (len(name).to_bytes(1, "big") + name for name in names)
    numbers = bytes(8) + tree_size.to_bytes(8, "big")
    return _LABEL + mine + timestamp.to_bytes(_TIME_BYTES, "big") + log + numbers + root_hash


class MlDsaVerifier(NamedKey):
    """A cosigner's ML-DSA-44 key. Immutable, safe to share."""

    __slots__ = ("_key",)

    TYPE = COSIGNATURE_MLDSA44

    def __init__(self, name: str, public_key: bytes) -> None:
        """Raises `MalformedError` on a bad name or key. Needs no library that can verify."""
        super().__init__(name, public_key)
        if len(public_key) != PUBLIC_KEY_BYTES:
            raise MalformedError(
                f"expected an ML-DSA-44 key of {PUBLIC_KEY_BYTES} bytes, found {len(public_key)}"
            )
        self._key = _load(public_key) if can_verify() else None

    @property
    def is_checkable(self) -> bool:
        """Whether the library here can verify; give a key that is not to no reader of notes."""
        return self._key is not None

    def verify(self, text: bytes, blob: bytes) -> bool:
        """Whether `blob` is this key's cosignature of exactly this checkpoint. Never raises on any bytes.

        False for a checkpoint with extension lines, which this form does not cover.
        """
        if self._key is None or len(blob) != _TIME_BYTES + SIGNATURE_BYTES:
            return False
        timestamp = int.from_bytes(blob[:_TIME_BYTES], "big")
        try:
            checkpoint = parse_checkpoint(text.decode("utf-8"))
            if checkpoint.extensions or timestamp > _MAX_TIMESTAMP:
                return False
            size, root = checkpoint.tree_size, checkpoint.root_hash
            message = cosigned_message(self._name, timestamp, checkpoint.origin, size, root)
        except (MalformedError, UnicodeDecodeError):
            return False
        return _verifies(self._key, blob[_TIME_BYTES:], message)

    def __repr__(self) -> str:
        return f"MlDsaVerifier({self._name!r})"


def _load(public_key: bytes) -> Any:
    from cryptography.hazmat.primitives.asymmetric import mldsa

    try:
        return mldsa.MLDSA44PublicKey.from_public_bytes(public_key)
    except ValueError:
        raise MalformedError("expected an ML-DSA-44 public key, found other bytes") from None


def _verifies(key: Any, signature: bytes, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
