"""Records sealed for a disk: each under a key of its own, that key wrapped by the store's.

AES-256-GCM twice. Destroying the wrapped key, or every copy of it, erases the record whatever became of the
sealed bytes. Both are bound to a name, so that a row moved to another place does not open. Used by every
store that keeps what opens commitments. Pure: randomness is an argument.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auditlog.errors import StorageError

RANDOM_BYTES = 44
"""A record key and the nonce of its wrapping."""

_KEY_BYTES, _NONCE_BYTES = 32, 12
_NONCE = bytes(_NONCE_BYTES)
"""A record key seals one message and then never another, so its nonce may be constant (NIST SP
800-38D, 8.2.1).
"""


def seal_record(wrapping: AESGCM, content: bytes, name: bytes, randomness: bytes) -> tuple[bytes, bytes]:
    """(sealed content, wrapped key). `name` binds them to their place; `randomness` is `RANDOM_BYTES` long
    and fresh.

    Raises:
        ValueError: another length.
    """
    if len(randomness) != RANDOM_BYTES:
        raise ValueError(f"randomness: expected {RANDOM_BYTES} bytes, found {len(randomness)}")
    key, nonce = randomness[:_KEY_BYTES], randomness[_KEY_BYTES:]
    return AESGCM(key).encrypt(_NONCE, content, name), nonce + wrapping.encrypt(nonce, key, name)


def open_record(wrapping: AESGCM, name: bytes, sealed: bytes, wrapped: bytes) -> bytes:
    """The content of a sealed record.

    Raises:
        StorageError: it was sealed under another store key, for another place, or was changed.
    """
    try:
        key = wrapping.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], name)
        return AESGCM(key).decrypt(_NONCE, sealed, name)
    except (InvalidTag, ValueError) as error:
        raise StorageError("store: expected a record under this store key, found another") from error
