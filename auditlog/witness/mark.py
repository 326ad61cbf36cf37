"""The high-water mark: how far the store had come, in a small file outside of it, best on another disk.

Spec: `auditlog/spec/witness.md`, "A restored store". The store counts its commits (`epoch`); this file holds
the newest count and a digest of what was stored then. Two places of 512 bytes are written in turn, each with
its own checksum, and synced: dying in a write leaves the other one whole. Written after the commit and before
the cosignature leaves, so the store is never behind the mark unless it is an older one. Must never: go back.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from auditlog.errors import ConfigurationError, DamagedStoreError, StorageError

_HEADER = "auditlog-witness-mark@v1"
_PLACE_BYTES = 512
"""One sector: what a disk writes as one."""
_CHECK_DIGITS = 16
_FIELDS = 5


@dataclass(frozen=True, slots=True)
class Mark:
    """State of a store at one commit: which store (32 hex digits), its count, the digest of its content."""

    store: str
    epoch: int
    content: bytes


class MarkFile:
    """The file, held open and locked by one process."""

    def __init__(self, path: Path) -> None:
        """Open `path`, which must be there.

        Raises:
            FileNotFoundError: it is not. ConfigurationError: another process has it. StorageError.
        """
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StorageError(f"expected to open {path}, found: {error.strerror}") from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            raise ConfigurationError(
                f"expected {path} for this witness alone, found another process on it"
            ) from None

    def read(self) -> Mark:
        """The newer of its two places.

        Raises:
            DamagedStoreError: neither is whole. StorageError: it cannot be read.
        """
        try:
            data = os.pread(self._handle, 2 * _PLACE_BYTES + 1, 0)
        except OSError as error:
            raise StorageError(f"expected to read {self.path}, found: {error.strerror}") from error
        places = [data[:_PLACE_BYTES], data[_PLACE_BYTES : 2 * _PLACE_BYTES]]
        found = [mark for mark in map(_parse, places) if mark is not None]
        if not found:
            raise DamagedStoreError(f"expected a high-water mark in {self.path}, found damage")
        return max(found, key=lambda mark: mark.epoch)

    def write(self, mark: Mark) -> None:
        """Replace the older place; durable on return.

        Raises:
            StorageError: it failed, and may have happened all the same.
        """
        try:
            written = os.pwrite(self._handle, _format(mark), mark.epoch % 2 * _PLACE_BYTES)
            os.fdatasync(self._handle)
        except OSError as error:
            raise StorageError(f"expected to write {self.path}, found: {error.strerror}") from error
        if written != _PLACE_BYTES:
            raise StorageError(f"expected to write {_PLACE_BYTES} bytes of {self.path}, found fewer")

    def close(self) -> None:
        """Give the file free. Twice is once."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def create_mark(path: Path, mark: Mark) -> None:
    """Make a new file; durable on return.

    Raises:
        ConfigurationError: there is one. StorageError.
    """
    places = [bytes(_PLACE_BYTES)] * 2
    places[mark.epoch % 2] = _format(mark)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, b"".join(places))
            os.fsync(handle)
        finally:
            os.close(handle)
        sync_folder(path.parent)
    except FileExistsError:
        raise ConfigurationError(
            f"expected a new high-water file, found {path} already there: another witness's, or this one's "
            "from before its store was lost"
        ) from None
    except OSError as error:
        raise StorageError(f"expected to write {path}, found: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _format(mark: Mark) -> bytes:
    line = f"{_HEADER} {mark.store} {mark.epoch} {mark.content.hex()}"
    return f"{line} {_check(line)}\n".encode("ascii").ljust(_PLACE_BYTES, b"\0")


def _parse(place: bytes) -> Mark | None:
    """A place that is whole, or None."""
    line, newline, rest = place.partition(b"\n")
    try:
        fields = line.decode("ascii").split(" ")
    except UnicodeDecodeError:
        return None
    if not newline or rest.strip(b"\0") or len(fields) != _FIELDS or fields[0] != _HEADER:
        return None
    if fields[4] != _check(" ".join(fields[:4])):
        return None
    return Mark(fields[1], int(fields[2]), bytes.fromhex(fields[3]))


def _check(line: str) -> str:
    return sha256(line.encode("ascii")).hexdigest()[:_CHECK_DIGITS]
