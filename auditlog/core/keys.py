"""Keys of signed notes and their text forms: C2SP signed-note, Ed25519 (type byte 0x01).

Spec: `auditlog/spec/log.md`, "Keys".

    key ID      = first 4 bytes of SHA-256(name || 0x0A || type byte || public key)
    vkey        = name "+" key ID in hex "+" base64(type byte || public key)
    private key = "PRIVATE+KEY+" name "+" key ID in hex "+" base64(type byte || 32-byte seed)

vkeys may come from anyone (a producer's entry); private keys only from the operator's own files. A private
key never appears in a `repr` or an error. Pure: a seed is an argument, this module draws none.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import ClassVar, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from auditlog.core.scalars import encode_base64, parse_base64
from auditlog.errors import MalformedError

ED25519 = 0x01
"""Type byte of a plain Ed25519 signature over the note text."""

KEY_ID_BYTES = 4
MAX_KEY_NAME_CHARACTERS = 1024
_SEED_BYTES = 32
_NO_KEY_NAME = re.compile(r"[\s\x00-\x1f\ud800-\udfff]")  # in a str pattern \s is every Unicode space
_KEY_ID_HEX = re.compile("[0-9a-f]{8}")
_PRIVATE_PREFIX = "PRIVATE+KEY+"
_FIELD_PRIME = 2**255 - 19
# The y coordinates of the eight points of small order on Curve25519 in Edwards form. Under such a key one
# signature fits many texts, so whoever holds it could deny having signed any of them.
_SMALL_ORDER_Y = frozenset(
    {
        0,
        1,
        _FIELD_PRIME - 1,
        int.from_bytes(
            bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
        ),
        int.from_bytes(
            bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), "little"
        ),
    }
)


def check_key_name(name: str) -> str:
    """Return `name` if it may name a key: Unicode text, not empty, no space, plus sign or control character.

    Raises:
        MalformedError: it may not.
    """
    if not 0 < len(name) <= MAX_KEY_NAME_CHARACTERS or "+" in name:
        raise MalformedError(f"expected a key name of 1 to {MAX_KEY_NAME_CHARACTERS} characters without +")
    if _NO_KEY_NAME.search(name):
        raise MalformedError("expected a key name of Unicode text without spaces and control characters")
    return name


def key_id_of(name: str, algorithm: int, public_key: bytes) -> bytes:
    """The recommended key ID: 4 bytes."""
    return sha256(name.encode("utf-8") + b"\n" + bytes([algorithm]) + public_key).digest()[:KEY_ID_BYTES]


def format_vkey(name: str, algorithm: int, public_key: bytes) -> str:
    """Text form of a public key."""
    key_id = key_id_of(name, algorithm, public_key)
    return f"{name}+{key_id.hex()}+{encode_base64(bytes([algorithm]) + public_key)}"


def split_vkey(vkey: str) -> tuple[str, int, bytes]:
    """Name, type byte and public key of a vkey; `vkey` is attacker-controlled.

    Raises:
        MalformedError: not a vkey, or one whose key ID is not the hash of its key.
    """
    # Base64 may contain a plus sign, the name may not: only the first two separate.
    name, _, rest = vkey.partition("+")
    key_id, _, encoded = rest.partition("+")
    check_key_name(name)
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise MalformedError("expected a key name in UTF-8, found a lone surrogate") from None
    key = parse_base64(encoded, "public key")
    if len(key) < 1 + KEY_ID_BYTES:
        raise MalformedError("expected a type byte and a public key, found less")
    expected = key_id_of(name, key[0], key[1:]).hex()
    if key_id != expected:
        raise MalformedError(f"expected the key ID {expected} for the key named {name}, found another")
    return name, key[0], key[1:]


def format_private_key(name: str, algorithm: int, key_id: bytes, seed: bytes) -> str:
    """Text form of a private key. A secret."""
    return f"{_PRIVATE_PREFIX}{name}+{key_id.hex()}+{encode_base64(bytes([algorithm]) + seed)}"


def split_private_key(text: str, algorithm: int) -> tuple[str, bytes, bytes]:
    """Name, key ID (not compared with the key yet) and 32-byte seed of a private key of this type.

    Raises:
        MalformedError: another form or type; never quotes the text.
    """
    fields = text.removeprefix(_PRIVATE_PREFIX)
    name, _, rest = fields.partition("+")
    key_id, _, encoded = rest.partition("+")
    if fields == text:
        raise MalformedError("expected a private key that begins with PRIVATE+KEY+, found another text")
    decoded = parse_base64(encoded, "private key")
    if len(decoded) != 1 + _SEED_BYTES or decoded[0] != algorithm:
        raise MalformedError(f"expected a private key of type {algorithm}, found another")
    if _KEY_ID_HEX.fullmatch(key_id) is None:
        raise MalformedError("expected a key ID of 8 lower-case hex digits, found another")
    return name, bytes.fromhex(key_id), decoded[1:]


def load_ed25519(public_key: bytes) -> Ed25519PublicKey:
    """Load 32 bytes of public key; they are attacker-controlled.

    Raises:
        MalformedError: not 32 bytes, not the canonical encoding of a point, or a point of small order.
    """
    if len(public_key) != 32:
        raise MalformedError(f"expected an Ed25519 key of 32 bytes, found {len(public_key)}")
    y = int.from_bytes(public_key, "little") & (2**255 - 1)
    if y >= _FIELD_PRIME or y in _SMALL_ORDER_Y:
        raise MalformedError("expected an Ed25519 key of large order in canonical form, found another")
    try:
        return Ed25519PublicKey.from_public_bytes(public_key)
    except ValueError:
        raise MalformedError("expected an Ed25519 public key, found other bytes") from None


def ed25519_verify(key: Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
    """Whether the signature is good; False for any other bytes."""
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True


class NamedKey:
    """A public key with its name: what the verifiers of every type of signature have in common."""

    __slots__ = ("_key_id", "_name", "_vkey")

    TYPE: ClassVar[int]
    """Type byte of the signatures."""

    def __init__(self, name: str, public_key: bytes) -> None:
        """Raises `MalformedError` on a bad name."""
        self._name = check_key_name(name)
        self._key_id = key_id_of(name, self.TYPE, public_key)
        self._vkey = format_vkey(name, self.TYPE, public_key)

    @classmethod
    def from_vkey(cls, vkey: str) -> Self:
        """Read a vkey of this type; `vkey` is attacker-controlled.

        Raises:
            MalformedError: not a vkey, or of another type.
        """
        name, algorithm, public_key = split_vkey(vkey)
        if algorithm != cls.TYPE:
            raise MalformedError(f"expected a key of type {cls.TYPE}, found type {algorithm}")
        return cls(name, public_key)

    @property
    def name(self) -> str:
        """Key name."""
        return self._name

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of the key's hash."""
        return self._key_id

    @property
    def vkey(self) -> str:
        """Text form of the key."""
        return self._vkey

    @property
    def algorithm(self) -> int:
        """Type byte of the signatures."""
        return self.TYPE


class Ed25519Verifier(NamedKey):
    """A public key for plain Ed25519 signatures over note texts. Immutable, safe to share."""

    __slots__ = ("_key",)

    TYPE = ED25519

    def __init__(self, name: str, public_key: bytes) -> None:
        """Raises `MalformedError` on a bad name or key."""
        super().__init__(name, public_key)
        self._key = load_ed25519(public_key)

    def verify(self, text: bytes, blob: bytes) -> bool:
        """Whether `blob` is this key's signature of exactly `text`."""
        return ed25519_verify(self._key, text, blob)

    def __repr__(self) -> str:
        return f"Ed25519Verifier({self._vkey!r})"


class Ed25519Signer:
    """A private key for plain Ed25519 signatures over note texts. Safe to share between threads."""

    __slots__ = ("_key", "_name", "_seed", "_verifier")

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises `MalformedError` on a bad name or a seed that is not 32 bytes."""
        if len(seed) != _SEED_BYTES:
            raise MalformedError(f"expected a seed of {_SEED_BYTES} bytes, found {len(seed)}")
        self._name = check_key_name(name)
        self._seed = seed
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._verifier = Ed25519Verifier(name, self._key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> Ed25519Signer:
        """The key of a 32-byte seed."""
        return cls(name, seed)

    @classmethod
    def generate(cls, name: str, seed: bytes) -> Ed25519Signer:
        """A new key; `seed` is 32 bytes fresh from the caller's `os.urandom`."""
        return cls(name, seed)

    @classmethod
    def from_private_key(cls, text: str) -> Ed25519Signer:
        """Read the text form that `private_key` writes.

        Raises:
            MalformedError: another form, or a key ID that is not the key's; never quotes the text.
        """
        name, key_id, seed = split_private_key(text, ED25519)
        signer = cls(name, seed)
        if signer.key_id != key_id:
            raise MalformedError("expected the key ID to fit the private key, found another")
        return signer

    @property
    def name(self) -> str:
        """Key name."""
        return self._name

    @property
    def key_id(self) -> bytes:
        """First 4 bytes of the key's hash."""
        return self._verifier.key_id

    @property
    def vkey(self) -> str:
        """Text form of the public key."""
        return self._verifier.vkey

    @property
    def verifier(self) -> Ed25519Verifier:
        """The public half."""
        return self._verifier

    @property
    def private_key(self) -> str:
        """Text form of the private key. A secret: for a file only its owner can read."""
        return format_private_key(self._name, ED25519, self.key_id, self._seed)

    def sign(self, text: str) -> str:
        """The signature line over a note text, newline included."""
        blob = self._key.sign(text.encode("utf-8"))
        return f"\u2014 {self._name} {encode_base64(self.key_id + blob)}\n"

    def sign_binary(self, message: bytes) -> bytes:
        """The bare signature (64 bytes) over a message that cannot be the text of a note.

        Raises:
            ValueError: the message is UTF-8, so that the signature could pass for that of a note.
        """
        try:
            message.decode("utf-8")
        except UnicodeDecodeError:
            return self._key.sign(message)
        raise ValueError("expected a message that is no text, found one that could be a note's")

    def __repr__(self) -> str:
        return f"Ed25519Signer({self._name!r})"
