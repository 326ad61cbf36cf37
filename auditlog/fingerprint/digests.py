"""SHA-256 of files, each content read once per host: a cache by file identity (spec/fingerprint.md, "Cache").

One small file per known digest below `<cache>/digests/`, named after the identity (device, inode, size,
mtime, ctime). A new or changed file has a new identity, so nothing is ever invalidated, only forgotten.
Entries are written beside and renamed, and carry a check over name and digest: a torn or flipped entry is
read as absent. They are not flushed: what a power cut takes is hashed again.

Must never: cache the digest of a file that changed in the last two seconds. The kernel's clock for files
ticks in milliseconds, so a write after our reading could leave the identity as it is.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from auditlog.core.scalars import is_hash_hex
from auditlog.errors import StorageError
from auditlog.fingerprint.listing import FileIdentity, ListedFile

SETTLED_NS = 2_000_000_000
MAX_CACHED = 20_000
_BUFFER_BYTES = 4 * 1024 * 1024


class DigestCache:
    """Digests of files by identity. Safe for many threads
    and processes: entries are only added, whole, by rename.
    """

    def __init__(self, folder: Path, *, now_ns: Callable[[], int]) -> None:
        self._folder = folder
        self._now_ns = now_ns

    def digest(self, file: ListedFile) -> str:
        """SHA-256 in hex of a listed file, from the cache or by reading it.

        Raises:
            StorageError: the file is no longer the one that was listed, or changed while it was read.
            OSError: it cannot be read.
        """
        known = self._read(file.identity)
        if known is not None:
            return known
        digest = _hash_file(file)
        newest = max(file.identity.mtime_ns, file.identity.ctime_ns)
        if newest + SETTLED_NS < self._now_ns():
            self._write(file.identity, digest)
        return digest

    def prune(self) -> None:
        """Forget the oldest entries beyond `MAX_CACHED`: dead identities must not pile up for ever."""
        entries = sorted(self._folder.iterdir(), key=lambda entry: entry.stat().st_mtime_ns)
        for entry in entries[: max(0, len(entries) - MAX_CACHED)]:
            entry.unlink(missing_ok=True)

    def _read(self, identity: FileIdentity) -> str | None:
        name = _name(identity)
        try:
            digest, _, check = (self._folder / name).read_text("ascii").rstrip("\n").partition(" ")
        except (OSError, UnicodeDecodeError):
            return None
        return digest if is_hash_hex(digest) and check == _check(name, digest) else None

    def _write(self, identity: FileIdentity, digest: str) -> None:
        name = _name(identity)
        with suppress(
            OSError
        ):  # A full or read-only disk costs a second reading later, never the fingerprint now.
            write_whole(
                self._folder / name, f"{digest} {_check(name, digest)}\n".encode("ascii"), durable=False
            )


def write_whole(path: Path, content: bytes, *, durable: bool) -> None:
    """Write a file so that a reader finds all of it or
    none: beside, then renamed. `durable` also flushes both.
    """
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    if durable:
        _flush_folder(path.parent)


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hash_file(file: ListedFile) -> str:
    digest, buffer = hashlib.sha256(), memoryview(bytearray(_BUFFER_BYTES))
    with file.location.open("rb", buffering=0) as stream:
        before = FileIdentity.of(os.fstat(stream.fileno()))
        while (count := stream.readinto(buffer)) is not None and count > 0:
            digest.update(buffer[:count])
        after = FileIdentity.of(os.fstat(stream.fileno()))
    if not file.identity == before == after:
        raise StorageError(
            f"model: expected a file that stays as it is while it is read, found {file.path} changing"
        )
    return digest.hexdigest()


def _name(identity: FileIdentity) -> str:
    return "-".join(
        str(part)
        for part in (identity.dev, identity.inode, identity.size, identity.mtime_ns, identity.ctime_ns)
    )


def _check(name: str, digest: str) -> str:
    return hashlib.sha256(f"{name} {digest}".encode("ascii")).hexdigest()[:16]
