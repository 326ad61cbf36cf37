"""From settings to the object stores of a log: folders, or buckets with their credentials.

Spec: auditlog/spec/api.md, section "Buckets". Promises: a bucket is proved to keep its conditions before the
first store in it is handed out; credentials are read here and go to the client only. Must never: print a
credential, or make a bucket.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from auditlog.bucket_client import BucketAccess
from auditlog.errors import StorageError
from auditlog.service.settings import LogSettings, Settings, read_secret
from auditlog.storage.files import FileStore

if TYPE_CHECKING:
    from pathlib import Path

    from auditlog.storage.buckets import BucketStore
    from auditlog.storage.ports import ObjectStore

CHECKPOINT = "checkpoint"


class StoreOpener:
    """Opens the stores of the logs of one configuration. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is read or sent before the first store."""
        self._settings = settings
        self._proving = threading.Lock()
        self._proved: set[str] = set()

    def public(self, log: LogSettings) -> ObjectStore:
        """What may be published. Raises ConfigurationError, StorageError."""
        folder = self._settings.paths(log).public_dir
        return self._open(self._settings.stores(log).public, folder, for_all_to_read=True)

    def private(self, log: LogSettings) -> ObjectStore:
        """What the visibility keeps from the public. Raises ConfigurationError, StorageError."""
        return self._open(self._settings.stores(log).private, self._settings.paths(log).private_dir)

    def staging(self, log: LogSettings) -> ObjectStore:
        """Commits under way. Raises ConfigurationError, StorageError."""
        home = self._settings.service.data_dir / "logs" / log.name
        return self._open(self._settings.stores(log).staging, home / "staging")

    def _open(self, url: str | None, folder: Path, *, for_all_to_read: bool = False) -> ObjectStore:
        if url is None:
            return FileStore(folder, for_all_to_read=for_all_to_read)
        store = open_bucket(self._settings, url)
        bucket = url.split("/")[2]
        with self._proving:
            if bucket not in self._proved:
                store.prove_conditions()
                self._proved.add(bucket)
        return store


def open_bucket(settings: Settings, url: str) -> BucketStore:
    """A store in a bucket, unproved; nothing is sent. Raises ConfigurationError."""
    # Only a service with buckets pays for their client.
    from auditlog.storage.buckets import BucketStore

    return BucketStore(url, access_of(settings))


def access_of(settings: Settings) -> BucketAccess:
    """How the buckets are reached. Raises ConfigurationError: a secret file cannot be read."""
    buckets = settings.buckets

    def secret(path: Path | None) -> str | None:
        return None if path is None else read_secret(path)

    return BucketAccess(
        endpoint=buckets.endpoint,
        region=buckets.region,
        allow_http=buckets.allow_http,
        access_key_id=secret(buckets.access_key_id_file),
        secret_access_key=secret(buckets.secret_access_key_file),
        session_token=secret(buckets.session_token_file),
    )


def public_place(settings: Settings, log: LogSettings) -> tuple[str, str]:
    """Where what may be published lies: the setting that says so, and its value."""
    url = settings.stores(log).public
    return ("public_dir", str(settings.paths(log).public_dir)) if url is None else ("public_store", url)


def published_note(settings: Settings, log: LogSettings) -> bytes | None:
    """The newest published checkpoint as it lies there, unverified; None before the first. Makes nothing.

    Raises:
        ConfigurationError, StorageError: it cannot be read.
    """
    url = settings.stores(log).public
    if url is not None:
        return open_bucket(settings, url).get(CHECKPOINT)
    path = settings.paths(log).public_dir / CHECKPOINT
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"expected to read {path}, found {error.strerror}") from error
