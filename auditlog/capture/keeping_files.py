"""The files of `keeping`: one is written by one process life, read after a crash, and destroyed once moved.

    <number>.log    "auditkep" u16 version 12 nonce | the file's key, sealed by the store key
                    u32 length u32 crc | a group of records, sealed by the file's key ...
                    zeros: room for groups that have not come

Before a file is unlinked its head is overwritten: without the file's key nothing in it opens, whatever the
disk keeps. Must never: say that a group is durable before its fdatasync.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auditlog.capture.disclosures import KeptRecord
from auditlog.capture.durable import pad, sync_dir, write_all

_MAGIC = b"auditkep"
_VERSION = 1
_HEAD = struct.Struct(">8sH12s")
_FRAME = struct.Struct(">II")
_SEALED_KEY_BYTES = 48
_HEAD_BYTES = _HEAD.size + _SEALED_KEY_BYTES
_NAME = b"auditlog/keeping@v1\0"
_FIRST_PAD_BYTES, _PAD_BYTES = 1 << 20, 1 << 18
"""So much of zeros is written ahead of the groups: with the file, which nobody waits for, and when they are
used up.
"""
_groups = msgspec.msgpack.Decoder(tuple[int, list[KeptRecord]])


class OpenFile:
    """A file being written; its key lives here and, sealed, in its head."""

    __slots__ = ("_end", "_frames", "_handle", "_key", "_padded", "path")

    def __init__(self, path: Path, handle: int, key: AESGCM, padded: int) -> None:
        """`padded` is where the zeros behind the head end."""
        self.path = path
        self._handle = handle
        self._key = key
        self._frames = 0
        self._end, self._padded = _HEAD_BYTES, padded

    def append(self, content: bytes) -> None:
        """Write a group; durable on return. Raises OSError: the state of the file is then unknown."""
        sealed = self._key.encrypt(self._frames.to_bytes(12, "big"), content, _NAME)
        self._frames += 1
        write_all(self._handle, _FRAME.pack(len(sealed), zlib.crc32(sealed)) + sealed)
        self._end += _FRAME.size + len(sealed)
        if self._end > self._padded:
            self._padded = pad(self._handle, self._end, _PAD_BYTES)
        os.fdatasync(self._handle)

    @property
    def size(self) -> int:
        """Bytes of it that say something."""
        return self._end

    def close(self) -> None:
        """Close it; nothing is appended any more."""
        os.close(self._handle)


def begin_file(path: Path, store_key: bytes, rng: Callable[[int], bytes]) -> OpenFile:
    """A new file whose name is durable. Raises OSError."""
    random = rng(44)
    key, nonce = random[:32], random[32:]
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        sealed_key = AESGCM(store_key).encrypt(nonce, key, _NAME)
        write_all(handle, _HEAD.pack(_MAGIC, _VERSION, nonce) + sealed_key)
        padded = pad(handle, _HEAD_BYTES, _FIRST_PAD_BYTES)
        os.fdatasync(handle)
        sync_dir(path.parent)
    except OSError:
        os.close(handle)
        raise
    return OpenFile(path, handle, AESGCM(key), padded)


def read_groups(path: Path, store_key: bytes) -> list[tuple[int, list[KeptRecord]]]:
    """The groups of a file up to the first that is torn; none if it is not under this key. Raises OSError."""
    content = path.read_bytes()
    groups: list[tuple[int, list[KeptRecord]]] = []
    try:
        magic, version, nonce = _HEAD.unpack_from(content)
        if (magic, version) != (_MAGIC, _VERSION):
            return []
        key = AESGCM(AESGCM(store_key).decrypt(nonce, content[_HEAD.size : _HEAD_BYTES], _NAME))
        at = _HEAD_BYTES
        while at + _FRAME.size <= len(content):
            size, crc = _FRAME.unpack_from(content, at)
            sealed = content[at + _FRAME.size : at + _FRAME.size + size]
            if not size or len(sealed) < size or zlib.crc32(sealed) != crc:
                break
            groups.append(_groups.decode(key.decrypt(len(groups).to_bytes(12, "big"), sealed, _NAME)))
            at += _FRAME.size + size
    except (struct.error, InvalidTag, ValueError, msgspec.MsgspecError):
        pass  # A torn head or tail was never said to be durable.
    return groups


def destroy(path: Path) -> None:
    """Overwrite the sealed key, then remove the file: what the disk may still hold of it never opens."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(handle, bytes(_HEAD_BYTES), 0)
            os.fdatasync(handle)
        finally:
            os.close(handle)
        path.unlink(missing_ok=True)
    except OSError:
        # It stays, and is moved and destroyed at the next start; the store knows what it has already.
        return
