"""A disclosure store that is durable quickly: an append-only file first, the store behind it later.

    <slot>/keeping/<number>.log    "auditkep" u16 version 12 nonce | the file's key, sealed by the store key
                                   u32 length u32 crc | a group of records, sealed by the file's key ...

An entry may say "kept" only when its keys are on disk, so this is on the way of every answer: one write and
one fdatasync for the group, instead of a transaction. The records go into the store behind it in the moments
when nothing waits, and the file goes then. After a crash the files that are left are moved first. Before a
file is unlinked its head is overwritten: without the file's key nothing in it opens, whatever the disk keeps.
What the store behind refuses to take stays here and is tried again. Must never: forget what `keep` took, or
let the two differ in what is erased (`erase` and `find` move everything first).
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from auditlog.capture.disclosures import DisclosureStore, KeptRecord, StoreFullError
from auditlog.capture.durable import create_private_dir, sync_dir, write_all
from auditlog.errors import StorageError

FOLDER = "keeping"
MOVE_RECORDS = 128
MOVE_BYTES = 4 << 20
"""So much is worth a transaction. More of it would be cheaper, and hold up whoever comes meanwhile longer."""

_MAGIC = b"auditkep"
_VERSION = 1
_HEAD = struct.Struct(">8sH12s")
_FRAME = struct.Struct(">II")
_SEALED_KEY_BYTES = 48
_HEAD_BYTES = _HEAD.size + _SEALED_KEY_BYTES
_OVERHEAD_BYTES = 256
_NAME = b"auditlog/keeping@v1\0"
_groups = msgspec.msgpack.Decoder(tuple[int, list[KeptRecord]])


@dataclass(slots=True)
class _File:
    """The file being written; its key lives here and, sealed, in its head."""

    path: Path
    handle: int
    key: AESGCM
    frames: int = 0


class QuickKeeping:
    """A `DisclosureStore` in front of another. Used by the writer's thread alone."""

    def __init__(
        self,
        directory: Path,
        store: DisclosureStore,
        store_key: bytes,
        rng: Callable[[int], bytes],
        *,
        max_bytes: int,
    ) -> None:
        """Move what an earlier life left into `store`, which holds `max_bytes`. Raises StorageError."""
        self._directory = directory
        self._store = store
        self._store_key = store_key
        self._rng = rng
        self._max_bytes = max_bytes
        self._waiting: list[tuple[int, list[KeptRecord]]] = []
        self._records = self._bytes = 0
        self._file: _File | None = None
        try:
            create_private_dir(directory)
            self._number = self._recover()
        except OSError as error:
            raise StorageError(f"keeping: expected to open {directory.name}, found {error}") from error

    @property
    def size_bytes(self) -> int:
        """Bytes of records held, here and behind."""
        return self._store.size_bytes + self._bytes

    def keep(self, records: Sequence[KeptRecord], now_us: int) -> None:
        """See `DisclosureStore.keep`: one write, one fdatasync."""
        size = sum(map(_size, records))
        if self.size_bytes + size > self._max_bytes:
            raise StoreFullError(f"disclosure store: expected at most {self._max_bytes} bytes, found it full")
        group = (now_us, list(records))
        try:
            self._append(msgspec.msgpack.encode(group))
        except OSError as error:
            # The file's state is unknown: never append to it again. It is moved and goes like any other.
            self._let_go()
            raise StorageError(f"keeping: expected to write, found {error}") from error
        self._waiting.append(group)
        self._records += len(records)
        self._bytes += size

    def tidy(self) -> None:
        """See `DisclosureStore.tidy`: move what is here, if it is worth a transaction."""
        if self._records >= MOVE_RECORDS or self._bytes >= MOVE_BYTES:
            self.idle()

    def idle(self) -> None:
        """See `DisclosureStore.idle`: move all that is here."""
        if self._waiting:
            self.move()

    def move(self) -> None:
        """Move everything into the store behind; then the files go. Raises StorageError: nothing is lost."""
        while self._waiting:
            self._store.keep(self._waiting[0][1], self._waiting[0][0])
            _, records = self._waiting.pop(0)
            self._records -= len(records)
            self._bytes -= sum(map(_size, records))
        # Dying before this line: the next start moves again what the store does not have.
        self._let_go()
        for path in self._directory.glob("*.log"):
            _destroy(path)

    def find(self, id: str) -> list[KeptRecord]:  # noqa: A002  the word of the format
        """See `DisclosureStore.find`."""
        self.idle()
        return self._store.find(id)

    def erase(self, id: str) -> int:  # noqa: A002  the word of the format
        """See `DisclosureStore.erase`."""
        self.idle()
        return self._store.erase(id)

    def expire(self, now_us: int) -> int:
        """See `DisclosureStore.expire`."""
        self.idle()
        return self._store.expire(now_us)

    def close(self) -> None:
        """Move what is here and close both. Idempotent."""
        try:
            self.idle()
        finally:
            self._let_go()
            self._store.close()

    def _append(self, content: bytes) -> None:
        file = self._file or self._begin()
        sealed = file.key.encrypt(file.frames.to_bytes(12, "big"), content, _NAME)
        file.frames += 1
        write_all(file.handle, _FRAME.pack(len(sealed), zlib.crc32(sealed)) + sealed)
        os.fdatasync(file.handle)

    def _begin(self) -> _File:
        path = self._directory / f"{self._number:012d}.log"
        self._number += 1
        random = self._rng(44)
        key, nonce = random[:32], random[32:]
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._file = _File(path, handle, AESGCM(key))
        sealed_key = AESGCM(self._store_key).encrypt(nonce, key, _NAME)
        write_all(handle, _HEAD.pack(_MAGIC, _VERSION, nonce) + sealed_key)
        sync_dir(self._directory)
        return self._file

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file.handle)

    def _recover(self) -> int:
        """Move what is left from earlier lives; returns the number of the next file."""
        number = 0
        for path in sorted(self._directory.glob("*.log")):
            number = max(number, int(path.stem) + 1) if path.stem.isdigit() else number
            for now_us, records in read_groups(path, self._store_key):
                missing = [record for record in records if record not in self._store.find(record.id)]
                if missing:
                    self._store.keep(missing, now_us)
            _destroy(path)
        return number


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
            if len(sealed) < size or zlib.crc32(sealed) != crc:
                break
            groups.append(_groups.decode(key.decrypt(len(groups).to_bytes(12, "big"), sealed, _NAME)))
            at += _FRAME.size + size
    except (struct.error, InvalidTag, ValueError, msgspec.MsgspecError):
        pass  # A torn head or tail was never said to be durable.
    return groups


def find_waiting(directory: Path, store_key: bytes, id: str) -> list[KeptRecord]:  # noqa: A002
    """What the files of a slot that another process may be writing hold of a decision."""
    found = []
    for path in sorted(directory.glob("*.log")):
        try:
            groups = read_groups(path, store_key)
        except FileNotFoundError:  # moved while we looked
            continue
        except OSError as error:
            raise StorageError(f"keeping: expected to read {path.name}, found {error}") from error
        found += [record for _, records in groups for record in records if record.id == id]
    return found


def _size(record: KeptRecord) -> int:
    bodies = (record.request, record.response)
    facts = len(record.facts or b"")
    return _OVERHEAD_BYTES + facts + sum(len(body.data) for body in bodies if body is not None)


def _destroy(path: Path) -> None:
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
