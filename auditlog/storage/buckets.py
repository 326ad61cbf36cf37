"""Durable objects in an S3, GCS or Azure bucket, through conditional writes.

Contract: `auditlog.storage.ports.ObjectStore`. Creating is a put with `If-None-Match: *`, replacing under a
condition one with `If-Match`; SQL stays the only compare-and-swap of a commit. A put that answered is
durable, as the provider promises, and whole or not there. A put that was made again after a lost answer finds
its own bytes: comparing them says so. What dies half way leaves objects whole, and some of a list missing.

Must never: run on a server that takes a conditional write for a plain one (`prove_conditions` finds out
before anything is signed), or take a bucket that is gone for an empty one.
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, PreconditionError

from auditlog.bucket_client import BucketAccess, describe, failures, is_missing, open_client
from auditlog.errors import ConfigurationError, ImmutableObjectError, StorageError

if TYPE_CHECKING:
    from obstore import PutMode, UpdateVersion

_TOGETHER = 16
"""Requests at once of one `put_new_all`."""
_TRIES = 32
"""How often a conditional write that another's overtook is tried again."""
_SCRATCH = ".auditlog-probe-"
_PART = re.compile(r"[A-Za-z0-9._=+-]+")
"""What every provider stores under exactly the name it was given."""


class BucketStore:
    """An `ObjectStore` in a bucket, below the prefix of its URL. Nothing is sent before the first call."""

    def __init__(self, url: str, access: BucketAccess | None = None) -> None:
        """Raises ConfigurationError: the URL, the environment, or obstore is missing."""
        self.url = url
        self._client = open_client(url, access or BucketAccess())
        self._failures = failures()
        self._turn = threading.Lock()

    def put_new(self, path: str, data: bytes) -> None:
        """Create the object; see the port."""
        for _ in range(_TRIES):
            if self._put_if(path, data, "create", "creating"):
                return
            held = self.get(path)
            if held == data:
                return
            if held is not None:
                raise ImmutableObjectError(
                    f"expected no object or the same {len(data)} bytes at {path}, found other bytes"
                )
        raise self._overtaken(path)

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create several objects, many requests at once; see the port."""
        waiting = list(objects)
        if len(waiting) == 1:
            self.put_new(*waiting[0])
        elif waiting:
            with ThreadPoolExecutor(min(_TOGETHER, len(waiting))) as threads:
                for _ in threads.map(lambda item: self.put_new(*item), waiting):
                    pass

    def replace(self, path: str, data: bytes) -> None:
        """Put `data` in the place of the object; see the port."""
        if not self._put_if(path, data, "overwrite", "replacing"):
            raise StorageError(f"replacing {path}: expected {self.url} to obey, found a condition refused")

    def replace_unless(self, path: str, data: bytes, keeps: Callable[[bytes], bool]) -> bool:
        """Replace it unless what is there stays; see the port. Whoever is overtaken looks again."""
        with self._turn:  # threads of this process need not race; others do, by ETag
            for _ in range(_TRIES):
                found = self._read(path)
                if found is not None and keeps(found[0]):
                    return False
                if self._put_if(path, data, "create" if found is None else found[1], "replacing"):
                    return True
        raise self._overtaken(path)

    def get(self, path: str) -> bytes | None:
        """The bytes, or None."""
        found = self._read(path)
        return None if found is None else found[0]

    def list(self, prefix: str = "") -> list[str]:
        """Paths that begin with `prefix`, sorted; page after page."""
        # The client lists folders only; the rest of the prefix is compared here.
        folder = prefix.rpartition("/")[0]
        try:
            pages = obstore.list(self._client, prefix=folder or None)
            paths = [meta["path"] for page in pages for meta in page]
        except self._failures as error:
            raise self._failed("listing", prefix or "everything", error) from None
        return sorted(path for path in paths if path.startswith(prefix) and not path.startswith(_SCRATCH))

    def delete(self, path: str) -> None:
        """Remove the object if it is there."""
        try:
            obstore.delete(self._client, _checked(path))
        except self._failures as error:
            if not is_missing(error):
                raise self._failed("deleting", path, error) from None

    def prove_conditions(self) -> None:
        """Find out, on a scratch object of a random name, that conditional writes are what they must be.

        Raises:
            ConfigurationError: the server takes a put that it must refuse, or refuses one that it must take.
            StorageError: it cannot be reached, or may not be written to.
        """
        path = f"{_SCRATCH}{secrets.token_hex(16)}"
        try:
            self._expect_put(path, b"1", "create", "a create-only put (If-None-Match) of a new object", True)
            self._expect_put(path, b"2", "create", "a create-only put (If-None-Match) over another", False)
            old = self._version(path)
            self.replace(path, b"3")
            self._expect_put(path, b"4", old, "a put over a newer version (If-Match)", False)
            self._expect_put(path, b"5", self._version(path), "a put over this version (If-Match)", True)
            if self.get(path) != b"5":
                raise ConfigurationError(f"{self.url}: expected to read what was written, found another")
        finally:
            self._forget(path)

    def _expect_put(self, path: str, data: bytes, mode: PutMode, what: str, taken: bool) -> None:
        found = self._put_if(path, data, mode, "probing with")
        if taken and not found:
            found = self.get(path) == data  # its answer was lost, and the client asked again
        if found != taken:
            expected, got = ("taken", "it refused") if taken else ("refused", "it taken")
            raise ConfigurationError(
                f"{self.url}: expected {what} to be {expected}, found {got}: on this server two writers "
                "could take each other's place; use one that honours If-None-Match and If-Match, or a folder"
            )

    def _version(self, path: str) -> UpdateVersion:
        found = self._read(path)
        if found is None:
            raise ConfigurationError(f"{self.url}: expected to read what was written, found nothing")
        return found[1]

    def _forget(self, path: str) -> None:
        try:
            self.delete(path)
        except StorageError:
            return  # a bucket that keeps everything: one empty name more, which `list` does not show

    def _put_if(self, path: str, data: bytes, mode: PutMode, doing: str) -> bool:
        """Put under a condition; False where it does not hold (any more)."""
        key = _checked(path)
        try:
            # In parts it would be neither conditional nor gone when it is cut off.
            obstore.put(self._client, key, data, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError):
            return False
        except self._failures as error:
            if isinstance(mode, dict) and is_missing(error):
                return False  # deleted meanwhile
            raise self._failed(doing, path, error) from None
        return True

    def _read(self, path: str) -> tuple[bytes, UpdateVersion] | None:
        try:
            result = obstore.get(self._client, _checked(path))
            data, meta = result.bytes().to_bytes(), result.meta
        except self._failures as error:
            if is_missing(error):
                return None
            raise self._failed("reading", path, error) from None
        version: UpdateVersion = {}
        if meta["e_tag"] is not None:
            version["e_tag"] = meta["e_tag"]
        if meta["version"] is not None:
            version["version"] = meta["version"]
        return data, version

    def _failed(self, doing: str, path: str, error: Exception) -> StorageError:
        return StorageError(f"{doing} {path}: expected {self.url} to obey, found {describe(error)}")

    def _overtaken(self, path: str) -> StorageError:
        return StorageError(f"writing {path}: expected a turn in {_TRIES} tries, found others every time")


def _checked(path: str) -> str:
    parts = path.split("/")
    if any(part in {"", ".", ".."} or not _PART.fullmatch(part) for part in parts):
        raise StorageError(f"expected a relative path of plain parts without empty, . or .., found {path!r}")
    return path
