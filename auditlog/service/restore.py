"""Putting a backup of a log where none is. The log then starts only if those outside agree.

Spec: auditlog/spec/log.md, "Backups". Objects first, each checked against the signed commit as it is copied,
then the rows in one transaction: dying on the way leaves a place without a log. Nothing is published here:
the first start asks the rollback guards, writes the `restored` notice, and shows its checkpoint. Must never:
put anything where something is, or sign.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from auditlog.core.retention import RETENTION_PATH
from auditlog.core.tiles import parse_path
from auditlog.errors import ConfigurationError, DamagedStoreError, EvidenceError
from auditlog.log.config import Layout, Stores, Visibility
from auditlog.log.keeping import KEPT_PREFIX
from auditlog.log.recover import open_own
from auditlog.service.backup import (
    EXTRA_NAMES,
    EXTRAS,
    KEYS,
    STAGING,
    TREE,
    Manifest,
    key_files,
    read_manifest,
    stores_of,
)
from auditlog.service.secretfiles import read_log_key
from auditlog.service.settings import LogSettings, Settings
from auditlog.storage.files import write_durably
from auditlog.storage.owned import FolderLock, make_dir
from auditlog.storage.ports import ObjectStore
from auditlog.storage.sql.database import Database
from auditlog.storage.sql.export import load
from auditlog.verify.mirror import mirror
from auditlog.verify.sources import CHECKPOINT_PATH, FolderSource

Object = tuple[str, bytes]


def restore(
    settings: Settings,
    log: LogSettings,
    folder: Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Put the backup in `folder` where the configuration says that the log is.

    Raises:
        ConfigurationError: the place is not empty, the backup is of another log, or a key is missing.
        DamagedStoreError, EvidenceError: the backup is not what was signed. StorageError: a store failed.
    """
    manifest = read_manifest(folder)
    if (manifest.origin, manifest.visibility) != (log.origin, log.visibility):
        raise ConfigurationError(
            f"expected a backup of {log.origin}, {log.visibility}; found one of {manifest.origin}, "
            f"{manifest.visibility}"
        )
    _check_state(folder, manifest)
    make_dir(settings.service.data_dir)
    url = settings.database_url
    held = FolderLock(settings.service.data_dir) if url.startswith("sqlite") else None
    try:
        database = Database.open(url)
        try:
            _restore(settings, log, folder, manifest, database, progress)
        finally:
            database.close()
    finally:
        if held is not None:
            held.release()
    return manifest


def _restore(  # noqa: PLR0917  what `restore` has, and the database
    settings: Settings,
    log: LogSettings,
    folder: Path,
    manifest: Manifest,
    database: Database,
    progress: Callable[[int, int], None] | None,
) -> None:
    make_dir(settings.service.data_dir / "logs" / log.name)
    stores = stores_of(settings, log, database)
    _check_empty(log, stores)
    _restore_keys(settings, log, folder)
    verifier = read_log_key(settings.paths(log).key_file, log.origin).verifier
    checkpoint = open_own(manifest.note, verifier)
    if (checkpoint.tree_size, checkpoint.root_hash.hex()) != (manifest.size, manifest.root):
        raise DamagedStoreError("backup: expected the size and root of its checkpoint, found others")
    layout = Layout(stores, Visibility(log.visibility))
    done = mirror(FolderSource(folder / TREE), _Places(layout), verifier.vkey, progress=progress)
    if (done.size, done.root_hash.hex()) != (manifest.size, manifest.root) or not done.has_entries:
        raise DamagedStoreError("backup: expected the whole tree of its checkpoint, found another")
    stores.staging.put_new(manifest.staged, (folder / STAGING / manifest.staged).read_bytes())
    kept = (folder / EXTRAS / KEPT_PREFIX).rglob("*")
    names = [path.relative_to(folder / EXTRAS).as_posix() for path in kept if path.is_file()]
    for name in (*EXTRA_NAMES, *names):
        if (folder / EXTRAS / name).exists():
            stores.private.replace(name, (folder / EXTRAS / name).read_bytes())
    # The rows last, all or none: before them there is no log here.
    with (folder / manifest.state).open("rb") as lines:
        load(database, log.origin, lines)


def _check_state(folder: Path, manifest: Manifest) -> None:
    digest = hashlib.sha256()
    with (folder / manifest.state).open("rb") as lines:
        for line in lines:
            digest.update(line)
    if digest.hexdigest() != manifest.state_sha256:
        raise DamagedStoreError(f"backup: expected {manifest.state} as it was written, found other bytes")


def _check_empty(log: LogSettings, stores: Stores) -> None:
    if stores.state.read() is not None:
        raise ConfigurationError(f"expected no log of origin {log.origin} in the database, found one")
    if stores.public.list() or stores.private.list() or stores.staging.list():
        raise ConfigurationError(f"expected empty stores for the log {log.name}, found something in them")


def _restore_keys(settings: Settings, log: LogSettings, folder: Path) -> None:
    """Take keys from the backup where none lie; what lies there stays."""
    for each in key_files(settings.paths(log)):
        kept = folder / KEYS / each.name
        if not each.path.exists() and kept.exists():
            write_durably(each.path, kept.read_bytes())
    for path in (settings.paths(log).key_file, settings.paths(log).receipt_secret_file):
        if not path.exists():
            raise ConfigurationError(f"expected the secret of the log at {path} or in the backup, found none")


class _Places:
    """Each object of a tree in the store that the visibility gives it; nothing is published."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def get(self, path: str) -> bytes | None:
        """No checkpoint is here, so that all is copied; what else there is does not matter."""
        return None if path == CHECKPOINT_PATH else self._layout.store_of(parse_path(path)).get(path)

    def put_new_all(self, objects: Iterable[tuple[str, bytes]]) -> None:
        """Create objects, durable on return."""
        for store, group in self._by_store(objects):
            store.put_new_all(group)

    def _by_store(self, objects: Iterable[tuple[str, bytes]]) -> Iterator[tuple[ObjectStore, list[Object]]]:
        groups: dict[int, tuple[ObjectStore, list[Object]]] = {}
        for path, data in objects:
            store = self._layout.store_of(parse_path(path))
            groups.setdefault(id(store), (store, []))[1].append((path, data))
        yield from groups.values()

    def replace(self, path: str, data: bytes) -> None:
        """The checkpoint waits for the first start, which asks the guards; so does the retention document."""
        if path not in {CHECKPOINT_PATH, RETENTION_PATH} or not data:
            raise EvidenceError("expected nothing but the checkpoint to be replaced, found another object")

    def delete(self, path: str) -> None:
        """Nothing is superseded in an empty place."""
