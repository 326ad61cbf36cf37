"""Commitments: what an entry says of bytes without saying the bytes (spec/commitment.md).

    S     = SHAKE-256("auditlog/salts@v1" 0 || key || name || 0)     key: 32 random bytes
    whole = HMAC-SHA256(S[0:32], "auditlog/body@v1" 0 || name || 0 || bytes)
    leaf  = S[32(i+1):32(i+2)] || u16 length of pointer || pointer || value
    root  = RFC 6962 tree hash over the leaves, in document order

Without the key nothing can be guessed from either; with the salts of one body (never the key) that body
alone is shown. Pure: keys come from the caller.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from auditlog.core.content import FORM_JSON, decode_content
from auditlog.core.jsonfields import FieldLeaf, scan_fields
from auditlog.core.merkle import root_hash
from auditlog.core.scalars import check_name
from auditlog.core.sse import without_promise_comment

KEY_BYTES = 32
SALT_BYTES = 32
MAX_NAME_BYTES = 100
GATHERED_BYTES = 65_536
"""A running commitment begins to hash when a body is longer than this."""

_SALTS_DOMAIN = b"auditlog/salts@v1\x00"
_BODY_DOMAIN = b"auditlog/body@v1\x00"
_USUAL_NAMES = frozenset({"request", "response", "facts"})
_MAX_CHUNKS = 1024
_BLOCK_BYTES = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


@dataclass(frozen=True, slots=True)
class FieldRoot:
    """What an entry says of a body's fields."""

    root: bytes
    size: int
    """How many leaves."""
    form: str
    """How the JSON text is got from the bytes: `json`, or `fold:<dialect>@v1`."""

    def member(self) -> dict[str, Any]:
        """Return the `fields` object of an entry's body."""
        return {"form": self.form, "root": self.root.hex(), "size": self.size}


def salts(key: bytes, name: str, leaves: int) -> bytes:
    """Return 32 * (leaves + 1) bytes: the salt of the whole, then one for each leaf.

    Raises:
        ValueError: a key that is not 32 bytes.
        MalformedError: a name our formats do not allow.
    """
    if len(key) != KEY_BYTES:
        raise ValueError(f"key: expected {KEY_BYTES} bytes, found {len(key)}")
    stream = hashlib.shake_256(b"%b%b%b\x00" % (_SALTS_DOMAIN, key, check_name(name).encode("ascii")))
    return stream.digest(SALT_BYTES * (leaves + 1))


class BodyCommitment:
    """The whole commitment of one body, fed as the bytes flow by.

    Up to `GATHERED_BYTES` are only gathered, by reference, and hashed when the digest is asked for: whoever
    asks pays, not whoever feeds. From there on, or after `let_go`, they are hashed as they come.
    """

    __slots__ = ("_chunks", "_key", "_length", "_mac", "_name")

    def __init__(self, key: bytes, name: str) -> None:
        """A body called `name` under a key of 32 bytes.

        Raises:
            ValueError: a key that is not 32 bytes.
            MalformedError: a name our formats do not allow.
        """
        if len(key) != KEY_BYTES:
            raise ValueError(f"key: expected {KEY_BYTES} bytes, found {len(key)}")
        if name not in _USUAL_NAMES:
            check_name(name)
        self._key, self._name = key, name
        self._chunks: list[bytes] | tuple[()] = ()
        self._mac: hmac.HMAC | None = None
        self._length = 0

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Add the next bytes; another buffer than `bytes` may change afterwards."""
        self._length += len(chunk)
        if self._mac is not None:
            self._mac.update(chunk)
            return
        if isinstance(self._chunks, tuple):
            self._chunks = [bytes(chunk)]
        else:
            self._chunks.append(bytes(chunk))
        if self._length > GATHERED_BYTES or len(self._chunks) > _MAX_CHUNKS:
            self.let_go()

    def let_go(self) -> None:
        """Hash what was gathered, and hold no bytes any more."""
        if self._mac is None:
            self._mac = _body_mac(salts(self._key, self._name, 0), self._name)
            self._mac.update(b"".join(self._chunks))
            self._chunks = ()

    @property
    def length(self) -> int:
        """How many bytes were added."""
        return self._length

    @property
    def held_bytes(self) -> int:
        """How many of them are still here, not hashed."""
        return self._length if self._mac is None else 0

    def digest(self) -> bytes:
        """Return the commitment to the bytes so far (32 bytes)."""
        if self._mac is not None:
            return self._mac.digest()
        return _commit(salts(self._key, self._name, 0), self._name, self._chunks)

    def hexdigest(self) -> str:
        """Return the commitment to the bytes so far as an entry holds it."""
        return self.digest().hex()


def commit_body(key: bytes, name: str, data: bytes) -> bytes:
    """Return the whole commitment (32 bytes) to `data`."""
    return _commit(salts(key, name, 0), name, [data])


def as_committed(commitment: str, key: bytes, name: str, data: bytes) -> bytes:
    """The bytes a commitment (hex) is to, from a caller's own copy of them: as they are, or without the
    comment of a promise that came within the stream. Others are returned as they are, to be refused.
    """
    bare, note = without_promise_comment(data)
    if note is None or commit_body(key, name, data).hex() == commitment:
        return data
    return bare if commit_body(key, name, bare).hex() == commitment else data


def commit_with_salt(salt: bytes, name: str, data: bytes) -> bytes:
    """Return the whole commitment under an explicit 32-byte salt, as a verifier has it."""
    mac = _body_mac(salt, name)
    mac.update(data)
    return mac.digest()


def field_leaves(data: bytes) -> list[tuple[str, bytes]]:
    """Return the leaves of a JSON text as (pointer, exact
    source bytes), in document order; [] if it has no fields.

    `data` may still be gzip or deflate. For a stream, fold it first (`content.field_text`).
    """
    return [(pointer.decode("utf-8"), value) for pointer, value in scan_body(data) or ()]


def field_root(key: bytes, name: str, data: bytes, form: str = FORM_JSON) -> FieldRoot | None:
    """Return the field root of a JSON text, or None if the format gives it no fields.

    `data` is what `content.field_text(body, form)` returned; for form `json` the body itself does as well.
    """
    leaves = scan_body(data)
    if leaves is None:
        return None
    stream = salts(key, name, len(leaves))
    return FieldRoot(root=root_hash(leaf_hashes(stream, leaves)), size=len(leaves), form=form)


def scan_body(data: bytes) -> list[FieldLeaf] | None:
    """Return the leaves of a JSON text that may be compressed, or None."""
    text = decode_content(data)
    return None if text is None else scan_fields(text)


def leaf_hashes(stream: bytes, leaves: list[FieldLeaf]) -> list[bytes]:
    """Return the leaf hashes of all leaves under the salts of one body."""
    sha256, width = hashlib.sha256, SALT_BYTES
    return [
        sha256(b"\x00%b%b%b%b" % (stream[at : at + width], len(leaf[0]).to_bytes(2, "big"), *leaf)).digest()
        for at, leaf in zip(range(width, len(stream), width), leaves, strict=True)
    ]


def _body_mac(salt: bytes, name: str) -> hmac.HMAC:
    return hmac.new(salt, b"%b%b\x00" % (_BODY_DOMAIN, name.encode("ascii")), hashlib.sha256)


def _commit(salt: bytes, name: str, chunks: Sequence[bytes]) -> bytes:
    """HMAC-SHA256 written out (RFC 2104), at a third of what the library's object costs for a small body."""
    padded = salt.ljust(_BLOCK_BYTES, b"\0")
    prefix = b"%b%b%b\x00" % (padded.translate(_INNER), _BODY_DOMAIN, name.encode("ascii"))
    inner = hashlib.sha256(b"".join((prefix, *chunks)))
    return hashlib.sha256(padded.translate(_OUTER) + inner.digest()).digest()
